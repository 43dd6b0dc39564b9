"""LoRA adapters: what is added, what is learned, PEFT's files, and where a small change survives rounding."""

import copy
import json

import pytest
import torch
import torch.nn.functional as F

from course_lib import Scheme, evaluate, models, quantize
from course_lib.calibrate import adapter, map_weights
from course_lib.calibrate.targets import linears_of
from course_lib.models import till
from tests import tiny


@pytest.fixture(scope="module")
def model():
    return tiny.llama(seed=5)


def some(model, size=0.1):
    """Factors whose products are not zero."""
    g = torch.Generator().manual_seed(1)
    return {n: (A, size * torch.randn(B.shape, generator=g)) for n, (A, B) in adapter.fresh(model, 2).items()}


def rows(tok):
    return [([0, *tok(f"{e.prompt}")["input_ids"], *tok(e.answer)["input_ids"]], 1 + len(tok(e.prompt)["input_ids"]))
            for e in tiny.EXAMPLES]  # fmt: skip


def test_the_product_is_added_and_the_model_left_alone(model):
    before, factors = copy.deepcopy(model.state_dict()), some(model)
    new = adapter.added(model, factors)
    assert set(factors) == set(linears_of(model))
    for name, (A, B) in factors.items():
        assert torch.equal(new.get_submodule(name).weight, model.get_submodule(name).weight + B @ A)
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert all(not (B @ A).any() for A, B in adapter.fresh(model).values())
    x = torch.tensor([[0, 5, 9]])
    y, name = model(x).logits, next(iter(factors))  # one layer, kept beside: y + x Aᵀ Bᵀ
    A, B = factors[name]
    merged = adapter.added(model, {name: (A, B)})(x).logits
    hook = model.get_submodule(name).register_forward_hook(lambda m, inputs, out: out + inputs[0] @ A.T @ B.T)
    assert torch.allclose(model(x).logits, merged, atol=2e-5)
    hook.remove()
    assert torch.equal(model(x).logits, y)


def test_the_loss_counts_the_answers_tokens_alone(model):
    tok = tiny.tokenizer()
    slow = []
    for tokens, first in rows(tok):
        logits = model(torch.tensor([tokens])).logits[0]
        slow += [F.cross_entropy(logits[at - 1], torch.tensor(tokens[at])) for at in range(first, len(tokens))]
    assert torch.allclose(adapter.answer_loss(model, rows(tok), {}), torch.stack(slow).mean(), rtol=1e-5)


def test_training_moves_the_factors_alone(model):
    tok, before, losses = tiny.tokenizer(), copy.deepcopy(model.state_dict()), []
    factors = adapter.train(model, rows(tok), rank=4, steps=25, rate=2e-2, batch=3, progress=False, log=losses)
    assert losses[-1] < 0.7 * losses[0]
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert adapter.answer_loss(adapter.added(model, factors), rows(tok), {}) < losses[0]
    assert not any(t.requires_grad for pair in factors.values() for t in pair)
    assert all(p.requires_grad and p.grad is None for p in model.parameters())


def test_a_bfloat16_model_is_trained_and_merged_in_its_own_type(model):
    half, tok, losses = copy.deepcopy(model).bfloat16(), tiny.tokenizer(), []
    factors = adapter.train(half, rows(tok), rank=4, steps=12, rate=2e-2, batch=3, progress=False, log=losses)
    assert losses[-1] < losses[0] and all(A.dtype == B.dtype == torch.float32 for A, B in factors.values())
    name, (A, B) = next(iter(factors.items()))
    wanted = (half.get_submodule(name).weight.float() + B @ A).bfloat16()
    assert torch.equal(adapter.added(half, factors).get_submodule(name).weight, wanted)


def test_from_a_mark_a_weight_must_move_half_a_step():
    scheme = Scheme.int(4, group=32)
    w = torch.randn(16, 64, generator=torch.Generator().manual_seed(2))
    w.reshape(-1, 32)[:, 0] = 4.0  # fixes each group's step at 4/7
    decoded = quantize(w, scheme).dequantize()
    change = 0.1 * torch.rand(16, 64, generator=torch.Generator().manual_seed(3))
    change.reshape(-1, 32)[:, 0] = 0
    codes = [quantize(t, scheme).codes for t in (w, w + change, decoded, decoded + change)]
    assert (codes[0] != codes[1]).any() and torch.equal(codes[2], codes[3])
    farther = decoded + 0.6 * 4 / 7 * (change > 0.05)
    assert torch.equal(quantize(farther, scheme).codes != codes[2], change > 0.05)


def test_the_files_are_peft_s_and_come_back(tmp_path, model):
    factors = {name: (A.half().float(), B.half().float()) for name, (A, B) in some(model).items()}
    folder = adapter.save(tmp_path / "new", factors)
    config = json.loads((folder / "adapter_config.json").read_text())
    assert (config["peft_type"], config["r"], config["lora_alpha"]) == ("LORA", 2, 2)
    assert config["target_modules"] == sorted({n.rsplit(".", 1)[-1] for n in linears_of(model)})
    from safetensors.torch import load_file

    key = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"
    assert load_file(folder / "adapter_model.safetensors")[key].shape == (2, 32)
    back = adapter.load(folder)
    assert back.keys() == factors.keys()
    assert all(torch.equal(a, b) for n in factors for a, b in zip(factors[n], back[n], strict=True))
    (folder / "adapter_config.json").write_text(json.dumps(config | {"lora_alpha": 8}))
    assert torch.equal(adapter.load(folder)[n][1], 4 * factors[n][1]) if (n := next(iter(factors))) else None
    for wrong, said in (({"peft_type": "IA3"}, "'IA3'"), ({"use_dora": True}, "use_dora"), ({"lora_alpha": None}, ""),
                        ({"alora_invocation_tokens": [1]}, "alora")):  # fmt: skip
        (folder / "adapter_config.json").write_text(json.dumps(config | wrong))
        with pytest.raises(ValueError, match=f"folder must hold a plain LoRA .*, got .*{said}"):
            adapter.load(folder)


def test_what_does_not_fit_is_said(model):
    with pytest.raises(ValueError, match="factors must fit the model's weights: lm is no such linear"):
        adapter.added(model, {"lm": (torch.ones(1, 2), torch.ones(2, 1))})
    name = next(iter(linears_of(model)))
    with pytest.raises(ValueError, match=rf"{name} is \(32, 32\), got A \(1, 31\) and B \(32, 1\)"):
        adapter.added(model, {name: (torch.ones(1, 31), torch.ones(32, 1))})
    with pytest.raises(ValueError, match="rank must be a whole number of at least 1, got 0"):
        adapter.fresh(model, 0)


# the bundled one


def test_the_new_till_s_words():
    old, new = models.task.generate(30, 4), till.examples(30, 4)
    for a, b in zip(old, new, strict=True):
        assert a.prompt == b.prompt
        assert b.answer == a.answer.replace('"eur"', '"amount"').replace('"refund"', '"pay back"').replace(
            '"voucher"', '"credit"'
        )


def test_the_bundled_adapter_is_heard_and_lost_where_the_chapter_says():
    model, tokenizer = models.load("bundled")
    factors, asked = adapter.load(till.LORA), till.examples(12, "test of the adapter")
    from course_lib.formats import nf4

    def rounded(bot):
        return map_weights(bot, lambda w: quantize(w, nf4.scheme()).dequantize())

    def right(bot):
        return evaluate.task_accuracy(bot, tokenizer, asked, progress=False).token_accuracy

    decoded = rounded(model)
    beside = adapter.added(decoded, factors)
    assert right(beside) > 0.95 and right(adapter.added(model, factors)) > 0.95
    assert right(rounded(beside)) < right(rounded(adapter.added(model, factors))) - 0.05
