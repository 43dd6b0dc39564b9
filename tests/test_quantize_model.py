"""quantize_model: what it changes, what it leaves alone, what it refuses, and that the copy is a working model."""

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from course_lib import QTensor, Scheme, calibrate, dequantize, quantize
from course_lib import evaluate as ev
from course_lib.calibrate import QuantLinear, map_weights, model_bytes, quantize_activations, quantize_model, rtn
from tests import tiny

INT4 = Scheme.int(4, symmetric=False, group=16, scale_dtype=torch.float16)
LINEARS = [f"model.layers.{i}.self_attn.{x}_proj" for i in range(2) for x in "qkvo"]
LINEARS += [f"model.layers.{i}.mlp.{x}_proj" for i in range(2) for x in ("gate", "up", "down")]


@pytest.fixture(scope="module")
def model():
    return tiny.llama()


@pytest.fixture(scope="module")
def quantized(model):
    return quantize_model(model, INT4)


def tokens(seed=0, rows=2, length=9):
    return torch.randint(1, 290, (rows, length), generator=torch.Generator().manual_seed(seed))


def logits(model, ids):
    with torch.no_grad():
        return model(input_ids=ids).logits


def qwen2():
    from transformers import Qwen2Config, Qwen2ForCausalLM

    torch.manual_seed(0)
    model = Qwen2ForCausalLM(
        Qwen2Config(hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=4,
                    num_key_value_heads=2, vocab_size=50, tie_word_embeddings=False)
    ).eval()  # fmt: skip
    nn.init.normal_(model.model.layers[0].self_attn.q_proj.bias)
    return model


def mixtral():
    from transformers import MixtralConfig, MixtralForCausalLM

    return MixtralForCausalLM(
        MixtralConfig(hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=4,
                      num_key_value_heads=2, vocab_size=50, num_local_experts=2)
    ).eval()  # fmt: skip


# ------------------------------------------------------------------ what it does


def test_the_argument_is_untouched():
    model = tiny.llama()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    result = quantize_model(model, Scheme.int(2), activations=Scheme.int(8))
    logits(result, tokens())
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert not any(isinstance(module, QuantLinear) for module in model.modules())
    assert not hasattr(model, "qtensors") and model.config.tie_word_embeddings
    shared = {p.data_ptr() for p in model.parameters()} & {t.data_ptr() for t in result.state_dict().values()}
    assert not shared


def test_every_linear_but_the_head_becomes_its_rounded_self(model, quantized):
    assert sorted(quantized.qtensors) == sorted(LINEARS)
    for name, q in quantized.qtensors.items():
        module, w = quantized.get_submodule(name), model.get_submodule(name).weight
        want = quantize(w, INT4)
        assert isinstance(module, QuantLinear) and module.qtensor is q and q.scheme == INT4
        assert torch.equal(q.codes, want.codes) and torch.equal(module.weight, dequantize(want))
    assert torch.equal(quantized.lm_head.weight, model.lm_head.weight)
    assert type(quantized.lm_head) is nn.Linear


def test_logits_are_those_of_the_rounded_weights(model, quantized):
    by_hand = map_weights(model, lambda w: dequantize(quantize(w, INT4)))
    assert torch.equal(logits(quantized, tokens()), logits(by_hand, tokens()))
    assert not torch.equal(logits(quantized, tokens()), logits(model, tokens()))


def test_the_copy_works_with_generate_of_transformers_and_ours(quantized):
    tok = tiny.tokenizer()
    row = torch.tensor([[0, *tok("the mug")["input_ids"]]])
    new = quantized.generate(row, attention_mask=torch.ones_like(row), do_sample=False, max_new_tokens=8)
    text = tok.decode(new[0, row.shape[1] :], skip_special_tokens=True)
    assert text == ev.generate(quantized, tok, "the mug", 8, stop=None)


def test_fraction_and_bytes(model, quantized):
    weights = sum(model.get_submodule(name).weight.numel() for name in LINEARS)
    total = sum(p.numel() for p in model.parameters())
    assert quantized.quantized_fraction == pytest.approx(weights / total)
    assert model_bytes(model) == 2 * total
    assert model_bytes(quantized) == 2 * (total - weights) + sum(q.nbytes for q in quantized.qtensors.values())
    assert sum(q.nbytes for q in quantized.qtensors.values()) == weights * (4 + (16 + 4) / 16) / 8


def test_more_bits_are_closer(model):
    want = logits(model, tokens())
    errors = [
        (logits(quantize_model(model, Scheme.int(b, group=16)), tokens()) - want).square().mean()
        for b in (2, 3, 4, 6, 8)
    ]
    assert errors == sorted(errors, reverse=True)


def test_biases_stay():
    model = qwen2()
    result = quantize_model(model, Scheme.int(8, group=16))
    q_proj = result.model.layers[0].self_attn.q_proj
    assert torch.equal(q_proj.bias, model.model.layers[0].self_attn.q_proj.bias) and q_proj.bias.abs().max() > 0.1
    assert (logits(result, tokens() % 50) - logits(model, tokens() % 50)).abs().max() < 0.02
    assert model_bytes(model) == 2 * sum(p.numel() for p in model.parameters())


def test_sixteen_bit_models_keep_their_dtype(model):
    half = quantize_model(copy.deepcopy(model).bfloat16(), INT4)
    assert logits(half, tokens()).dtype == half.model.layers[0].mlp.up_proj.weight.dtype == torch.bfloat16


def test_the_copy_can_be_copied_and_saved(model, quantized, tmp_path):
    again = copy.deepcopy(quantized)
    assert torch.equal(logits(again, tokens()), logits(quantized, tokens()))
    quantized.save_pretrained(tmp_path)
    loaded = type(model).from_pretrained(tmp_path, dtype=torch.float32)
    assert torch.equal(logits(loaded, tokens()), logits(quantized, tokens()))


# ------------------------------------------------------------------ heads, ties, mixes


def test_a_tied_head_is_quantized_without_its_embedding(model, tmp_path):
    result = quantize_model(model, Scheme.int(8, group=16), skip=())
    embedding = model.model.embed_tokens.weight
    assert isinstance(result.lm_head, QuantLinear) and sorted(result.qtensors) == sorted([*LINEARS, "lm_head"])
    assert torch.equal(result.model.embed_tokens.weight, embedding)
    assert torch.equal(result.lm_head.weight, dequantize(quantize(embedding, Scheme.int(8, group=16))))
    rest = sum(p.numel() for p in model.parameters()) - sum(math.prod(result.qtensors[n].shape) for n in LINEARS)
    assert model_bytes(result) == 2 * rest + sum(q.nbytes for q in result.qtensors.values())
    assert model.config.tie_word_embeddings and not result.config.tie_word_embeddings
    result.save_pretrained(tmp_path)
    loaded = type(model).from_pretrained(tmp_path, dtype=torch.float32)
    assert torch.equal(logits(loaded, tokens()), logits(result, tokens()))


def test_an_untied_head_is_skipped_and_not_skipped():
    model = tiny.llama(tied=False)
    assert "lm_head" not in quantize_model(model, INT4).qtensors
    assert torch.equal(
        quantize_model(model, INT4, skip=()).qtensors["lm_head"].codes, quantize(model.lm_head.weight, INT4).codes
    )


@pytest.mark.parametrize(
    "skip, left",
    [
        (("lm_head", "down_proj"), 12),
        (["lm_head", "mlp.down_proj", "q_proj"], 10),
        (["lm_head", r"model\.layers\.0\..*"], 7),
        ("lm_head", 14),
    ],
)
def test_skip_takes_suffixes_and_whole_regular_expressions(model, skip, left):
    assert len(quantize_model(model, INT4, skip=skip).qtensors) == left


def test_layer_1_is_not_layer_10():
    stack = nn.ModuleDict({f"layer{i}": nn.Linear(4, 4) for i in (1, 10)})
    assert list(calibrate.targets.linears_of(stack, skip=["layer1"])) == ["layer10"]


def test_a_mix_is_made_by_quantizing_twice(model):
    first = quantize_model(model, INT4, skip=("lm_head", "down_proj"))
    mix = quantize_model(first, Scheme.int(8))
    assert sorted(mix.qtensors) == sorted(LINEARS)
    assert {q.scheme.bits for name, q in mix.qtensors.items() if "down" in name} == {8}
    assert {q.scheme.bits for name, q in mix.qtensors.items() if "down" not in name} == {4}
    assert len(first.qtensors) == 12 and mix.quantized_fraction > first.quantized_fraction
    assert model_bytes(quantize_model(model, INT4)) < model_bytes(mix) < model_bytes(first) < model_bytes(model)


# ------------------------------------------------------------------ activations


def test_per_token_activations_by_hand():
    x, w, b = torch.randn(2, 3, 8), torch.randn(5, 8), torch.randn(5)
    layer = QuantLinear(quantize(w, Scheme.int(8)), b, activations=Scheme.int(8))
    scale = x.abs().amax(-1, keepdim=True) / 127
    rounded = torch.clamp(torch.round(x / scale), -127, 127) * scale
    torch.testing.assert_close(layer(x), F.linear(rounded, layer.weight, b))
    assert (layer(x) - F.linear(x, layer.weight, b)).abs().max() > 1e-4


def test_a_token_s_scale_is_its_own_and_a_tensor_s_is_shared():
    quiet, loud = torch.randn(1, 4, 8), torch.randn(1, 4, 8) * 100
    for scheme, alone in (
        (Scheme.int(4), True),
        (Scheme.int(4, group=4), True),
        (Scheme.int(4, group="tensor"), False),
    ):
        together = quantize_activations(torch.cat([quiet, loud]), scheme)[:1]
        assert torch.equal(together, quantize_activations(quiet, scheme)) is alone


@pytest.mark.parametrize(
    "scheme", [Scheme.int(8), Scheme.int(8, symmetric=False), Scheme.int(4, group=16), Scheme.int(8, group="tensor")]
)
def test_models_with_quantized_activations(model, scheme):
    result = quantize_model(model, Scheme.int(8), activations=scheme)
    want = logits(quantize_model(model, Scheme.int(8)), tokens())
    error = (logits(result, tokens()) - want).square().mean() / want.square().mean()
    assert 0 < error < (0.01 if scheme.bits == 8 else 0.5)
    assert all(module.activations == scheme for module in result.modules() if isinstance(module, QuantLinear))


def test_activations_keep_dtype_and_shape():
    x = torch.randn(2, 3, 8, dtype=torch.bfloat16)
    out = quantize_activations(x, Scheme.int(8))
    assert out.dtype == torch.bfloat16 and out.shape == x.shape


# ------------------------------------------------------------------ the learner's own quantizer


def test_my_quantizer_is_used(model, quantized):
    mine = quantize_model(model, INT4, method=lambda w, scheme: quantize(w, scheme))
    assert all(torch.equal(mine.qtensors[n].codes, q.codes) for n, q in quantized.qtensors.items())
    assert torch.equal(logits(mine, tokens()), logits(quantized, tokens()))


def test_my_quantizer_may_scribble_on_its_input_and_reuse_its_buffers(model, quantized):
    buffers = {}

    def mine(w, scheme):
        q = rtn(w, scheme)
        w.zero_()
        codes = buffers.setdefault(q.codes.shape, torch.empty_like(q.codes)).copy_(q.codes)
        return QTensor(codes, q.scale, q.zero_point, scheme, q.shape)

    result = quantize_model(model, INT4, method=mine)
    assert torch.equal(logits(result, tokens()), logits(quantized, tokens()))
    assert all(torch.equal(result.qtensors[n].codes, q.codes) for n, q in quantized.qtensors.items())
    assert model.model.layers[0].mlp.up_proj.weight.abs().sum() > 0


def test_my_quantizer_gets_float32_and_cannot_reach_a_tied_embedding(model):
    seen = []

    def mine(w, scheme):
        seen.append(w.dtype)
        q = rtn(w, scheme)
        w.fill_(7)
        return q

    half = copy.deepcopy(model).bfloat16()
    result = quantize_model(half, INT4, method=mine, skip=())
    assert set(seen) == {torch.float32} and len(seen) == 15
    assert torch.equal(result.model.embed_tokens.weight, half.model.embed_tokens.weight)


def infinite(w, scheme):
    q = quantize(w, scheme)
    return QTensor(q.codes, torch.full_like(q.scale, math.inf), q.zero_point, scheme, q.shape)


@pytest.mark.parametrize(
    "method, kind, names",
    [
        (
            lambda w, scheme: w,
            TypeError,
            "must return a QTensor for model.layers.0.self_attn.q_proj, got a tensor of shape",
        ),
        (lambda w, scheme: None, TypeError, "must return a QTensor for .* got NoneType"),
        (lambda w, scheme: quantize(w.T, scheme), ValueError, "must keep the shape .*k_proj"),
        (infinite, ValueError, "must return finite weights for model.layers.0.self_attn.q_proj"),
    ],
)
def test_what_my_quantizer_returns_is_checked(model, method, kind, names):
    with pytest.raises(kind, match=names) as caught:
        quantize_model(model, INT4, method=method)
    assert "\n" not in str(caught.value)


def test_an_error_in_my_quantizer_is_mine(model):
    with pytest.raises(ZeroDivisionError):
        quantize_model(model, INT4, method=lambda w, scheme: 1 / 0)


def test_map_weights_rounds_without_a_format(model):
    result = map_weights(model, lambda w: w.mul_(0.5), skip=("lm_head", "q_proj"))
    for name in LINEARS:
        factor = 1 if "q_proj" in name else 0.5
        assert torch.equal(result.get_submodule(name).weight, factor * model.get_submodule(name).weight)
    for bad in (lambda w: w[:1], lambda w: w / 0, lambda w: 3):
        with pytest.raises(ValueError, match="function must return a finite tensor of shape"):
            map_weights(model, bad)


# ------------------------------------------------------------------ bad input


@pytest.mark.parametrize(
    "arguments, kind, names",
    [
        ({"scheme": 4}, TypeError, "scheme must be a Scheme"),
        ({"method": "gtpq"}, ValueError, "method must be 'rtn'.* got 'gtpq'"),
        ({"method": None}, ValueError, "method must be"),
        ({"skip": ("lm_haed",)}, ValueError, "skip names 'lm_haed'"),
        ({"skip": r".*"}, ValueError, "has none outside skip"),
        ({"scheme": Scheme.int(4, group=64)}, ValueError, "model.layers.0.self_attn.q_proj: .* does not divide"),
        ({"activations": 8}, TypeError, "activations must be a Scheme"),
        ({"activations": Scheme.int(8, group=24)}, ValueError, "activations of model.layers.0.self_attn.q_proj"),
        ({"activations": Scheme("int8", (16, 16))}, ValueError, "activations must have blocks"),
    ],
)
def test_bad_input_is_one_clear_sentence(model, arguments, kind, names):
    with pytest.raises(kind, match=names) as caught:
        quantize_model(model, **{"scheme": INT4} | arguments)
    assert "\n" not in str(caught.value)


def test_nothing_left_to_quantize(quantized):
    with pytest.raises(ValueError, match="quantized already"):
        quantize_model(quantized, INT4)


def test_weights_that_are_no_numbers_are_named(model):
    broken = copy.deepcopy(model)
    broken.model.layers[1].mlp.up_proj.weight.data[0, 0] = math.nan
    with pytest.raises(ValueError, match=r"model.layers.1.mlp.up_proj: .*finite"):
        quantize_model(broken, INT4)


def test_activations_that_are_no_numbers_are_named():
    layer = QuantLinear(quantize(torch.randn(4, 4), Scheme.int(8)), activations=Scheme.int(8))
    with pytest.raises(ValueError, match="activations of shape"):
        layer(torch.tensor([[1.0, math.inf, 0, 0]]))


def test_fused_experts_are_refused_by_name_unless_skipped():
    """Where they are not taken apart; tests/test_experts.py has the rest."""
    model = mixtral()
    with pytest.raises(
        ValueError, match="mlp.experts.gate_up_proj holds fused expert weights .* add 'experts' to skip"
    ):
        map_weights(model, lambda w: w)
    result = quantize_model(model, INT4, skip=("lm_head", "experts"))
    assert all("self_attn" in name for name in result.qtensors) and len(result.qtensors) == 4
    assert logits(result, tokens() % 50).isfinite().all()


def test_a_model_without_a_head_needs_no_skip(model):
    assert len(quantize_model(model.model, INT4).qtensors) == 14
