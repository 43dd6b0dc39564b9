"""The lm-evaluation-harness adapter: its three answers against the slow definition, its sentence where lm_eval is not.

lm_eval is no dependency of the course. What it asks of a model is a protocol of three methods over requests with
`.args`; a stand-in with that shape is used here. `benchmarks/peers/lm_eval_run.py` runs the real one on a local task.
"""

import sys
import types
from dataclasses import dataclass

import pytest
import torch

from course_lib.evaluate import harness
from tests import tiny


@pytest.fixture(scope="module")
def answers():
    return harness.Answers(tiny.trained(), tiny.tokenizer())


def slow(model, tokenizer, given, target):
    """Sum of ln p and greedy-ness, one token at a time."""
    ids, total, greedy = [0, *given], 0.0, True
    for token in target:
        with torch.no_grad():
            log_p = model(input_ids=torch.tensor([ids])).logits[0, -1].double().log_softmax(-1)
        total, greedy, ids = total + float(log_p[token]), greedy and int(log_p.argmax()) == token, [*ids, token]
    return total, greedy


def test_a_continuation_is_scored_behind_its_context(answers):
    tok = tiny.tokenizer()
    pairs = [(e.prompt, e.answer) for e in tiny.EXAMPLES] + [("mug:", '{"do":"send"'), ("", "mug")]
    for (context, continuation), got in zip(pairs, answers.loglikelihood(pairs), strict=True):
        given = tok(context)["input_ids"] if context else []
        want = slow(tiny.trained(), tok, given, tok(context + continuation)["input_ids"][len(given) :])
        assert got == (pytest.approx(want[0], abs=1e-4), want[1])
    assert [greedy for _, greedy in answers.loglikelihood(pairs)][:4] == [True, True, True, False]


def test_a_space_belongs_to_the_word_behind_it(answers):
    split = answers._split("the mug ", "is broken")
    assert split == answers._split("the mug", " is broken") and tiny.tokenizer().decode(split[1]) == " is broken"


def test_a_context_that_is_too_long_loses_its_beginning(answers):
    tok, long = tiny.tokenizer(), "the mug is broken." * 40
    given = [0, *tok(long)["input_ids"]]
    target = tok(long + " mug")["input_ids"][len(given) - 1 :]
    (got,) = answers.loglikelihood([(long, " mug")])
    row = (given + target)[-65:]  # 64 tokens are read
    with torch.no_grad():
        log_p = tiny.trained()(input_ids=torch.tensor([row[:-1]])).logits[0].double().log_softmax(-1)
    want = sum(float(log_p[-len(target) + k, t]) for k, t in enumerate(target))
    assert got[0] == pytest.approx(want, abs=1e-4)


def test_a_text_is_scored_once_in_windows(answers):
    tok, text = tiny.tokenizer(), "please send the money back to my card. " * 9
    ids = tok(text)["input_ids"]
    assert len(ids) > 63
    want = sum(slow(tiny.trained(), tok, [], ids[at : at + 63])[0] for at in range(0, len(ids), 63))
    assert answers.loglikelihood_rolling([text, ""]) == [pytest.approx(want, abs=1e-3), 0.0]


def test_text_ends_before_its_stop(answers):
    prompt = tiny.EXAMPLES[0].prompt
    assert answers.generate_until([(prompt, {"until": ["}"]})]) == ['{"do":"refund","eur":12']
    assert answers.generate_until([(prompt, {"until": [], "max_gen_toks": 60})]) == [tiny.EXAMPLES[0].answer]
    assert answers.generate_until([(prompt, {"until": '"eur', "do_sample": False})]) == ['{"do":"refund",']
    with pytest.raises(ValueError, match="decodes greedily; the task asks for sampling"):
        answers.generate_until([(prompt, {"do_sample": True, "temperature": 0.8})])


@dataclass
class Request:
    args: tuple


def test_the_adapter_speaks_the_harness_s_protocol(monkeypatch, tmp_path):
    tiny.trained().save_pretrained(tmp_path)
    tiny.tokenizer().save_pretrained(tmp_path)
    stand_in = types.ModuleType("lm_eval.api.model")
    stand_in.LM = type("LM", (), {})
    for name in ("lm_eval", "lm_eval.api"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setitem(sys.modules, "lm_eval.api.model", stand_in)
    model = harness.adapter(tmp_path)
    example = tiny.EXAMPLES[1]
    assert isinstance(model, stand_in.LM)
    assert model.loglikelihood([Request((example.prompt, example.answer))])[0][1] is True
    assert model.loglikelihood_rolling([Request(("the mug",))])[0] < 0
    assert model.generate_until([Request((example.prompt, {"until": ["}"]}))]) == [example.answer.rstrip("}")]


def test_without_lm_eval_one_sentence_says_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    for call in (lambda: harness.adapter("bundled"), lambda: harness.run("bundled", ["mmlu"])):
        with pytest.raises(ImportError, match="not installed here: `pip install lm_eval`"):
            call()
