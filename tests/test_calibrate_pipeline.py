"""quantize_model with methods that look at activations: the order in which they see them, any Llama-like model."""

import copy
import math

import pytest
import tiny
import torch
from torch import nn

from course_lib import Scheme, quantize
from course_lib.calibrate import QuantLinear, awq, calibration_batches, collect, gptq, hessian, kept, quantize_model
from course_lib.calibrate.activations import changed
from course_lib.calibrate.blocks import Flow, blocks_of
from course_lib.calibrate.order import order_of

INT3 = Scheme.int(3, group=16)
LOOKING = ["gptq", "awq", "autoround"]
ORDER = [["q", "k", "v"], ["o"], ["gate", "up"], ["down"]]


@pytest.fixture(scope="module")
def model():
    return tiny.llama()


def tokens(rows=4, length=24, seed=0, vocabulary=None):
    vocabulary = vocabulary or len(tiny.tokenizer())
    return torch.randint(1, vocabulary, (rows, length), generator=torch.Generator().manual_seed(seed))


BATCHES = [tokens(seed=0), tokens(3, 17, seed=1), tokens(seed=2)]


def logits(model, ids):
    with torch.no_grad():
        return model(input_ids=ids).logits.float()


def distance(model, other, ids):
    """Mean KL between the predictions of two models."""
    p, q = (logits(m, ids).log_softmax(-1) for m in (model, other))
    return (p.exp() * (p - q)).sum(-1).mean().item()


def family(name, **more):
    """A small random model of another family."""
    import transformers

    torch.manual_seed(0)
    sizes = dict(hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4, vocab_size=60,
                 num_key_value_heads=2, max_position_embeddings=64, initializer_range=0.3, pad_token_id=0)  # fmt: skip
    kind = "Gemma3Text" if name == "Gemma3" else name
    config = getattr(transformers, f"{kind}Config")(**sizes | more)
    return getattr(transformers, f"{name}ForCausalLM")(config).eval()


# ------------------------------------------------------------------ gptq


def by_hand(model, scheme, batches, **options):
    """True-sequential GPTQ with nothing but whole forward passes: codes by name."""
    model, codes = copy.deepcopy(model), {}
    for layer in range(len(model.model.layers)):
        for group in ORDER:
            names = [f"model.layers.{layer}.{'self_attn' if x in 'qkvo' else 'mlp'}.{x}_proj" for x in group]
            seen = []
            handle = model.get_submodule(names[0]).register_forward_pre_hook(lambda _, a, seen=seen: seen.append(a[0]))
            for ids in batches:
                logits(model, ids)
            handle.remove()
            H = hessian(torch.cat([x.flatten(0, -2) for x in seen]))
            for name in names:
                linear = model.get_submodule(name)
                q = gptq(linear.weight, H, scheme, **options)
                linear.weight.data = q.dequantize()
                codes[name] = q.codes
    return codes, model


@pytest.mark.parametrize("options", [{}, {"act_order": True, "percdamp": 0.1}])
def test_gptq_is_true_sequential(model, options):
    result = quantize_model(model, INT3, "gptq", BATCHES, **options)
    want, rounded = by_hand(model, INT3, BATCHES, **options)
    assert sorted(result.qtensors) == sorted(want)
    for name, q in result.qtensors.items():
        assert (q.codes == want[name]).float().mean() > 0.999, name
    torch.testing.assert_close(logits(result, BATCHES[0]), logits(rounded, BATCHES[0]), rtol=0.02, atol=0.02)


def test_the_order_of_a_block_is_found_by_running_it(model):
    names = [name for name, module in model.named_modules() if isinstance(module, nn.Linear) and "layers" in name]
    blocks = blocks_of(model, {name: model.get_submodule(name) for name in sorted(names)})
    assert list(blocks) == ["model.layers.0", "model.layers.1"]
    flow = Flow(model, list(blocks), BATCHES)
    groups = order_of(blocks["model.layers.0"], model.model.layers[0], next(flow.calls()))
    assert [[name.rpartition(".")[2].removesuffix("_proj") for name in group] for group in groups] == ORDER


def test_flow_is_what_the_model_computes(model):
    with torch.no_grad():
        flow = Flow(model, ["model.layers.0", "model.layers.1"], BATCHES)
        flow.advance()
        flow.advance()
        for ids, hidden in zip(BATCHES, flow.hidden, strict=True):
            torch.testing.assert_close(model.lm_head(model.model.norm(hidden)), logits(model, ids))
    assert not any(m._forward_pre_hooks for m in model.modules())


@pytest.mark.parametrize("method", LOOKING)
def test_the_argument_is_untouched_and_the_copy_generates(model, method):
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    result = quantize_model(model, INT3, method, BATCHES)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert not any(m._forward_pre_hooks or m._forward_hooks for m in [*model.modules(), *result.modules()])
    assert len(result.qtensors) == 14 and all(q.scheme == INT3 for q in result.qtensors.values())
    new = result.generate(tokens(1, 5), do_sample=False, max_new_tokens=4, attention_mask=torch.ones(1, 5))
    assert new.shape[1] <= 9
    for name, q in result.qtensors.items():
        assert torch.equal(result.get_submodule(name).weight, q.dequantize())


@pytest.mark.parametrize("method", LOOKING)
@pytest.mark.parametrize("build", [tiny.llama, *(lambda n=n: family(n) for n in ("Qwen2", "Mistral", "Qwen3", "Phi3"))])
def test_llama_like_models_come_out_closer_than_by_rounding(build, method):
    model = build()
    vocabulary = model.config.vocab_size
    train, test = ([tokens(8, 32, seed, vocabulary) for seed in seeds] for seeds in (range(4), (9,)))
    result = quantize_model(model, INT3, method, train)
    plain = quantize_model(model, INT3)
    assert set(result.qtensors) == set(plain.qtensors)
    assert distance(model, result, test[0]) < distance(model, plain, test[0])


@pytest.mark.parametrize("method", LOOKING)
def test_biases_sixteen_bits_and_quantized_inputs(method):
    model = family("Qwen2").bfloat16()
    nn.init.normal_(model.model.layers[0].self_attn.v_proj.bias)
    result = quantize_model(model, INT3, method, tokens(vocabulary=60), activations=Scheme.int(8))
    out = logits(result, tokens(vocabulary=60))
    assert out.isfinite().all() and result.model.layers[0].mlp.up_proj.weight.dtype == torch.bfloat16
    assert isinstance(result.model.layers[0].self_attn.v_proj, QuantLinear)
    if method == "gptq":
        bias = result.model.layers[0].self_attn.v_proj.bias
        assert torch.equal(bias, model.model.layers[0].self_attn.v_proj.bias)


@pytest.mark.parametrize("method", ["rtn", *LOOKING])
def test_a_block_that_runs_twice_is_quantized_once_and_is_one_module_still(method):
    shared = tiny.llama()
    shared.model.layers[1] = shared.model.layers[0]
    result = quantize_model(shared, INT3, method, BATCHES)
    assert result.model.layers[1] is result.model.layers[0] and len(result.qtensors) == 7
    assert isinstance(result.model.layers[1].mlp.down_proj, QuantLinear) and logits(result, BATCHES[0]).isfinite().all()
    assert "forward" not in vars(shared.model.layers[0]) and "forward" not in vars(result.model.layers[0])


@pytest.mark.parametrize("method", LOOKING)
def test_the_last_linear_of_a_block_need_not_be_the_last_to_run(method):
    """Phi-3 defines o_proj before qkv_proj."""
    phi = family("Phi3")
    skip = ("lm_head", "gate_up_proj", "down_proj")
    assert len(quantize_model(phi, INT3, method, tokens(vocabulary=60), skip=skip).qtensors) == 4


def attention_runs(model, monkeypatch, **options):
    """The result of GPTQ, and how often it ran the first block's attention on all of a batch."""
    kind, runs = type(model.model.layers[0].self_attn), []
    forward = kind.forward

    def counted(self, *args, **kwargs):
        out = forward(self, *args, **kwargs)
        if self.layer_idx == 0:
            runs.append(out)
        return out

    with monkeypatch.context() as patched:
        patched.setattr(kind, "forward", counted)
        return quantize_model(model, INT3, "gptq", BATCHES, **options), len(runs)


def test_a_finished_attention_runs_once_more_and_never_again(model, monkeypatch):
    """Whole runs: two that find the order, one for each shape of a batch, and on each batch the one behind o."""
    result, runs = attention_runs(model, monkeypatch)
    assert runs == len({ids.shape for ids in BATCHES}) + len(BATCHES)
    for limit, wanted in ((0, 2 + 3 * len(BATCHES)), (BATCHES[1].numel() * 32 * 4 * len(BATCHES), 2 + 7)):
        monkeypatch.setattr(kept, "LIMIT_BYTES", limit)  # nothing is kept, or only that of the small batch
        again, runs = attention_runs(model, monkeypatch)
        assert runs == wanted
        assert all(torch.equal(q.codes, again.qtensors[name].codes) for name, q in result.qtensors.items())
    assert not any("forward" in vars(m) for m in [*model.modules(), *result.modules()])


def test_an_output_that_was_written_into_is_computed_anew():
    part, remembered, x = nn.Linear(2, 2), kept.Kept(), torch.ones(1, 2)
    remembered.finish([part])
    with torch.no_grad(), remembered:
        want = part(x).clone()
        part(x).mul_(2)
        torch.testing.assert_close(part(x), want)


class Wrapped(nn.Linear):
    """Gives its output in a list."""

    def forward(self, x):
        return [super().forward(x)]


def test_what_cannot_be_seen_to_be_written_into_is_not_kept():
    part, remembered, x = Wrapped(2, 2), kept.Kept(), torch.ones(1, 2)
    remembered.finish([part])
    with torch.no_grad(), remembered:
        want = part(x)[0].clone()
        part(x)[0].mul_(2)
        torch.testing.assert_close(part(x)[0], want)


def test_gptq_runs_inside_inference_mode_too(model):
    want = quantize_model(model, INT3, "gptq", BATCHES)
    with torch.inference_mode():
        found = quantize_model(model, INT3, "gptq", BATCHES)
    assert all(torch.equal(q.codes, found.qtensors[name].codes) for name, q in want.qtensors.items())


class Twice(nn.Module):
    """An MLP in which one linear runs twice, the second time behind another; k has the input of the first call."""

    def __init__(self, k_first):
        super().__init__()
        self.k, self.shared, self.between = (nn.Linear(32, 32) for _ in range(3))
        self.k_first = k_first

    def forward(self, x):
        k = self.k(x) if self.k_first else None
        y = self.shared(x)
        k = self.k(x) if k is None else k
        return k + self.shared(self.between(y.tanh()))


@pytest.mark.parametrize("k_first", [True, False])
def test_a_linear_that_runs_twice_is_calibrated_on_both_calls_and_rounded_once(k_first):
    made, seen, given = tiny.llama(), {"k": [], "shared": []}, []
    made.model.layers[0].mlp = Twice(k_first)
    for name, inputs in seen.items():
        linear = made.get_submodule(f"model.layers.0.mlp.{name}")
        linear.register_forward_pre_hook(lambda _, args, inputs=inputs: inputs.append(args[0].flatten(0, -2)))
    for ids in BATCHES:
        logits(made, ids)
    want = {name: hessian(torch.cat(inputs)) for name, inputs in seen.items()}
    assert len(seen["k"]) == len(BATCHES) and len(seen["shared"]) == 2 * len(BATCHES)
    stats = collect(made, BATCHES, [f"model.layers.0.mlp.{name}" for name in seen])
    for name, H in want.items():
        torch.testing.assert_close(stats[f"model.layers.0.mlp.{name}"].H, H)
    skip = ("lm_head", r".*self_attn.*", r".*layers\.1\..*")
    solve = lambda w, H, scheme: given.append(H) or quantize(w, scheme)  # noqa: E731
    result = quantize_model(made, INT3, "gptq", BATCHES, skip=skip, solve=solve)
    assert len(given) == len(result.qtensors) == 3
    for name, H in zip(["k", "shared"] if k_first else ["shared", "k"], given[:2], strict=True):
        torch.testing.assert_close(H, want[name])


def test_a_head_is_calibrated_behind_the_quantized_blocks(model):
    result = quantize_model(model, INT3, "gptq", BATCHES, skip=())
    body = quantize_model(model, INT3, "gptq", BATCHES)
    H = collect(body, BATCHES, ["lm_head"])["lm_head"].H
    assert torch.equal(result.qtensors["lm_head"].codes, gptq(model.lm_head.weight, H, INT3).codes)
    assert torch.equal(result.model.embed_tokens.weight, model.model.embed_tokens.weight)
    rounded = quantize_model(model, INT3, "awq", BATCHES, skip=())
    assert torch.equal(rounded.qtensors["lm_head"].codes, quantize(model.lm_head.weight, INT3).codes)


@pytest.mark.parametrize("method", LOOKING)
def test_mixes_are_made_by_quantizing_twice(model, method):
    first = quantize_model(model, INT3, method, BATCHES, skip=("lm_head", "down_proj", r"model\.layers\.0\..*"))
    mix = quantize_model(first, Scheme.int(8), "gptq", BATCHES)
    assert len(first.qtensors) == 6 and len(mix.qtensors) == 14
    assert {q.scheme.bits for name, q in mix.qtensors.items() if "layers.1.mlp.up" in name} == {3}


def test_your_own_gptq_gets_the_same_h(model):
    seen = []

    def mine(w, H, scheme):
        seen.append(H.shape)
        q = gptq(w, H, scheme)
        w.zero_(), H.zero_()
        return q

    result, want = (quantize_model(model, INT3, "gptq", BATCHES, **o) for o in ({"solve": mine}, {}))
    assert len(seen) == 14
    assert all(torch.equal(result.qtensors[n].codes, q.codes) for n, q in want.qtensors.items())
    with pytest.raises(TypeError, match="must return a QTensor for model.layers.0.self_attn.q_proj"):
        quantize_model(model, INT3, "gptq", BATCHES, solve=lambda w, H, scheme: w)


# ------------------------------------------------------------------ awq


def test_awq_rounds_what_awq_returns(model):
    result = quantize_model(model, INT3, "awq", BATCHES, duo=True)
    with torch.no_grad():
        block = model.model.layers[0]
        calls = list(Flow(model, ["model.layers.0", "model.layers.1"], BATCHES).calls())
        rescaled = awq(block, calls, INT3, duo=True)
    for leaf in ("self_attn.q_proj", "self_attn.o_proj", "mlp.down_proj"):
        want = quantize(rescaled.get_submodule(leaf).weight, INT3)
        assert torch.equal(result.qtensors[f"model.layers.0.{leaf}"].codes, want.codes)
    norm = result.model.layers[0].input_layernorm.weight
    assert torch.equal(norm, rescaled.input_layernorm.weight) and not torch.equal(norm, block.input_layernorm.weight)


# ------------------------------------------------------------------ calibration text


@pytest.mark.parametrize("method", LOOKING)
def test_calibration_matters_and_is_repeatable(model, method):
    texts = ["the mug is broken, please send money back to my card. " * 30]
    ids = calibration_batches(tiny.tokenizer(), texts, 4, 24)
    one, same, other = (quantize_model(model, INT3, method, c) for c in (ids, ids, tokens(4, 24, 7)))
    name = "model.layers.1.mlp.down_proj"
    assert torch.equal(one.qtensors[name].codes, same.qtensors[name].codes)
    assert not torch.equal(one.qtensors[name].codes, other.qtensors[name].codes)


def test_the_bundled_model_finds_its_own_tokenizer():
    from course_lib import models

    model, tokenizer = models.load()
    layer = "model.layers.0.self_attn.q_proj"
    stats = collect(model, ["Returns are refunded within 14 days. " * 80], [layer])
    assert stats[layer].tokens % 512 == 0 and stats[layer].H.shape == (256, 256)


# ------------------------------------------------------------------ bad input


@pytest.mark.parametrize("method", LOOKING)
@pytest.mark.parametrize(
    "change, kind, names",
    [
        ({"calibration": None}, ValueError, "calibration must be"),
        ({"calibration": torch.tensor([[1, 9999]])}, ValueError, "the model's vocabulary"),
        ({"scheme": Scheme.int(4, group=24)}, ValueError, "model.layers.0.self_attn.q_proj: .*does not divide"),
        ({"nonsense": 1}, TypeError, "nonsense"),
    ],
)
def test_bad_input(model, method, change, kind, names):
    with pytest.raises(kind, match=names):
        quantize_model(model, **{"scheme": INT3, "calibration": BATCHES, "method": method} | change)


def test_too_few_tokens_name_the_linear(model):
    with pytest.raises(ValueError, match=r"model.layers.0.self_attn.q_proj: H .* not positive definite at percdamp=0"):
        quantize_model(model, INT3, "gptq", tokens(1, 20), percdamp=0)


@pytest.mark.parametrize("method", LOOKING)
def test_nan_activations_name_the_linear(model, method):
    with changed(model, "layers.0.mlp.act_fn", lambda x, name: x * math.nan):
        with pytest.raises(ValueError, match="model.layers.0.mlp.down_proj: its inputs must be finite"):
            quantize_model(model, INT3, method, BATCHES)


@pytest.mark.parametrize("method", LOOKING)
def test_a_linear_that_never_ran_is_named_unless_skipped(method):
    model = tiny.llama()
    model.model.layers[1].mlp.spare = nn.Linear(32, 32)
    with pytest.raises(ValueError, match="model.layers.1.mlp.spare never ran"):
        quantize_model(model, INT3, method, BATCHES)
    assert len(quantize_model(model, INT3, method, BATCHES, skip=("lm_head", "spare")).qtensors) == 14


@pytest.mark.parametrize("method", LOOKING)
def test_a_model_without_blocks_is_refused(method):
    pair = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    with pytest.raises(ValueError, match="model must have decoder blocks"):
        quantize_model(pair, Scheme.int(4), method, torch.ones(1, 4, dtype=torch.int64))


@pytest.mark.parametrize("name", ["Gemma", "Gemma2", "Gemma3"])
def test_gemma_s_norms_which_add_one_take_awq_s_scales(name):
    """They were refused once: dividing the weight of a norm that multiplies by 1 + weight changes the block."""
    more = {} if name == "Gemma" else dict(sliding_window=16, query_pre_attn_scalar=8)
    model = family(name, head_dim=8, **more)
    for module in model.modules():
        if type(module).__name__.endswith("Norm"):
            nn.init.normal_(module.weight, std=0.3)
    ids = tokens(8, 48, vocabulary=60)
    with torch.no_grad():
        want = model(ids).logits
        off = [(quantize_model(model, INT3, how, ids)(ids).logits - want).square().mean() for how in ("awq", "rtn")]
    assert off[0] < off[1]
    assert len(quantize_model(model, INT3, "gptq", ids).qtensors) == 14
