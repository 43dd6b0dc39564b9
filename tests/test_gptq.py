"""GPTQ against a slow one written from the OBQ and GPTQ papers in float64, against laws, and against GPTQModel."""

import functools
import importlib.util
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from course_lib import Scheme, quantize
from course_lib.calibrate import gptq, hessian
from course_lib.calibrate.gptq import inverse_factor

SYMMETRIES = (True, "full", False)
GOLDEN = Path(__file__).parent / "golden" / "gptq"


def layer(out=24, n=64, tokens=256, seed=0, outliers=3):
    """Weights (out, n) and correlated inputs (tokens, n) with a few channels ten times as large as the others."""
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(tokens, n, generator=g) @ (torch.randn(n, n, generator=g) / n**0.5)
    x[:, torch.randperm(n, generator=g)[:outliers]] *= 10
    return torch.randn(out, n, generator=g) * 0.05, x


def error(x, w, q):
    """Relative squared error of the layer's outputs."""
    x, w = x.double(), w.double()
    return ((x @ (w - q.dequantize().double()).T).square().sum() / (x @ w.T).square().sum()).item()


# ------------------------------------------------------------------ the slow one


def grid(w, bits, symmetric):
    """Scale and zero point of each row of w (out, g), from the table in formats/integer.py, in numpy."""
    lo, hi, n = np.minimum(w.min(1), 0), np.maximum(w.max(1), 0), 2**bits - 1
    top = np.maximum(-lo, hi)
    if symmetric is True:
        return top / (2 ** (bits - 1) - 1), np.zeros(len(w)), -(2 ** (bits - 1) - 1), 2 ** (bits - 1) - 1
    if symmetric == "full":
        return 2 * top / n, np.full(len(w), 2.0 ** (bits - 1)), 0, n
    scale = (hi - lo) / n
    return scale, np.clip(np.round(-lo / scale), 0, n), 0, n


def optimal_brain(w, H, bits, symmetric=True, group=None, percdamp=0.01, act_order=False, static=False):
    """One column after the other, the others by the exact OBQ step, then the column leaves the inverse."""
    w, H = w.double().numpy().copy(), H.double().numpy().copy()
    out, n = w.shape
    group = group or n
    H[np.diag_indices(n)] += percdamp * H.diagonal().mean()
    order = np.argsort(-H.diagonal(), kind="stable") if act_order else np.arange(n)
    fixed = [grid(w[:, i : i + group], bits, symmetric) for i in range(0, n, group)]
    w, inverse = w[:, order], np.linalg.inv(H[np.ix_(order, order)])
    result, scales = np.zeros_like(w), []
    for i in range(n):
        if static:
            s, z, lo, hi = fixed[order[i] // group]
        elif i % group == 0:
            s, z, lo, hi = grid(w[:, i : i + group], bits, symmetric)
            scales.append(s)
        result[:, i] = s * (np.clip(np.round(w[:, i] / s) + z, lo, hi) - z)
        w[:, i:] -= np.outer((w[:, i] - result[:, i]) / inverse[0, 0], inverse[0])
        inverse = (inverse - np.outer(inverse[:, 0], inverse[0]) / inverse[0, 0])[1:, 1:]
    return result[:, np.argsort(order)], scales


@pytest.mark.parametrize("symmetric", SYMMETRIES)
@pytest.mark.parametrize("group", [None, 16, 32])
@pytest.mark.parametrize("act_order, static", [(False, False), (True, False), (False, True), (True, True)])
def test_every_weight_equals_the_slow_one(symmetric, group, act_order, static):
    for bits, seed in ((4, 0), (3, 1), (2, 2), (8, 3)):
        w, x = layer(seed=seed)
        H = hessian(x)
        q = gptq(w, H, Scheme.int(bits, symmetric, group), act_order=act_order, static_groups=static)
        want, _ = optimal_brain(w, H, bits, symmetric, group, 0.01, act_order, static)
        near = np.isclose(q.dequantize(), want, rtol=1e-3, atol=1e-4)
        assert near.all(1).mean() > 0.9  # a tie that falls the other way in float32 changes the rest of its row
        if group:
            trivial = torch.arange(64, dtype=torch.int32) // group
            assert (q.g_idx is None) == (static or not act_order)
            assert q.g_idx is None or not torch.equal(q.g_idx, trivial)


def test_group_grids_come_from_the_weights_as_they_stand_also_inside_a_block():
    w, x = layer()
    H, scheme = hessian(x), Scheme.int(3, group=16)
    q = gptq(w, H, scheme, block_size=64)
    _, scales = optimal_brain(w, H, 3, group=16)
    np.testing.assert_allclose(q.scale, np.stack(scales, 1), rtol=1e-3)
    stale = quantize(w, scheme).scale
    assert torch.allclose(q.scale[:, 0], stale[:, 0]) and not torch.allclose(q.scale[:, 1:], stale[:, 1:], rtol=0.01)


# ------------------------------------------------------------------ the peers


@pytest.fixture(scope="module")
def peers():
    """What GPTQModel and llm-compressor made of one layer (make.py wrote it), the layer, and ours as it is needed."""
    spec = importlib.util.spec_from_file_location("golden_gptq", GOLDEN / "make.py")
    make = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(make)
    about = json.loads((GOLDEN / "errors.json").read_text())
    w, x, held_out = make.layer()
    torch.testing.assert_close(w[0, :8], torch.tensor(about["first_weights"]))  # the same layer as then
    H = hessian(x)

    @functools.cache
    def ours(setting, bits):
        symmetric, *flags = make.SETTINGS[setting]
        scheme = Scheme.int(bits, "full" if symmetric else False, make.GROUP)
        w_hat = gptq(w, H, scheme, make.PERCDAMP, 128, *flags).dequantize()
        return w_hat, make.error(held_out, w, w_hat)

    return about["errors"], load_file(GOLDEN / "rows.safetensors"), ours


PEERS = [tuple(key.split(" | ")) for key in json.loads((GOLDEN / "errors.json").read_text())["errors"]]


@pytest.mark.parametrize("peer, setting, bits", PEERS)
def test_held_out_error_and_weights_are_those_of_the_peers(peers, peer, setting, bits):
    errors, rows, ours = peers
    key = f"{peer} | {setting} | {bits}"
    w_hat, mine = ours(setting, int(bits))
    assert mine == pytest.approx(errors[key], rel=0.002)  # 2e-4 at most where it was measured
    same = torch.isclose(w_hat[: len(rows[key])], rows[key].float(), rtol=2e-3, atol=1e-6)
    assert same.float().mean() > 0.98


# ------------------------------------------------------------------ laws


@settings(max_examples=60, deadline=None)
@given(
    bits=st.integers(2, 8),
    symmetric=st.sampled_from(SYMMETRIES),
    group=st.sampled_from([None, "tensor", 4, 8, 24]),
    block=st.integers(1, 50),
    c=st.floats(1e-6, 1e6),
    flags=st.tuples(st.booleans(), st.booleans(), st.booleans()),
    seed=st.integers(0, 9999),
)
def test_when_inputs_are_uncorrelated_it_is_round_to_nearest(bits, symmetric, group, block, c, flags, seed):
    w = torch.randn(5, 24, generator=torch.Generator().manual_seed(seed))
    act_order, static, mse = flags
    scheme = Scheme.int(bits, symmetric, group)
    q = gptq(w, c * torch.eye(24), scheme, 0.01, block, act_order, static, mse)
    from course_lib.calibrate.gptq import _MSE

    want = quantize(w, scheme, _MSE if mse else None)
    if act_order and q.g_idx is not None:  # equal diagonals may come in any order
        want = quantize(w[:, torch.argsort(q.g_idx, stable=True)], scheme, _MSE if mse else None)
        assert torch.equal(q.scale, want.scale)
        return
    assert torch.equal(q.codes, want.codes) and torch.equal(q.scale, want.scale)
    assert (q.zero_point is None) == (want.zero_point is None)
    assert q.zero_point is None or torch.equal(q.zero_point, want.zero_point)


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 9999),
    bits=st.integers(2, 4),
    symmetric=st.sampled_from(SYMMETRIES),
    group=st.sampled_from([None, 4, 12, 16]),
    blocks=st.tuples(st.integers(1, 60), st.integers(1, 60)),
)
def test_block_size_changes_nothing(seed, bits, symmetric, group, blocks):
    w, x = layer(8, 48, 100, seed)
    H, scheme = hessian(x), Scheme.int(bits, symmetric, group)
    one, other = (gptq(w, H, scheme, block_size=b).codes for b in blocks)
    same = (one == other).all(1)
    assert same.sum() >= 7  # in exact arithmetic 8; a near tie may fall either way, rarely


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 9999), symmetric=st.sampled_from(SYMMETRIES), group=st.sampled_from([None, 8]),
    flags=st.tuples(st.booleans(), st.booleans(), st.booleans()), dead=st.sets(st.integers(0, 31), max_size=31),
)  # fmt: skip
def test_dead_columns_end_at_exactly_zero_and_touch_nothing(seed, symmetric, group, flags, dead):
    w, x = layer(6, 32, 100, seed)
    dead = sorted(dead)
    x[:, dead] = 0
    scheme = Scheme.int(3, symmetric, group)
    q = gptq(w, hessian(x), scheme, 0.01, 16, *flags)
    assert (q.dequantize()[:, dead] == 0).all()
    w[:, dead] = 0
    assert torch.equal(gptq(w, hessian(x), scheme, 0.01, 16, *flags).codes, q.codes)


@pytest.mark.parametrize("act_order", [False, True])
def test_dead_columns_damp_no_more_where_inputs_are_quiet(act_order):
    """percdamp is a share of what is heard. With 1 on H's diagonal, as in GPTQModel, this would end as rounding."""
    w, x = layer(16, 64, 400)
    x[:, :16] = 0
    loud, quiet = (gptq(w, hessian(c * x), Scheme.int(3, group=16), act_order=act_order) for c in (1, 2**-10))
    assert torch.equal(loud.codes, quiet.codes)
    assert torch.equal(gptq(w, hessian(0 * x), Scheme.int(3)).codes, torch.zeros(16, 64))  # nothing is heard at all


def test_rows_do_not_know_each_other():
    w, x = layer()
    H, scheme = hessian(x), Scheme.int(3, False, 16)
    q = gptq(w, H, scheme)
    assert torch.equal(gptq(w[3:9].clone(), H, scheme).codes, q.codes[3:9])


def test_it_beats_rounding_and_act_order_beats_it():
    w, x = layer(64, 128, 1000)
    w, held_out = w, x[500:]
    H = hessian(x[:500])
    for bits in (3, 4):
        s = Scheme.int(bits, group=32)
        plain, ordered = gptq(w, H, s), gptq(w, H, s, act_order=True)
        assert error(held_out, w, ordered) < error(held_out, w, plain) < 0.6 * error(held_out, w, quantize(w, s))
        assert error(held_out, w, gptq(w, H, s, mse=True)) < error(held_out, w, plain)


def test_the_argument_is_untouched():
    w, x = layer()
    x[:, 5] = 0
    H = hessian(x)
    kept = w.clone(), H.clone()
    gptq(w, H, Scheme.int(4), act_order=True)
    assert torch.equal(w, kept[0]) and torch.equal(H, kept[1])
    assert gptq(w.bfloat16(), H.double(), Scheme.int(4)).shape == (24, 64)


# ------------------------------------------------------------------ U


@settings(max_examples=30, deadline=None)
@given(n=st.integers(1, 40), seed=st.integers(0, 999), percdamp=st.sampled_from([0.01, 0.1, 1.0]))
def test_the_factor_is_the_paper_s(n, seed, percdamp):
    x = torch.randn(2 * n, n, generator=torch.Generator().manual_seed(seed)).double()
    H = (2 / len(x)) * x.T @ x
    U = inverse_factor(H, percdamp)
    damped = H + percdamp * H.diagonal().mean() * torch.eye(n).double()
    want = torch.linalg.cholesky(torch.cholesky_inverse(torch.linalg.cholesky(damped)), upper=True)
    torch.testing.assert_close(U, want, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("tokens", [1, 200, 511])
def test_fewer_tokens_than_columns(tokens):
    w, x = layer(4, 512, tokens)
    H = hessian(x)
    with pytest.raises(ValueError, match=r"H \(512, 512\) is not positive definite at percdamp=0: fewer tokens") as e:
        gptq(w, H, Scheme.int(4, group=128), percdamp=0)
    assert "percdamp=0.01" in str(e.value)
    q = gptq(w, H, Scheme.int(4, group=128))
    assert error(x, w, q) < 0.7 * error(x, w, quantize(w, Scheme.int(4, group=128)))


def test_a_channel_a_thousand_times_as_large_is_no_rounding_error():
    w, x = layer(4, 256, 300)
    x[:, 7] *= 1e3
    assert math.isfinite(error(x, w, gptq(w, hessian(x), Scheme.int(4))))


# ------------------------------------------------------------------ any scheme


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float8_e4m3fn])
@pytest.mark.parametrize("act_order", [False, True])
def test_codes_are_computed_with_the_stored_scale(dtype, act_order):
    w, x = layer()
    wide = hessian(x)
    scheme = Scheme.int(4, group=16, scale_dtype=dtype)
    q = gptq(w, wide, scheme, act_order=act_order)
    assert q.scale.dtype == dtype
    assert error(x, w, q) < error(x, w, quantize(w, scheme))
    eye = gptq(w, torch.eye(64), scheme)
    assert torch.equal(eye.codes, quantize(w, scheme).codes)


def test_two_level_scales():
    w, x = layer()
    two = Scheme.int(4, group=16, scale_dtype=torch.float8_e4m3fn, tensor_scale=True)
    q = gptq(w, hessian(x), two)
    assert torch.equal(q.tensor_scale, quantize(w, two).tensor_scale)
    assert error(x, w, q) < error(x, w, quantize(w, two))
    double = Scheme.int(4, group=16, scale_scheme=Scheme.int(8, False, 256))
    with pytest.raises(ValueError, match="pass static_groups=True"):
        gptq(w, hessian(x), double)
    q = gptq(w, hessian(x), double, static_groups=True, act_order=True)
    assert error(x, w, q) < error(x, w, quantize(w, double))


@pytest.mark.parametrize("block", [(2, 16), (-1, 16), (-1, -1), (8, -1)])
def test_blocks_of_several_rows(block):
    w, x = layer()
    scheme = Scheme("int4", block)
    q = gptq(w, hessian(x), scheme)
    assert error(x, w, q) < error(x, w, quantize(w, scheme))
    assert torch.equal(gptq(w, torch.eye(64), scheme).codes, quantize(w, scheme).codes)


# ------------------------------------------------------------------ bad input


@pytest.mark.parametrize(
    "change, kind, names",
    [
        ({"w": torch.ones(3)}, ValueError, r"w must be a .* matrix \(out, in\), got torch.float32 of shape"),
        ({"w": torch.ones(2, 64, dtype=torch.int8)}, ValueError, "w must be a floating-point matrix"),
        ({"w": torch.full((2, 64), math.nan)}, ValueError, "w must be finite"),
        ({"H": torch.eye(3)}, ValueError, r"H must have shape \(64, 64\), w's columns, got .* shape \(3, 3\)"),
        ({"H": None}, ValueError, "H must have shape"),
        ({"H": torch.full((64, 64), math.inf)}, ValueError, "H must be finite"),
        ({"H": -torch.eye(64)}, ValueError, "not positive definite"),
        ({"scheme": 4}, TypeError, "scheme must be a Scheme"),
        ({"scheme": Scheme.int(4, group=48)}, ValueError, "48 columns does not divide w's 64"),
        ({"percdamp": -0.1}, ValueError, "percdamp must be"),
        ({"block_size": 0}, ValueError, "block_size must be"),
    ],
)  # fmt: skip
def test_bad_input_is_one_clear_sentence(change, kind, names):
    w, x = layer()
    with pytest.raises(kind, match=names) as caught:
        gptq(**{"w": w, "H": hessian(x), "scheme": Scheme.int(4)} | change)
    assert "\n" not in str(caught.value)
