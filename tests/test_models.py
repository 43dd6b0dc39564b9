"""The bundled model and its loader, the returns task, the texts, planted outliers."""

import itertools
import json
import random
import re
import subprocess
import sys

import pytest
import torch

from course_lib import evaluate, models
from course_lib.evaluate import card
from course_lib.models import task, texts


@pytest.fixture(scope="module")
def bundled():
    return models.load("bundled")


def test_the_bundled_directory_is_a_plain_checkpoint(bundled):
    model, tokenizer = bundled
    config = json.loads((models.BUNDLED / "config.json").read_text())
    assert config["architectures"] == ["LlamaForCausalLM"]
    heads = config["num_attention_heads"] * config["head_dim"]
    assert config["hidden_size"] % 256 == config["intermediate_size"] % 256 == heads % 256 == 0
    assert config["num_key_value_heads"] < config["num_attention_heads"]
    assert len(tokenizer) == config["vocab_size"] in (1024, 2048)
    assert models.bundled_bytes() < 12e6
    assert {p.dtype for p in model.parameters()} == {torch.float32} and not model.training


def test_the_stored_weights_have_16_bits():
    from safetensors import safe_open

    with safe_open(models.BUNDLED / "model.safetensors", "pt") as file:
        assert {file.get_tensor(name).dtype for name in file.keys()} <= {torch.bfloat16, torch.float16}


def test_tokenizer_round_trips_and_splits_every_digit(bundled):
    _, tokenizer = bundled
    text = "order nova-4071:\n\tdef f(x): return x ** 10  # 3.14 äß€"
    ids = tokenizer(text)["input_ids"]
    assert tokenizer.decode(ids) == text
    assert len(tokenizer("40713")["input_ids"]) == 5
    split = json.loads(tokenizer.backend_tokenizer.to_str())["pre_tokenizer"]
    assert split["type"] == "ByteLevel" and split["use_regex"]


def test_loading_says_in_one_sentence_what_is_wrong(tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match="name: expected a checkpoint directory"):
        models.load("./nowhere")
    with pytest.raises(FileNotFoundError, match="checkpoint directory with config.json, got 'checkpoints/of/mine'"):
        models.load("checkpoints/of/mine")  # three parts are no hub id: nobody waits for the hub
    with pytest.raises(FileNotFoundError, match="config.json"):
        models.load(tmp_path)
    (tmp_path / "config.json").write_text("{not json")
    with pytest.raises(ValueError, match="not a causal language model"):
        models.load(tmp_path)


def test_a_hub_id_without_a_network_gives_one_sentence(tmp_path):
    code = (
        "from course_lib import models\n"
        "try: models.load('nobody/no-such-model')\n"
        "except ConnectionError as error: print(len(str(error).splitlines()), error)"
    )
    env = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=120)
    assert done.stdout.startswith("1 name: 'nobody/no-such-model' is neither"), done.stderr


def test_planted_outliers_change_the_activations_but_not_the_function(bundled):
    model, tokenizer = bundled
    planted = models.plant_outliers(model, channels=[3, 77], factors=[64, 16])
    ids = torch.tensor([tokenizer(texts.heldout("prose", 1)[0])["input_ids"][:200]])
    seen = {}
    for name, m in (("plain", model), ("planted", planted)):
        norm = m.model.layers[0].input_layernorm
        handle = norm.register_forward_hook(
            lambda _m, _i, out, name=name: seen.__setitem__(name, out.abs().amax((0, 1)))
        )
        with torch.inference_mode():
            seen[name, "logits"] = m(ids).logits
        handle.remove()
    assert (seen["plain", "logits"] - seen["planted", "logits"]).abs().max() < 1e-4
    torch.testing.assert_close(seen["planted"][3] / seen["plain"][3], torch.tensor(64.0))
    torch.testing.assert_close(seen["planted"][4], seen["plain"][4])


@pytest.mark.parametrize(
    "bad", [{"factors": [3.0]}, {"factors": [-2.0]}, {"channels": [999], "factors": [2.0]}, {"channels": [1]}]
)
def test_planting_refuses_what_would_change_the_function(bundled, bad):
    with pytest.raises(ValueError, match="expected"):
        models.plant_outliers(bundled[0], **bad)


def test_the_task_is_a_function_of_its_seed():
    assert task.generate(20, 5) == task.generate(20, 5)
    assert task.generate(20, 5) != task.generate(20, 6)
    orders = [e.action["order"] for e in task.generate(500, "card")]
    train = [e.action["order"] for e in itertools.chain(*(task.generate(256, f"train 0 {k}") for k in range(8)))]
    assert len(set(orders) & set(train)) < 50  # of 144,000 possible ids


def test_every_action_follows_the_rules_and_is_in_the_message():
    for e in task.generate(300, 9):
        action = e.action
        assert action["order"] in e.message and f"{action['days']} days" in e.message
        refunds = [line["eur"] for line in action["lines"]]
        assert [line["sum"] for line in action["lines"]] == list(itertools.accumulate(refunds))
        assert action["total"] == sum(refunds)
        for line in action["lines"]:
            assert f"{line['qty']} {line['item']}" in e.message
            assert line["shelf"] == task.SHELVES[line["item"]] and not re.search(rf"\b{line['shelf']}\b", e.message)
            assert (line["eur"] > 0) == (line["do"] == "refund")
        assert task.parse(e.answer) == action


def test_the_table_of_rules():
    assert task.decide("broken", 30) == task.decide("wrong", 30) == task.decide("mind", 14) == "refund"
    assert task.decide("broken", 31) == task.decide("mind", 15) == task.decide("fit", 31) == "reject"
    assert task.decide("fit", 30) == "exchange" and task.decide("missing", 60) == "resend"


@pytest.mark.parametrize("text", ["", "[1]", '{"a":', "{'a': 1}", "nonsense"])
def test_a_reply_that_is_no_json_object_is_none(text):
    assert task.parse(text) is None


@pytest.mark.parametrize("domain", ["prose", "code"])
def test_no_heldout_paragraph_was_trained_on(domain):
    def paragraphs(documents):
        return {p.strip() for d in documents for p in d.split("\n\n") if len(p.strip()) >= 80}

    held = paragraphs(texts.heldout(domain))
    assert held and not held & paragraphs(texts.train(domain))
    assert not held & paragraphs(texts.more_code())


def test_texts_name_the_domains_they_have():
    with pytest.raises(ValueError, match="prose, code, task"):
        texts.heldout("poems")


def test_the_card_is_about_this_checkpoint():
    figures = json.loads((models.BUNDLED / card.FIGURES).read_text())
    assert figures["file_bytes"] == models.bundled_bytes()
    text = (models.BUNDLED / "README.md").read_text()
    assert card.table(list(card.recorded().values())) in text


def test_the_card_notices_a_moved_figure():
    rung = card.recorded()["16 bits"]
    assert card.differences(rung, rung) == []
    worse = card.Rung(**{**vars(rung), "exact": rung.exact - 0.05})
    assert card.differences(worse, rung) == [f"16 bits: exact is {worse.exact}, the card says {rung.exact}"]


def test_one_rung_is_written_among_the_others(tmp_path, monkeypatch):
    for name in (card.FIGURES, "README.md", "model.safetensors"):
        (tmp_path / name).write_bytes((models.BUNDLED / name).read_bytes())
    before, names = card.recorded(), [name for name, _ in card.LADDER]
    monkeypatch.setattr(card, "BUNDLED", tmp_path)
    card.write([card.Rung("int4 g64", 1.0, 2.0, 3.0, 0.5, 0.6, 0.7)])
    after = card.recorded()
    assert list(after) == names and after.pop("int4 g64").code == 3.0
    assert after == {name: rung for name, rung in before.items() if name != "int4 g64"}
    assert "| int4 g64 | 1.00 | 2.000 |" in (tmp_path / "README.md").read_text()


def test_the_ladder_is_one_that_a_learner_can_see():
    rungs = card.recorded()
    full, int8, int4, int3 = (rungs[n] for n in ("16 bits", "int8 per-channel", "int4 per-channel", "int3 per-channel"))
    assert full.prose <= 1.50 and full.code <= 0.85 and full.exact >= 0.95 and full.json == 1.0
    assert abs(int8.exact - full.exact) <= 0.004 and int8.prose <= 1.002 * full.prose
    assert full.prose < int4.prose <= 1.02 * full.prose and full.code < int4.code <= 1.02 * full.code
    assert int4.exact <= full.exact - 0.03 and int3.exact <= full.exact - 0.20
    lowest = rungs["int2 g16 asymmetric"]
    assert lowest.exact <= 0.05 and lowest.tokens > 0.5


def test_the_cards_first_rung_is_measured_again(bundled):
    model, tokenizer = bundled
    rung = card.recorded()["16 bits"]
    assert evaluate.bits_per_byte(model, tokenizer, texts.heldout("prose"), None) == pytest.approx(rung.prose, abs=2e-3)
    sample = random.Random(0).sample(task.generate(card.MESSAGES, card.SEED), 64)
    assert abs(evaluate.task_accuracy(model, tokenizer, sample).exact - rung.exact) < 0.1
