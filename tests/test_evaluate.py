"""Metrics against definitions computed the slow way, against transformers' own, and against laws they must obey."""

import io
import json
import math
import subprocess
import sys

import jsonschema
import nbclient
import nbformat
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from course_lib import Scheme
from course_lib import evaluate as ev
from course_lib.calibrate import quantize_model
from course_lib.evaluate import corpus
from course_lib.evaluate.task import fits_schema
from course_lib.models import task
from course_lib.progress import bar
from tests import tiny

TEXTS = ["the mug is broken", "please send é ü money", "", '{"do":"refund"} ' * 20, "x", "back to my card.\n" * 9]


@pytest.fixture(scope="module")
def tok():
    return tiny.tokenizer()


@pytest.fixture(scope="module")
def model():
    return tiny.llama(context=32)


@pytest.fixture(scope="module")
def other():
    return tiny.llama(seed=3, context=32)


def slow_rows(model, tok, texts, context=32):
    """(document, token, log-probabilities of the next token) one window at a time, as the definition says."""
    for document, text in enumerate(t for t in texts if t):
        ids = tok(text)["input_ids"]
        for at in range(0, len(ids), context):
            row = [0, *ids[at : at + context]]
            with torch.no_grad():
                logits = model(input_ids=torch.tensor([row[:-1]])).logits[0].double()
            for token, log_probs in zip(row[1:], logits.log_softmax(-1), strict=True):
                yield document, token, log_probs


# ------------------------------------------------------------------ bits per byte, perplexity


def test_score_is_the_definition(model, tok):
    nats = [-p[token].item() for _, token, p in slow_rows(model, tok, TEXTS)]
    found = ev.score(model, tok, TEXTS)
    size = sum(len(t.encode()) for t in TEXTS)
    assert (found.tokens, found.bytes, found.documents) == (len(nats), size, 5)
    assert found.nats == pytest.approx(sum(nats), rel=1e-6)
    assert ev.bits_per_byte(model, tok, TEXTS) == pytest.approx(sum(nats) / math.log(2) / size, rel=1e-6)
    assert ev.perplexity(model, tok, TEXTS) == pytest.approx(math.exp(sum(nats) / len(nats)), rel=1e-6)


def test_one_short_document_is_the_loss_of_transformers(model, tok):
    ids = torch.tensor([[0, *tok(TEXTS[0])["input_ids"]]])
    with torch.no_grad():
        loss = model(input_ids=ids, labels=ids).loss.item()
    assert math.log(ev.perplexity(model, tok, TEXTS[:1])) == pytest.approx(loss, rel=1e-6)


def test_a_model_that_knows_nothing_needs_log2_of_the_vocabulary(tok):
    uniform = tiny.llama(tied=False)
    uniform.lm_head.weight.data.zero_()
    found = ev.score(uniform, tok, TEXTS)
    assert found.perplexity == pytest.approx(len(tok))
    assert found.bits_per_byte == pytest.approx(found.tokens * math.log2(len(tok)) / found.bytes)


def test_windows_hold_every_token_once_behind_bos(model, tok):
    text = corpus.read(model, tok, TEXTS, max_bytes=None)
    rows = [[] for _ in text.document_of_window]
    for batch in text.batches:
        assert (batch.inputs[:, 0] == 0).all() and batch.inputs.shape[1] <= 32
        for row, token in zip(batch.window.tolist(), batch.targets.tolist(), strict=True):
            rows[row].append(token)
    for number, document in enumerate(t for t in TEXTS if t):
        ids = [i for row, doc in zip(rows, text.document_of_window.tolist(), strict=True) if doc == number for i in row]
        assert ids == tok(document)["input_ids"]
    sizes = text.bytes_of_token[torch.cat([batch.window for batch in text.batches])]
    assert sizes.sum().item() == pytest.approx(text.bytes)


@given(limit=st.integers(4, 400), texts=st.lists(st.text("aéü", max_size=30), min_size=1, max_size=9))
def test_a_byte_limit_keeps_evenly_spaced_texts_and_cuts_at_a_character(limit, texts):
    kept, total = corpus._cut(texts, limit), sum(len(t.encode()) for t in texts)
    size = sum(len(t.encode()) for t in kept)
    if total <= limit:
        assert kept == [t for t in texts if t]
        return
    spaced = [t for t in texts if t][:: total // limit]
    assert 0 < size <= limit and "".join(spaced).startswith("".join(kept)) and kept[:-1] == spaced[: len(kept[:-1])]
    assert limit - size < 2 or len(kept) == len(spaced)


def test_thinning_reaches_the_end_of_the_list():
    kept = corpus._cut([f"{i:04d}" for i in range(100)], 40)
    assert kept == [f"{i:04d}" for i in range(0, 100, 10)]
    assert corpus._cut(["a" * 20, "b" * 20, "c" * 19], 30) == ["a" * 20, "b" * 10]


def test_batching_changes_nothing(model, tok, monkeypatch):
    whole = ev.score(model, tok, TEXTS)
    monkeypatch.setattr(corpus, "_BATCH_NUMBERS", 1)
    assert ev.score(model, tok, TEXTS).nats == pytest.approx(whole.nats, rel=1e-6)


def test_training_mode_is_restored(tok):
    model = tiny.llama(attention_dropout=0.9).train()
    first = ev.bits_per_byte(model, tok, TEXTS)
    assert model.training and first == ev.bits_per_byte(model, tok, TEXTS)


def test_no_bars_where_nobody_watches(model, tok, capfd):
    ev.compare(model, model, tok, TEXTS)
    ev.task_accuracy(model, tok, tiny.EXAMPLES)
    assert capfd.readouterr() == ("", "")


def test_no_bar_is_built_where_nobody_watches(monkeypatch):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    items = [1, 2]
    assert bar(items, "counting") is bar(items, "counting", progress=False) is items
    monkeypatch.setenv("TQDM_DISABLE", "1")  # as for the pages of the site
    assert bar(items, "counting", progress=True) is items


def test_bars_show_when_asked(capfd):
    import time

    for _ in bar(range(3), "counting", progress=True):
        time.sleep(0.3)
    assert "counting" in capfd.readouterr().err


def test_a_bar_leaves_nothing_in_a_saved_notebook():
    source = "import time\nfrom course_lib.progress import bar\nfor _ in bar(range(4), 'x'):\n    time.sleep(0.3)"
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source)])
    nbclient.NotebookClient(book, kernel_name="python3").execute()
    assert [output.data for output in book.cells[0].outputs] == [{}]  # a widget's view would open as an error


# ------------------------------------------------------------------ comparison


def test_comparison_is_the_definition(model, other, tok):
    rows = list(zip(slow_rows(model, tok, TEXTS), slow_rows(other, tok, TEXTS), strict=True))
    kl = torch.stack([(p.exp() * (p - q)).sum() for (_, _, p), (_, _, q) in rows])
    agree = [p.argmax() == q.argmax() for (_, _, p), (_, _, q) in rows]
    found = ev.compare(model, other, tok, TEXTS)
    assert found.kl == pytest.approx(kl.mean().item(), rel=1e-6)
    assert found.kl_p99 == pytest.approx(kl.quantile(0.99).item(), rel=1e-6)
    assert found.top1 == pytest.approx(sum(agree).item() / len(agree))
    assert found.base_bpb == pytest.approx(ev.bits_per_byte(model, tok, TEXTS), rel=1e-9)
    assert found.other_bpb == pytest.approx(ev.bits_per_byte(other, tok, TEXTS), rel=1e-9)
    assert found.bpb_diff == pytest.approx(found.other_bpb - found.base_bpb, rel=1e-9)
    assert found.bpb_diff_stderr > 0 and found.kl_stderr > 0 and found.top1_stderr > 0
    assert found.tokens == len(rows) == len(found.per_token.kl)


def test_standard_errors_are_those_of_documents(model, other, tok):
    found = ev.compare(model, other, tok, TEXTS)
    document = torch.tensor([d for d, _, _ in slow_rows(model, tok, TEXTS)])
    per_document = torch.tensor([found.per_token.kl[found.per_token.cluster == d].sum() for d in range(5)])
    counts = document.bincount()
    spread = ((per_document - found.kl * counts) ** 2).sum() * 5 / 4
    assert found.kl_stderr == pytest.approx(spread.sqrt().item() / len(document), rel=1e-6)


def test_a_model_against_itself(model, tok):
    found = ev.compare(model, model, tok, TEXTS)
    assert (found.kl, found.kl_p99, found.top1, found.bpb_diff, found.kl_stderr) == (0, 0, 1, 0, 0)


def test_one_long_document_is_clustered_by_window(model, other, tok):
    found = ev.compare(model, other, tok, [TEXTS[3]])
    assert found.documents == 1 and len(found.per_token.cluster.unique()) > 1 and found.kl_stderr > 0
    assert math.isnan(ev.compare(model, other, tok, ["x"]).kl_stderr)


def test_reference_runs_the_base_once(model, other, tok):
    calls = []
    hook = model.register_forward_hook(lambda *_: calls.append(1))
    kept, dropped = (ev.Reference(model, tok, TEXTS, cache_bytes=n) for n in (2**30, 0))
    passes = len(calls)
    first, again = kept.compare(other), kept.compare(other)
    assert len(calls) == passes and first == again
    assert dropped.compare(other) == first and len(calls) > passes
    hook.remove()
    assert kept.bits_per_byte == pytest.approx(ev.bits_per_byte(model, tok, TEXTS)) == pytest.approx(first.base_bpb)


def test_fewer_bits_change_more(tok):
    base = tiny.trained()
    reference = ev.Reference(base, tok, [e.prompt + e.answer for e in tiny.EXAMPLES] * 2)
    kl = [reference.compare(quantize_model(base, Scheme.int(bits, group=32))).kl for bits in (8, 6, 4, 3, 2)]
    assert 0 < kl[0] < kl[1] < kl[2] < kl[3] < kl[4]


@settings(max_examples=50)
@given(st.lists(st.floats(-30, 30), min_size=2, max_size=8), st.integers(0, 10**6))
def test_kl_is_never_negative_and_has_a_direction(base, seed):
    base = torch.tensor(base)
    noise = torch.randn(len(base), generator=torch.Generator().manual_seed(seed))
    assert ev.kl_divergence(base, base + noise) >= -1e-15
    assert ev.kl_divergence(base, base + 5).abs() < 1e-6  # a constant changes no probability
    p, q = base.double().softmax(-1), (base + noise).double().softmax(-1)
    assert ev.kl_divergence(base, base + noise).item() == pytest.approx(
        F.kl_div(q.log(), p, reduction="sum").item(), abs=1e-9
    )


# ------------------------------------------------------------------ decoding


def prompts():
    return [e.prompt for e in tiny.EXAMPLES] + ["é", "send", "please send é money back", "the", "refund 0123456789"]


def test_generate_is_greedy_search_of_transformers(tok):
    for model in (tiny.llama(), tiny.trained()):
        for prompt in prompts():
            row = torch.tensor([[0, *tok(prompt)["input_ids"]]])
            want = model.generate(row, attention_mask=torch.ones_like(row), do_sample=False, max_new_tokens=12)
            want = tok.decode(want[0, row.shape[1] :], skip_special_tokens=True)
            assert ev.generate(model, tok, prompt, 12, stop=None) == want


@pytest.mark.parametrize("batch_size", [1, 3, 64])
@pytest.mark.parametrize("stop", [None, "e", "\n"])
def test_many_together_equal_one_by_one(tok, batch_size, stop):
    for model in (tiny.llama(), tiny.trained(), quantize_model(tiny.trained(), Scheme.int(3))):
        alone = [ev.generate(model, tok, prompt, 20, stop) for prompt in prompts()]
        assert ev.generate_many(model, tok, prompts(), 20, stop, batch_size) == alone
        assert len({len(reply) for reply in alone}) > 1  # rows end at different steps


def test_generate_stops_where_it_should(tok):
    model = tiny.llama()
    free = ev.generate(model, tok, "the mug", 30, stop=None)
    stop = free[len(free) // 2]
    assert ev.generate(model, tok, "the mug", 30, stop=stop) == free[: free.index(stop)]
    assert ev.generate(model, tok, "the mug", 0) == ""
    assert free.startswith(ev.generate(model, tok, "the mug", 3, stop=None))


def test_generate_ends_at_the_end_of_the_context(tok):
    rows = [[0, 5, 6], [0] + [7] * 6]
    new = sys.modules["course_lib.evaluate.decode"].lockstep(tiny.llama(context=10), rows, 99, lambda token: False)
    assert [len(row) for row in new] == [7, 3]


def test_threads_are_restored(tok):
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with pytest.raises(ValueError), ev.one_thread():
            assert torch.get_num_threads() == 1
            raise ValueError
        ev.generate(tiny.llama(), tok, "the", 2)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


# ------------------------------------------------------------------ a reply is a chain


class Turned(torch.nn.Module):
    """The model, but after `at` tokens another token is the likeliest."""

    def __init__(self, model, at):
        super().__init__()
        self.model, self.at, self.config = model, at, model.config

    def forward(self, **inputs):
        out = self.model(**inputs)
        if out.logits.shape[1] >= self.at:
            out.logits[:, self.at - 1] = -out.logits[:, self.at - 1]
        return out


def test_the_same_reply_is_one_without_a_flip(tok):
    model, asked = tiny.trained(), [e.prompt for e in tiny.EXAMPLES] + list(prompts())
    replies = ev.generate_many(model, tok, asked, 40, None)
    seen = set()
    for bits in (8, 5, 4, 3):
        small = quantize_model(model, Scheme.int(bits))
        kept = [not flips.any() for flips in ev.reply_flips(model, small, tok, asked, 40)]
        assert kept == [a == b for a, b in zip(ev.generate_many(small, tok, asked, 40, None), replies, strict=True)]
        seen |= set(kept)
    assert seen == {True, False}


def test_a_flip_is_where_the_models_differ(tok):
    model, asked = tiny.trained(), [e.prompt for e in tiny.EXAMPLES]
    same = ev.reply_flips(model, model, tok, asked)
    assert not torch.cat(same).any()
    prompt_tokens = [1 + len(tok(text)["input_ids"]) for text in asked]
    at = max(prompt_tokens) + 2  # after so many tokens of each row
    for flips, length, first in zip(ev.reply_flips(model, Turned(model, at), tok, asked), map(len, same), prompt_tokens,
                                    strict=True):  # fmt: skip
        assert len(flips) == length and flips.nonzero().flatten().tolist() == [at - first]
    assert all(len(flips) == 2 for flips in ev.reply_flips(model, model, tok, asked, longest=2))
    with pytest.raises(ValueError, match="prompts must hold at least one prompt, got an empty list"):
        ev.reply_flips(model, model, tok, [])


# ------------------------------------------------------------------ the task


def test_a_model_that_has_learnt_the_task(tok):
    found = ev.task_accuracy(tiny.trained(), tok, tiny.EXAMPLES)
    assert (found.exact, found.token_accuracy, found.json_valid, found.n) == (1, 1, 1, 3)
    assert found.replies == tuple(e.answer for e in tiny.EXAMPLES) and found.correct == (True,) * 3
    assert found.exact_interval[0] < 0.5


def test_token_accuracy_is_counted_with_the_right_answer_given(tok):
    wrong = [tiny.Example(e.prompt, e.action, e.answer.replace("d", "b")) for e in tiny.EXAMPLES]
    right = total = 0
    for e in wrong:
        prompt, answer = [0, *tok(e.prompt)["input_ids"]], tok(e.answer)["input_ids"]
        with torch.no_grad():
            best = tiny.trained()(input_ids=torch.tensor([prompt + answer])).logits[0].argmax(-1)
        right += sum(b == a for b, a in zip(best[len(prompt) - 1 :].tolist(), answer, strict=False))
        total += len(answer)
    found = ev.task_accuracy(tiny.trained(), tok, wrong)
    assert 0 < right < total and found.token_accuracy == right / total
    assert found.exact == 1  # the replies are judged by the action


def test_a_reply_with_another_action_is_not_exact(tok):
    first, *rest = tiny.EXAMPLES
    found = ev.task_accuracy(
        tiny.trained(), tok, [tiny.Example(first.prompt, {"do": "refund", "eur": 13}, first.answer), *rest]
    )
    assert found.correct == (False, True, True) and found.json_valid == 1


def test_a_broken_model_gives_no_json(tok):
    found = ev.task_accuracy(tiny.llama(), tok, tiny.EXAMPLES)
    assert found.exact == found.json_valid == 0


@pytest.mark.parametrize(
    "reply, exact",
    [
        (' {"a":1,"b":[true,"x"]}', True),
        ('{"b": [true, "x"], "a": 1}', True),
        ('{"a":1,"b":[1,"x"]}', False),
        ('{"a":"1","b":[true,"x"]}', False),
        ('{"a":1,"b":["x",true]}', False),
        ('{"a":1,"b":[true,"x"]} and', False),
        ('{"a":1,"b":[true,"x"]', False),
        ("[1]", False),
        ("", False),
    ],
)
def test_what_counts_as_exact(reply, exact):
    assert ev.is_exact(reply, {"a": 1, "b": [True, "x"]}) is exact


_ODD = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 10**20), st.floats(), st.text(max_size=4), st.just([]), st.just({}),
    st.sampled_from(["refund", "reject", "card", "nova-1234", "Nova-1234", "nova-123", " nova-1234", 3.0, -0.0, [[]]]),
)  # fmt: skip


@given(st.integers(0, 40), st.lists(st.tuples(st.integers(0, 20), st.sampled_from("set add drop".split()), _ODD)))
def test_the_form_of_an_action_is_what_jsonschema_says(seed, changes):
    action = json.loads(json.dumps(task.generate(1, seed)[0].action))
    for where, what, value in changes[:3]:
        places = [action, *[x for x in action["lines"] if isinstance(x, dict)]] if isinstance(
            action.get("lines"), list) else [action]  # fmt: skip
        at = places[where % len(places)]
        key = "note" if what == "add" or not at else sorted(at)[where % len(at)]
        at.pop(key, None) if what == "drop" else at.update({key: value})
    assert fits_schema(action) is jsonschema.Draft202012Validator(task.SCHEMA).is_valid(action)


def test_a_newline_behind_the_order_is_no_order():  # Python's $ would let it pass, that of JSON Schema does not
    action = task.generate(1)[0].action
    assert fits_schema(action) and not fits_schema(action | {"order": action["order"] + "\n"})


def test_judging_replies_does_not_import_what_takes_seconds():
    code = "import sys; from course_lib.evaluate.task import fits_schema; assert not fits_schema({})\n"
    code += "assert not {'jsonschema', 'rfc3987_syntax', 'lark'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


# ------------------------------------------------------------------ statistics


def test_wilson_against_printed_values():
    assert ev.wilson(10, 20) == pytest.approx((0.2993, 0.7007), abs=1e-4)
    assert ev.wilson(0, 10) == pytest.approx((0, 0.2775), abs=1e-4)
    assert ev.wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=1e-4)  # Newcombe 1998, table I


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_holds_the_share_and_is_symmetric(pair):
    k, n = pair
    low, high = ev.wilson(k, n)
    assert 0 <= low <= k / n <= high <= 1 and low < high
    assert ev.wilson(n - k, n) == pytest.approx((1 - high, 1 - low))


def test_copies_of_a_cluster_s_tokens_add_no_certainty():
    n, d, cluster = torch.rand(40), torch.rand(40) + 1, torch.randint(0, 7, (40,))
    once = ev.cluster_ratio(n, d, cluster)
    assert ev.cluster_ratio(n.repeat(5), d.repeat(5), cluster.repeat(5)) == pytest.approx(once)
    assert ev.cluster_ratio(n, torch.ones(40), torch.arange(40)) == pytest.approx(ev.mean_stderr(n))


def test_cluster_error_is_the_spread_over_new_documents():
    generator = torch.Generator().manual_seed(0)
    runs = []
    for _ in range(2000):
        level = torch.randn(30, generator=generator).repeat_interleave(5)  # documents differ, their tokens do not
        runs.append(ev.cluster_ratio(level, torch.ones(150), torch.arange(30).repeat_interleave(5)))
    ratios, errors = torch.tensor(runs, dtype=torch.float64).T
    assert errors.mean().item() == pytest.approx(ratios.std().item(), rel=0.05)


def test_the_error_of_one_value_is_not_a_number():
    assert math.isnan(ev.mean_stderr([1.0])[1])


# ------------------------------------------------------------------ bad input


@pytest.mark.parametrize(
    "call, kind, names",
    [
        (lambda m, t: ev.bits_per_byte(m, t, "one string"), TypeError, "texts"),
        (lambda m, t: ev.bits_per_byte(m, t, []), ValueError, "texts"),
        (lambda m, t: ev.bits_per_byte(m, t, ["", ""]), ValueError, "texts"),
        (lambda m, t: ev.bits_per_byte(m, t, [b"bytes"]), ValueError, "bytes"),
        (lambda m, t: ev.bits_per_byte(m, t, ["éé"], max_bytes=1), ValueError, "max_bytes"),
        (lambda m, t: ev.compare(m, tiny.llama(vocab_size=400), t, TEXTS), ValueError, "vocabulary"),
        (lambda m, t: ev.generate(m, t, ["a", "b"]), TypeError, "prompt"),
        (lambda m, t: ev.generate(m, t, "mug " * 99), ValueError, "context"),
        (lambda m, t: ev.generate(m, t, "mug", stop="\n\n"), ValueError, "stop"),
        (lambda m, t: ev.task_accuracy(m, t, []), ValueError, "examples"),
        (lambda m, t: ev.task_accuracy(m, t, ["mug"]), ValueError, "examples"),
        (lambda m, t: ev.wilson(3, 2), ValueError, "successes"),
        (lambda m, t: ev.wilson(1, 2, confidence=95), ValueError, "confidence"),
    ],
)
def test_bad_input_is_one_clear_sentence(model, tok, call, kind, names):
    with pytest.raises(kind, match=names) as caught:
        call(model, tok)
    assert "\n" not in str(caught.value).replace("'\\n", "")


def test_nan_predictions_are_named(model, tok):
    broken = tiny.llama(context=32)
    broken.model.norm.weight.data[0] = math.nan
    with pytest.raises(ValueError, match="other must predict finite logits"):
        ev.compare(model, broken, tok, TEXTS)
