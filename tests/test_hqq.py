"""Real zero points and HQQ: hqq's own codes, scales and zeros; what p can and cannot do; who refuses a real zero."""

import json
from functools import partial
from pathlib import Path

import pytest
import torch

from course_lib import QTensor, Scheme, calibrate, observers, quantize
from course_lib.calibrate import int8
from course_lib.calibrate.hqq import hqq, shrink
from course_lib.kernels import dispatch, packing, weights
from tests.tiny import llama

GOLDEN = json.loads((Path(__file__).parent / "golden" / "hqq" / "golden.json").read_text(encoding="utf-8"))
REAL = {"zero_dtype": torch.float32}


def randn(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def real(bits, group=64, **more):
    return Scheme.int(bits, False, group, **REAL | more)


# against hqq's own code


@pytest.mark.parametrize("case", GOLDEN["cases"], ids=lambda c: f"{c['bits']} bits p={c['p']} beta={c['beta']}")
def test_codes_scales_and_zeros_are_hqq_s(case):
    """Scales take no sum: exact. A zero is a mean of 64 numbers up to 2^b, which a machine may add in another order."""
    w = torch.tensor(GOLDEN["w"]) * GOLDEN["unit"]
    q = hqq(w, real(case["bits"]), p=case["p"], beta=case["beta"])
    noise = 2 ** case["bits"] * 64 * 2.0**-24
    assert q.scale.flatten().tolist() == torch.tensor(case["scale"]).tolist()
    assert torch.allclose(q.zero_point.flatten(), torch.tensor(case["zero"]), rtol=0, atol=noise)
    theirs = torch.tensor(list(bytes.fromhex(case["codes"]))).reshape(w.shape)
    place = w / q.scale.repeat_interleave(64, 1) + q.zero_point.repeat_interleave(64, 1)
    tie = (place - place.floor() - 0.5).abs() < 2 * noise
    assert torch.equal(q.codes[~tie].int(), theirs[~tie].int()) and tie.float().mean() < 0.02


def test_the_golden_cases_differ_where_p_or_beta_do():
    for bits in (2, 3, 4):
        zeros = [tuple(c["zero"]) for c in GOLDEN["cases"] if c["bits"] == bits]
        assert len(set(zeros)) == 3, "a golden that does not depend on an option cannot check it"


# the algorithm


def test_shrink_for_p_1_is_the_least_of_what_it_minimizes():
    x, beta = torch.linspace(-2, 2, 41).double(), 3.0
    e = torch.linspace(-2, 2, 40001).double()[:, None]
    best = e[(e.abs() + beta / 2 * (e - x).square()).argmin(0), 0]
    assert torch.allclose(shrink(x, beta, 1.0), best, atol=2e-4)


@pytest.mark.parametrize("p", [0.3, 0.7, 1.0])
def test_shrink_is_0_up_to_its_threshold_and_leaves_large_values_nearly_alone(p):
    threshold = 10 ** (-1 / (2 - p))
    below, above = torch.tensor([0.0, 0.99 * threshold]), torch.tensor([1.01 * threshold, 5.0])
    assert shrink(-below, 10.0, p).abs().max() == 0
    assert (shrink(above, 10.0, p) > 0).all() and torch.equal(shrink(-above, 10.0, p), -shrink(above, 10.0, p))
    assert 5 - shrink(above, 10.0, p)[1] == pytest.approx(5 ** (p - 1) / 10, rel=1e-3)


def test_p_has_no_say_where_errors_are_below_the_threshold_and_has_one_above():
    small = 0.02 * randn(1, 32, 256)  # weights as language models have them
    for bits in (2, 3, 4):
        one, other = (hqq(small, real(bits), p=p) for p in (0.5, 1.0))
        assert torch.equal(one.zero_point, other.zero_point) and torch.equal(one.codes, other.codes)
        heard = [hqq(small, real(bits), p=p, beta=1000.0).zero_point for p in (0.5, 1.0)]
        assert not torch.equal(*heard)


def test_with_no_error_left_out_the_zero_is_the_least_squares_one():
    w = 0.02 * randn(2, 16, 64)
    q = hqq(w, real(3), iters=200)
    at = w / q.scale
    loss = lambda z: (q.codes - z - at).square().sum()  # noqa: E731
    assert all(loss(q.zero_point) <= loss(q.zero_point + d) for d in (-0.02, 0.02))


@pytest.mark.parametrize("bits", [2, 3, 4])
def test_hqq_errs_less_than_rounding_on_the_same_grid(bits):
    w = 0.02 * randn(bits, 64, 256)
    plain, searched = (method(w, real(bits)) for method in (quantize, hqq))
    assert torch.allclose(plain.scale, searched.scale, rtol=1e-6)
    assert (searched.dequantize() - w).abs().mean() < (plain.dequantize() - w).abs().mean()


def test_a_single_turn_is_one_least_squares_fit_to_the_nearest_marks():
    w = 0.02 * randn(3, 4, 64)
    plain, once = quantize(w, real(4)), hqq(w, real(4), iters=1)
    assert torch.allclose(once.zero_point, (plain.codes - w / plain.scale).mean(1, keepdim=True), atol=1e-5)


def test_constant_blocks_and_zeros_come_back():
    w = torch.cat([torch.full((1, 64), 0.3), torch.zeros(1, 64), torch.full((1, 64), -2.0)])
    for method in (quantize, hqq):
        assert torch.allclose(method(w, real(4)).dequantize(), w, atol=1e-7)


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"p": 0.0}, "p must be above 0 and at most 1, got 0.0"),
        ({"p": 1.5}, "p must be above 0"),
        ({"beta": 0}, "beta must be positive, got 0"),
        ({"kappa": 0.9}, "kappa must be at least 1, got 0.9"),
        ({"iters": 0}, "iters must be a whole number of turns, at least 1, got 0"),
        ({"iters": True}, "iters must be"),
    ],
)
def test_options_out_of_range(more, says):
    with pytest.raises(ValueError, match=says):
        hqq(torch.ones(1, 64), real(4), **more)


@pytest.mark.parametrize("scheme", [Scheme.int(4), Scheme.int(4, False, 64), Scheme("int4", (2, 64), False, **REAL)])
def test_hqq_wants_a_real_zero(scheme):
    with pytest.raises(ValueError, match="scheme must be an integer one with real zero points"):
        hqq(torch.ones(2, 64), scheme)


def test_bad_weights_get_quantize_s_own_sentence():
    with pytest.raises(ValueError, match="NaN or infinite"):
        hqq(torch.tensor([[float("nan")] * 64]), real(4))
    with pytest.raises(ValueError, match="does not divide"):
        hqq(torch.ones(1, 65), real(4))


# real zero points


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_a_real_zero_wastes_no_level_and_errs_by_half_a_step_at_most(dtype):
    """The stored zero is off by 2^-mantissa of itself, z ≤ 15: by so much the ends can lie outside."""
    w = randn(4, 8, 64)
    q = quantize(w, real(4, zero_dtype=dtype))
    assert q.zero_point.dtype == dtype
    slack = 15 * torch.finfo(dtype).eps
    assert ((q.dequantize() - w).abs() <= q.scale * (0.5 + slack) + 1e-6).all()
    if dtype == torch.float32:  # both ends are levels, which a whole zero point cannot promise
        assert (q.codes.amin(1) == 0).all() and (q.codes.amax(1) == 15).all()


def test_a_block_on_one_side_of_0_uses_all_levels():
    w = torch.linspace(1.0, 1.15, 16)[None]
    assert quantize(w, real(4, 16)).codes.tolist() == [list(range(16))]
    assert torch.allclose(quantize(w, real(4, 16)).dequantize(), w, atol=1e-5)
    assert len(quantize(w, Scheme.int(4, False, 16)).codes.unique()) <= 3


def test_a_zero_that_does_not_fit_is_said():
    w = 1000 + 1e-3 * randn(1, 1, 64)
    assert quantize(w, real(4)).codes.max() == 15
    with pytest.raises(ValueError, match="does not fit zero_dtype torch.float16"):
        quantize(w, real(4, zero_dtype=torch.float16))


def test_bytes_name_and_header():
    scheme = Scheme.int(4, False, 64, scale_dtype=torch.float16, zero_dtype=torch.float16)
    assert scheme.name == "int4 g64 asym fp16 zero fp16"
    assert Scheme.from_dict(json.loads(json.dumps(scheme.to_dict()))) == scheme
    assert eval(repr(scheme), {"Scheme": Scheme, "torch": torch}) == scheme
    assert quantize(randn(1, 8, 128), scheme).nbytes == 8 * 128 // 2 + 16 * (2 + 2)
    assert quantize(randn(1, 8, 128), Scheme.int(4, False, 64)).nbytes == 8 * 128 // 2 + 16 * 4 + 8
    assert "zero_dtype" not in Scheme.int(4).to_dict()


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Scheme.int(4, zero_dtype=torch.float16), "zero_dtype must be None, or torch.float32"),
        (lambda: Scheme.int(4, "full", zero_dtype=torch.float16), "beside symmetric='full'"),
        (lambda: Scheme.int(4, False, zero_dtype=torch.int8), "got torch.int8"),
        (lambda: Scheme("nf4", (1, 64), False, zero_dtype=torch.float16), "nf4 has no zero point"),
        (lambda: Scheme.from_dict({"format": "int4", "symmetric": False, "zero_dtype": "int8"}), "zero_dtype must be"),
    ],
)
def test_schemes_that_cannot_have_one(make, says):
    with pytest.raises(ValueError, match=says):
        make()


@pytest.mark.parametrize("norm", [0.7, 2.0])
def test_the_mse_search_never_errs_more_than_the_plain_range(norm):
    w, scheme = torch.cat([randn(5, 8, 64), randn(6, 8, 64).abs() + 0.5]), real(3)
    loss = lambda q: (q.dequantize() - w).abs().pow(norm).sum(1)  # noqa: E731
    searched = quantize(w, scheme, partial(observers.mse, norm=norm))
    assert (loss(searched) <= loss(quantize(w, scheme)) * (1 + 1e-5)).all()


def test_gptq_takes_a_real_zero():
    x, w = randn(7, 256, 64) @ randn(8, 64, 64), 0.1 * randn(9, 16, 64)
    H, scheme = calibrate.hessian(x), real(3)
    error = lambda q: (x @ (q.dequantize() - w).T).square().sum()  # noqa: E731
    solved = calibrate.gptq(w, H, scheme)
    assert solved.zero_point.is_floating_point() and error(solved) < 0.7 * error(quantize(w, scheme))


# who works with it, and who says no


def test_the_model_runs_without_a_kernel_and_is_worth_what_its_weights_are():
    model, ids = llama(), torch.arange(24)[None] % 32
    scheme = real(4, 32, zero_dtype=torch.float16)
    small = calibrate.quantize_model(model, scheme, "hqq", progress=False)
    mapped = calibrate.map_weights(model, lambda w: hqq(w, scheme).dequantize())
    with torch.no_grad(), dispatch.prefer("kernels"):
        assert torch.equal(small(ids).logits, mapped(ids).logits)
    assert all("real ones" in why for why in calibrate.ran(small).values())
    assert isinstance(next(iter(small.qtensors.values())), QTensor)


@pytest.mark.parametrize("seed", range(3))
def test_a_q4_1_block_holds_what_hqq_found(seed):
    """Its m is −s z in 16 bits; the codes come back, since HQQ keeps the range and so uses the first and the last."""
    import gguf

    kind = gguf.GGMLQuantizationType.Q4_1
    q = hqq(0.05 * randn(seed, 64, 256), real(4, 32, scale_dtype=torch.float16, zero_dtype=torch.float16))
    assert ((q.codes.reshape(64, 8, 32).amin(2) == 0) & (q.codes.reshape(64, 8, 32).amax(2) == 15)).all()
    held = torch.from_numpy(gguf.quants.dequantize(gguf.quants.quantize(q.dequantize().numpy(), kind), kind))
    step = q.step.repeat_interleave(32, dim=1)
    assert ((held - q.dequantize()).abs() <= 15 * step * 2**-10).all()  # d and m, each to half a unit in 2^-11


def test_kernels_integers_and_layouts_refuse_it(tmp_path):
    from course_lib import artifacts

    q = quantize(randn(1, 8, 128), real(4))
    for refusing in (lambda: packing.pack(q), lambda: weights.of(q, None)):
        with pytest.raises(ValueError, match="the kernels subtract whole zero points"):
            refusing()
    eight = quantize(randn(1, 8, 128), real(8, None))
    with pytest.raises(ValueError, match="whole zero points to be multiplied in integers"):
        int8.int_linear(quantize(randn(2, 4, 128), Scheme.int(8)), eight)
    small = calibrate.quantize_model(llama(), real(4, 32, scale_dtype=torch.float16), progress=False)
    for layout in ("gptq_v2", "awq", "compressed-tensors"):
        with pytest.raises(ValueError, match="each zero point as a whole number of 4 bits"):
            artifacts.save(small, tmp_path / layout, layout)
