"""Laws of rounding to a grid, tried on many tensors by Hypothesis."""

import pytest
import torch
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from course_lib.qtensor import quantize, split_blocks, spread
from course_lib.scheme import Scheme

KINDS = st.sampled_from([True, "full", False])
DTYPES = st.sampled_from([torch.float32, torch.float16, torch.bfloat16])
BITS = st.integers(2, 8)
LAW = settings(deadline=None, max_examples=200)


def matrices(max_exponent=8):
    """Small matrices of plain, spread-out, one-sided, constant and nearly empty values."""

    def build(numbers, rows, exponent, shape_up):
        w = torch.tensor(numbers[: len(numbers) // rows * rows]).reshape(rows, -1)
        w = {"as is": w, "positive": w.abs(), "negative": -w.abs(), "constant": w * 0 + w[0, 0]}[shape_up]
        return w * 2.0**exponent

    return st.builds(
        build,
        st.lists(st.floats(-100, 100, width=32).map(lambda v: round(v, 3)), min_size=4, max_size=48),
        st.integers(1, 4),
        st.integers(-max_exponent, max_exponent),
        st.sampled_from(["as is", "as is", "positive", "negative", "constant"]),
    )


def clips(w, q):
    """Where round(w/s) + z lies outside the codes, under the stored scale."""
    b = q.scheme.bits
    z = 0 if q.zero_point is None else q.zero_point.float()
    lo, hi = (-(2 ** (b - 1) - 1), 2 ** (b - 1) - 1) if q.scheme.symmetric is True else (0, 2**b - 1)
    at = (w / q.step).round() + z
    return (at < lo) | (at > hi)


@LAW
@given(matrices(), BITS, KINDS, DTYPES)
def test_error_is_at_most_half_a_step_where_nothing_clips(w, bits, kind, dtype):
    """float32's w/s is off by at most 2^-24 * 255 steps, its s*(q-z) by 2^-24 * |w|: hence the 2^-14."""
    q = quantize(w, Scheme.int(bits, kind, scale_dtype=dtype))
    error = (q.dequantize().double() - w.double()).abs()
    kept = ~clips(w, q)
    assert (error <= q.step.double() * (0.5 + 2.0**-14))[kept].all()


def test_stored_scale_decides_what_clips():
    """An 8-bit asymmetric row whose bf16 scale is rounded down does clip, so its error passes s/2."""
    w = torch.linspace(0, 1, 256)[None] * 255 / 256 * 1.0037  # s = 1.0037/256, whose bf16 neighbour is 1/256
    exact, stored = (quantize(w, Scheme.int(8, False, scale_dtype=d)) for d in (torch.float32, torch.bfloat16))
    assert stored.scale.float() < exact.scale and clips(w, stored).any() and not clips(w, exact).any()
    error = (stored.dequantize() - w).abs()
    assert error.max() > 0.5 * stored.step.item() * 1.01
    assert (error <= stored.step * 0.5001)[~clips(w, stored)].all()


@LAW
@given(matrices(), BITS, DTYPES)
def test_restricted_grid_is_idempotent_bit_for_bit(w, bits, dtype):
    """Quantizing what came out changes no bit: its largest value is (2^(b-1)-1) s, so the same s is found again."""
    scheme = Scheme.int(bits, scale_dtype=dtype)
    once = quantize(w, scheme)
    assume((once.scale.float() >= 2 * torch.finfo(dtype).tiny).all())  # fp16 subnormals have few bits
    again = quantize(once.dequantize(), scheme)
    used = (w != 0).any(1)
    assert torch.equal(again.codes, once.codes) and torch.equal(again.scale[used], once.scale[used])
    assert torch.equal(again.dequantize(), once.dequantize())


def test_restricted_grid_is_idempotent_on_many_scales():
    for bits in range(2, 9):
        w = (1 + torch.arange(20000.0) / 20000)[:, None] * torch.tensor([1.0, 0.3])
        once = quantize(w, Scheme.int(bits))
        again = quantize(once.dequantize(), once.scheme)
        assert torch.equal(again.scale, once.scale) and torch.equal(again.codes, once.codes)


def test_asymmetric_grid_drifts():
    """[-2.5, 12.5] at 4 bits: s = 1, but both ends are ties, so the range that comes out is [-2, 12]."""
    w = torch.tensor([[-2.5, 12.5]])
    once = quantize(w, Scheme.int(4, False))
    again = quantize(once.dequantize(), once.scheme)
    assert once.scale.item() == 1 and once.dequantize().tolist() == [[-2.0, 12.0]]
    assert again.scale.item() == pytest.approx(14 / 15) and not torch.equal(again.dequantize(), once.dequantize())


@LAW
@given(matrices(), BITS, KINDS, DTYPES)
def test_a_group_as_long_as_the_row_is_per_channel(w, bits, kind, dtype):
    group = quantize(w, Scheme.int(bits, kind, group=w.shape[1], scale_dtype=dtype))
    channel = quantize(w, Scheme.int(bits, kind, scale_dtype=dtype))
    assert torch.equal(group.codes, channel.codes) and torch.equal(group.scale, channel.scale)
    assert torch.equal(group.dequantize(), channel.dequantize()) and group.nbytes == channel.nbytes


@LAW
@given(matrices(), BITS, st.sampled_from([True, False]))
def test_scale_follows_a_power_of_two(w, bits, kind):
    """Q(4w) = 4 Q(w): codes do not change, every other number is exact."""
    one, four = (quantize(v, Scheme.int(bits, kind)) for v in (w, 4 * w))
    assert torch.equal(one.codes, four.codes) and torch.equal(4 * one.dequantize(), four.dequantize())


@LAW
@given(matrices(), BITS)
def test_restricted_grid_mirrors(w, bits):
    scheme = Scheme.int(bits)
    assert torch.equal(quantize(-w, scheme).dequantize(), -quantize(w, scheme).dequantize())


@LAW
@given(matrices(), BITS, KINDS, DTYPES)
def test_codes_and_zero_points_are_codes_and_zero_is_exact(w, bits, kind, dtype):
    w = torch.cat([w, torch.zeros(len(w), 1)], 1)
    q = quantize(w, Scheme.int(bits, kind, scale_dtype=dtype))
    lo, hi = (-(2 ** (bits - 1) - 1), 2 ** (bits - 1) - 1) if kind is True else (0, 2**bits - 1)
    assert lo <= q.codes.min() and q.codes.max() <= hi
    assert q.codes.dtype == (torch.int8 if kind is True else torch.uint8)
    assert q.zero_point is None if kind is True else 0 <= q.zero_point.min() and q.zero_point.max() <= hi
    assert (q.dequantize()[:, -1] == 0).all() and (q.scale.float() > 0).all()


@LAW
@example(torch.tensor([[-1.0, 3.0]]), False)
@given(matrices(), KINDS)
def test_half_a_step_falls_with_bits(w, kind):
    steps = torch.stack([quantize(w, Scheme.int(b, kind)).step for b in range(2, 9)])
    used = (w != 0).any(1)
    assert (steps[1:, used] < steps[:-1, used]).all()


@pytest.mark.parametrize("kind", [True, "full", False])
def test_mean_squared_error_falls_with_bits_on_gaussians(kind):
    w = torch.randn(64, 256, generator=torch.Generator().manual_seed(0))
    losses = [(quantize(w, Scheme.int(b, kind)).dequantize() - w).square().mean().item() for b in range(2, 9)]
    assert all(a > 3 * b for a, b in zip(losses, losses[1:], strict=False))  # about 4 per bit: 6 dB


def test_not_every_single_error_falls_with_bits():
    w = torch.tensor([[1.0, 3.0]])  # 3 bits: s = 1, exact; 4 bits: s = 3/7, 1 -> 2 * 3/7
    errors = [(quantize(w, Scheme.int(b)).dequantize() - w).abs()[0, 0].item() for b in (3, 4)]
    assert errors[0] == 0 and errors[1] > 0.1


@LAW
@given(
    rows=st.integers(1, 4),
    cols=st.integers(1, 4),
    br=st.integers(1, 3),
    bc=st.integers(1, 5),
    bits=BITS,
    kind=KINDS,
    seed=st.integers(0, 99),
)
def test_smaller_blocks_never_have_larger_steps(rows, cols, br, bc, bits, kind, seed):
    w = torch.randn(rows * br, cols * bc, generator=torch.Generator().manual_seed(seed))
    block = (br, bc)
    q, whole = quantize(w, Scheme(f"int{bits}", block, kind)), quantize(w, Scheme.int(bits, kind, "tensor"))
    assert (q.step <= whole.step).all() and q.step.max() <= whole.step
    error = (split_blocks(q.dequantize() - w, block)).abs()
    assert (error <= spread(q.step) * (1.0001 if kind is False else 0.5001)).all()
