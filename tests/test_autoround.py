"""Learned rounding: AutoRound's own functions and its own run, and the laws that hold for any weight and any model."""

import copy
import importlib.util
import json
import math
import statistics
from pathlib import Path

import pytest
import tiny
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from course_lib import Scheme, quantize
from course_lib.calibrate import autoround, quantize_model
from course_lib.calibrate.autoround import Rounding
from course_lib.calibrate.blocks import Call, Flow

GOLDEN = Path(__file__).parent / "golden" / "autoround"
GROUP = 16
SYMMETRY = {"asymmetric": False, "signed": "full", "full": "full"}
BATCHES = [torch.randint(1, 60, (4, 24), generator=torch.Generator().manual_seed(s)) for s in range(3)]
INT3 = Scheme.int(3, symmetric=False, group=16)


@pytest.fixture(scope="module")
def peer():
    """make.py, what it wrote of weights and of errors."""
    spec = importlib.util.spec_from_file_location("golden_autoround", GOLDEN / "make.py")
    make = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(make)
    about = json.loads((GOLDEN / "errors.json").read_text())
    torch.testing.assert_close(make.model().model.embed_tokens.weight[0, :8], torch.tensor(about["first_weights"]))
    return make, load_file(GOLDEN / "weights.safetensors"), about["errors"]


def scheme_of(kind, bits, dtype="float32"):
    return Scheme.int(bits, SYMMETRY[kind], GROUP, scale_dtype=getattr(torch, dtype))


# ------------------------------------------------------------------ the tool


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@pytest.mark.parametrize("kind", list(SYMMETRY))
def test_given_v_and_ranges_the_weights_are_autorounds_to_the_bit(peer, kind, bits, dtype):
    make, weights, _ = peer
    parts, key = make.given(), f"{kind} | {bits} | {dtype}"
    fake = Rounding(parts["w"], scheme_of(kind, bits, dtype), signed=kind == "signed")
    for name in ("V", "low", "high"):
        getattr(fake, name).data.copy_(parts[name])
    q, want = fake.qtensor(), weights[f"{key} | w_hat"]
    assert torch.equal(fake().detach(), q.dequantize())
    some = torch.arange(18).reshape(6, 3) != 7  # the group of zeros: any step will do; ours is 1
    if kind == "full":  # where nothing is below 0, int_sym_gptq halves the range and clips the upper half away
        some &= (fake.lo * fake.low < 0).detach()
    assert some.sum() >= 15
    per_weight = some.repeat_interleave(GROUP, dim=1)
    assert torch.equal(q.dequantize()[per_weight], want[per_weight])
    assert torch.equal(q.scale[some].float(), weights[f"{key} | scale"][some].float())
    if kind == "asymmetric":
        assert torch.equal(q.zero_point[some].float(), weights[f"{key} | zero"][some])


@pytest.mark.parametrize("setting, least", [("asymmetric | 3", 0.95), ("signed | 4", 0.995), ("full | 2", 0.995)])
def test_twenty_iterations_end_at_the_weights_of_autoround(peer, setting, least):
    """The sign of a sum that is nearly 0 depends on its order, and a zero point moves a whole group: see below."""
    make, weights, _ = peer
    result = ours(make, *setting.split(" | "), "float32", 0)
    for name, q in result.qtensors.items():
        want = weights[f"{setting} | {name.removeprefix('model.layers.0.')}"]
        same = torch.isclose(q.dequantize(), want, rtol=1e-5, atol=1e-7).float().mean()
        assert same > least, (name, same)


@pytest.mark.parametrize("dtype, rel", [("float32", 0.02), ("float16", 0.05)])
@pytest.mark.parametrize("kind, bits", [("asymmetric", 3), ("signed", 4), ("full", 2)])
def test_held_out_errors_are_those_of_autoround(peer, kind, bits, dtype, rel):
    """2 % is what the last bit of the weights moves our own error by (the next test). Its slopes of 16-bit scales are
    sums in 16 bits, ours in 32, so that there more signs differ."""
    make, _, errors = peer
    found = [make.error(make.model(s), ours(make, kind, bits, dtype, s), make.tokens(s)[1]) for s in make.SEEDS]
    theirs = errors[f"{kind} | {bits} | {dtype}"]
    assert statistics.median(found) == pytest.approx(statistics.median(theirs), rel=rel), (found, theirs)


def test_the_last_bit_of_a_weight_decides_between_two_paths(peer):
    make, _, errors = peer
    made, (calibration, held) = make.model(1), make.tokens(1)
    nudged = copy.deepcopy(made)
    for name, weight in nudged.model.layers[0].named_parameters():
        if name.endswith("proj.weight"):
            weight.data *= 1 + 1.2e-7 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(0))
    options = {"iters": make.ITERS, "progress": False}
    runs = [quantize_model(one, scheme_of("asymmetric", 3), "autoround", [calibration[:, :-1]], **options)
            for one in (made, nudged)]  # fmt: skip
    one, other = (make.error(made, run, held) for run in runs)
    assert one == pytest.approx(other, rel=0.03)
    codes = [run.qtensors["model.layers.0.mlp.up_proj"].codes for run in runs]
    assert (codes[0] == codes[1]).float().mean() > 0.5


def ours(make, kind, bits, dtype, seed):
    scheme, calibration = scheme_of(kind, int(bits), dtype), make.tokens(seed)[0][:, :-1]
    options = {"iters": make.ITERS, "signed": kind == "signed", "progress": False}
    return quantize_model(make.model(seed), scheme, "autoround", [calibration], **options)


# ------------------------------------------------------------------ laws

SCHEMES = [
    Scheme.int(2), Scheme.int(3, "full", 8, scale_dtype=torch.float16), Scheme.int(4, False, 8),
    Scheme.int(8, False, "tensor", scale_dtype=torch.bfloat16), Scheme("int4", (2, 8), False),
]  # fmt: skip


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(SCHEMES), st.integers(0, 10_000), st.floats(-6, 4))
def test_v_moves_no_code_by_more_than_one(scheme, seed, size):
    g = torch.Generator().manual_seed(seed)
    w = torch.randn(4, 16, generator=g) * 10**size
    fake, want = Rounding(w, scheme), quantize(w, scheme)
    q = fake.qtensor()
    assert torch.equal(q.codes, want.codes) and torch.equal(q.scale, want.scale)
    fake.V.data.copy_(4 * torch.rand(4, 16, generator=g) - 2)
    fake.clip_()
    q = fake.qtensor()
    assert (q.codes.int() - want.codes.int()).abs().max() <= 1 and torch.equal(q.scale, want.scale)
    assert torch.equal(fake().detach(), q.dequantize())


@pytest.mark.parametrize("scheme", [INT3, Scheme.int(4, "full"), Scheme.int(2, scale_dtype=torch.float16)])
def test_no_iterations_are_round_to_nearest(scheme):
    model = tiny.llama()
    found, want = quantize_model(model, scheme, "autoround", BATCHES, iters=0), quantize_model(model, scheme)
    for name, q in want.qtensors.items():
        assert torch.equal(q.codes, found.qtensors[name].codes) and torch.equal(q.scale, found.qtensors[name].scale)


def test_gradients_are_those_of_the_formula_where_nothing_is_clipped():
    """∂ŵ/∂V = s, and ∂ŵ/∂high = ∂s/∂high · (round(w/s + V) - w/s): 2/3 max w for two bits with a full grid."""
    fake = Rounding(torch.tensor([[0.5, 0.2, -0.3, 0.1]]), Scheme.int(2, "full"))
    fake().sum().backward()
    s = 2 * 0.5 / 3
    assert fake.V.grad[0, 1:].tolist() == pytest.approx([s, s, s]) and fake.V.grad[0, 0] == 0  # 1.5 s is clipped
    off = sum(round(w / s) - w / s for w in (0.2, -0.3, 0.1)) + 1
    assert fake.high.grad.item() == pytest.approx(s * off, rel=1e-5) and fake.low.grad.item() == 0


@pytest.mark.parametrize("iters, rate", [(1, None), (4, 5.0), (25, None)])
def test_a_block_is_never_worse_than_rounded_to_nearest(iters, rate):
    """Also at a rate that throws everything from end to end."""
    model = tiny.llama()
    model.model.layers = model.model.layers[:1]
    flow = Flow(model, ["model.layers.0"], BATCHES)
    with torch.no_grad():
        right = flow.targets()

    def error(rounded):
        with torch.no_grad():
            other = Flow(rounded, ["model.layers.0"], BATCHES).targets()
        return sum((a - b).square().sum().item() for a, b in zip(right, other, strict=True))

    rounded = quantize_model(model, INT3)
    learned = quantize_model(model, INT3, "autoround", BATCHES, iters=iters, rate=rate)
    assert error(learned) <= error(rounded) * (1 + 1e-5)
    if iters == 25:
        assert error(learned) < 0.8 * error(rounded)


def one_layer(scales, seed=0):
    """A linear as a block, calls whose inputs have these sizes, and what it gives for them."""
    g = torch.Generator().manual_seed(seed)
    linear = torch.nn.Linear(16, 8, bias=False)
    linear.weight.data = torch.randn(8, 16, generator=g)
    calls = [Call(size * torch.randn(64, 16, generator=g), {}) for size in scales]
    with torch.no_grad():
        return torch.nn.Sequential(linear), calls, [linear(call.hidden) for call in calls], {"w": linear}


def losses_of(q, calls, targets):
    return [(call.hidden @ q.dequantize().T - y).square().mean().item() for call, y in zip(calls, targets, strict=True)]


def test_the_best_iterate_is_kept():
    log, (block, calls, targets, linears) = [], one_layer([1.0])
    q = autoround.learn(block, calls, targets, linears, INT3, iters=12, rate=0.05, log=log)["w"]
    assert losses_of(q, calls, targets)[0] == pytest.approx(min(log), rel=1e-5)
    assert min(log) < min(log[0], log[-1])  # neither the first nor the last


def test_an_iterate_that_is_best_on_an_easy_call_alone_gives_way_to_round_to_nearest():
    """The hard call is seen first, at V = 0; then the steps have thrown all, and the easy call's loss is small."""
    block, calls, targets, linears = one_layer([1.0, 1e-3])
    for seed in range(6):
        log = []
        q = autoround.learn(block, calls, targets, linears, INT3, iters=2, rate=0.9, seed=seed, log=log)["w"]
        before = sum(losses_of(quantize(linears["w"].weight, INT3), calls, targets))
        assert sum(losses_of(q, calls, targets)) <= before * (1 + 1e-6)


def test_it_is_repeatable_and_the_seed_is_the_order_of_the_batches():
    model = tiny.llama()
    runs = [quantize_model(model, INT3, "autoround", BATCHES, iters=6, seed=seed) for seed in (0, 0, 1)]
    name = "model.layers.1.mlp.down_proj"
    one, same, other = (run.qtensors[name].codes for run in runs)
    assert torch.equal(one, same) and not torch.equal(one, other)


def test_targets_are_the_16_bit_model_s_and_inputs_the_quantized_one_s(monkeypatch):
    model, seen = tiny.llama(), []
    learn = autoround.learn
    monkeypatch.setattr(autoround, "learn", lambda b, c, t, *a, **o: seen.append((c, t)) or learn(b, c, t, *a, **o))
    names = ["model.layers.0", "model.layers.1"]

    def states(one):
        flow, found = Flow(one, names, BATCHES), []
        for _ in names:
            found.append(flow.hidden[0].clone())
            flow.advance()
        return [*found, flow.hidden[0]]

    with torch.no_grad():
        for quantized_input in (True, False):
            seen.clear()
            done = quantize_model(model, INT3, "autoround", BATCHES, iters=2, quantized_input=quantized_input)
            right, rounded = states(model), states(done)
            (first, target), (second, last) = ((calls[0].hidden, t[0]) for calls, t in seen)
            torch.testing.assert_close([first, target, last], right[0:1] + right[1:])
            torch.testing.assert_close(second, (rounded if quantized_input else right)[1])
            assert not torch.allclose(rounded[1], right[1])


def test_the_whole_model_comes_closer_and_clip_alone_matters():
    model, held = tiny.llama(), torch.randint(1, 60, (8, 24), generator=torch.Generator().manual_seed(9))
    two = Scheme.int(2, symmetric=False, group=16)

    def kl(other):
        with torch.no_grad():
            p, q = (m(input_ids=held).logits.log_softmax(-1) for m in (model, other))
        return (p.exp() * (p - q)).sum(-1).mean().item()

    rtn = kl(quantize_model(model, two))
    learned, fixed = (quantize_model(model, two, "autoround", BATCHES, iters=40, clip=c) for c in (True, False))
    assert kl(learned) < 0.9 * rtn and kl(fixed) < rtn
    for name, q in fixed.qtensors.items():
        assert torch.equal(q.scale, quantize(model.get_submodule(name).weight, two).scale)


def test_the_largest_weight_of_a_group_sits_on_the_extra_level_of_a_signed_grid():
    w = torch.tensor([[1.0, 0.2, -0.3, 0.1], [-1.0, 0.2, 0.3, 0.1]])
    q = Rounding(w, Scheme.int(2, "full"), signed=True).qtensor()
    assert q.scale.flatten().tolist() == [-0.5, 0.5] and q.codes[:, 0].tolist() == [0, 0]
    assert torch.equal(q.dequantize()[:, 0], w[:, 0])


def test_log_and_what_is_learned_when_losses_say_so():
    log = []
    quantize_model(tiny.llama(), INT3, "autoround", BATCHES, iters=5, log=log)
    assert len(log) == 10 and all(math.isfinite(x) and x > 0 for x in log)  # two blocks


def test_sixteen_bits_and_the_argument_left_alone():
    model = tiny.llama().bfloat16()
    before = copy.deepcopy(model.state_dict())
    result = quantize_model(model, INT3, "autoround", BATCHES, iters=3)
    assert result.model.layers[0].mlp.up_proj.weight.dtype == torch.bfloat16
    assert all(torch.equal(before[name], t) for name, t in model.state_dict().items())
    assert all(p.requires_grad and p.grad is None for p in model.parameters())


@pytest.mark.parametrize(
    "scheme, options, names",
    [
        (INT3, {"iters": -1}, "iters must be a whole number"),
        (INT3, {"iters": 2.5}, "iters must be a whole number"),
        (INT3, {"rate": 0}, "rate must be positive"),
        (INT3, {"rate": math.nan}, "rate must be positive"),
        (INT3, {"signed": True}, 'symmetric="full"'),
        (Scheme("e2m1", (1, -1)), {}, "needs an integer scheme"),
        (Scheme.int(4, group=16, scale_scheme=Scheme.int(8)), {}, "plain scales"),
        (Scheme.int(4, False, 16, zero_dtype=torch.float16), {}, "whole-number zero points"),
    ],
)
def test_bad_options(scheme, options, names):
    with pytest.raises(ValueError, match=names):
        quantize_model(tiny.llama(), scheme, "autoround", BATCHES, **options)
