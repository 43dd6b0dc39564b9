"""quantize and dequantize against printed numbers, hand-counted bytes and torch's own operators."""

import numpy as np
import pytest
import torch

from course_lib.formats import registry
from course_lib.qtensor import QTensor, dequantize, gather_blocks, quantize, split_blocks
from course_lib.scheme import Scheme

ASYM8, ASYM4 = Scheme.int(8, symmetric=False), Scheme.int(4, symmetric=False)
KINDS = [True, "full", False]


def gaussian(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# ---- printed and worked numbers


def test_one_weight_on_a_ruler():
    codec, w = registry.get("int8"), torch.tensor(0.73)
    for s, code, back in [(0.1, 7, 0.7), (0.5, 1, 0.5)]:
        q = codec.encode(w, torch.tensor(s))
        assert q.item() == code and codec.decode(q, torch.tensor(s)).item() == pytest.approx(back, abs=1e-7)


def test_four_weights_in_symmetric_int4():
    w = torch.tensor([0.15, -1.22, 2.40, -0.45])
    q = quantize(w, Scheme.int(4))
    assert round(q.scale.item(), 5) == 0.34286 and q.zero_point is None
    assert q.codes.tolist() == [0, -4, 7, -1] and q.codes.dtype == torch.int8
    assert [round(v, 3) for v in q.dequantize().tolist()] == [0.0, -1.371, 2.4, -0.343]
    assert round((q.dequantize() - w).abs().mean().item(), 3) == 0.102


def test_activations_from_0_to_3():
    x = torch.linspace(0, 3, 31)
    assert round(quantize(x, Scheme.int(4)).scale.item(), 3) == 0.429
    q = quantize(x, ASYM4)
    assert round(q.scale.item(), 3) == 0.200 and q.zero_point.item() == 0
    assert q.codes.min() == 0 and q.codes.max() == 15


def test_gptq_full_grid_is_the_published_formula():
    w = gaussian(5, 24).numpy()
    for bits in (2, 3, 4, 8):
        n = 2**bits - 1
        s = (np.abs(w).max(1, keepdims=True) * 2 / n).astype(np.float32)
        codes = np.clip(np.rint(w / s) + 2 ** (bits - 1), 0, n)
        q = quantize(torch.from_numpy(w), Scheme.int(bits, "full"))
        assert np.array_equal(q.scale.numpy(), s) and np.array_equal(q.codes.numpy(), codes)
        assert q.codes.dtype == q.zero_point.dtype == torch.uint8 and (q.zero_point == 2 ** (bits - 1)).all()


def test_ties_go_to_even_and_before_the_zero_point_is_added():
    codec, one = registry.get("int4"), torch.tensor(1.0)
    w = torch.tensor([0.5, 1.5, 2.5, -0.5, -1.5, -2.5])
    assert codec.encode(w, one).tolist() == [0, 2, 2, 0, -2, -2]
    assert codec.encode(w, one, torch.tensor(3, dtype=torch.uint8)).tolist() == [3, 5, 5, 3, 1, 1]


def test_asymmetric_range_is_widened_to_zero():
    q = quantize(torch.tensor([[10.0, 12.0, 15.0], [-10.0, -12.0, -15.0]]), ASYM4)
    assert q.scale.tolist() == [[1.0], [1.0]] and q.zero_point.tolist() == [[0], [15]]
    assert q.dequantize().tolist() == [[10.0, 12.0, 15.0], [-10.0, -12.0, -15.0]]


@pytest.mark.parametrize("kind, ends", [(True, (-7, 7)), ("full", (0, 15)), (False, (0, 15))])
def test_what_the_range_leaves_outside_clips_to_the_last_code(kind, ends):
    w = torch.tensor([[-9.0, -1.0, 0.5, 1.0, 9.0]])
    q = quantize(w, Scheme.int(4, kind), lambda blocks, scheme: (-torch.ones(1, 1), torch.ones(1, 1)))
    assert (q.codes[0, 0].item(), q.codes[0, -1].item()) == ends
    assert q.dequantize().abs().max() <= 1 + q.step.max() / 2 * 1.0001  # "full" ends half a step outside, asym may


# ---- torch as oracle


@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor")
@pytest.mark.parametrize("dtype, lo, hi", [(torch.quint8, 0, 255), (torch.qint8, -127, 127)])
def test_per_tensor_codes_are_torchs(dtype, lo, hi):
    from torch.ao.quantization import MinMaxObserver

    affine = dtype == torch.quint8
    w = gaussian(64, 48) + (0.3 if affine else 0)
    kind = torch.per_tensor_affine if affine else torch.per_tensor_symmetric
    observer = MinMaxObserver(dtype=dtype, qscheme=kind, quant_min=lo, quant_max=hi)
    observer(w)
    scale, zero = observer.calculate_qparams()
    q = quantize(w, Scheme.int(8, symmetric=not affine, group="tensor"))
    assert q.scale.item() == scale.item()
    assert not affine or q.zero_point.item() == zero.item()
    theirs = torch.quantize_per_tensor(w, scale.item(), int(zero), dtype)
    assert_equal_but_near_ties(q.codes, theirs.int_repr(), w / scale)
    assert torch.allclose(q.dequantize(), theirs.dequantize(), atol=scale.item() * 1.01)


@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor")
def test_per_channel_codes_are_torchs():
    w = gaussian(16, 96) * torch.logspace(-3, 3, 16)[:, None]
    q = quantize(w, ASYM8)
    theirs = torch.quantize_per_channel(w, q.scale[:, 0], q.zero_point[:, 0].int(), 0, torch.quint8)
    assert_equal_but_near_ties(q.codes, theirs.int_repr(), w / q.scale)


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@pytest.mark.parametrize("kind", KINDS)
def test_round_trip_is_torchs_fake_quantize(bits, kind):
    w = gaussian(16, 96)
    q = quantize(w, Scheme.int(bits, kind))
    top = 2 ** (bits - 1) - 1
    lo, hi = (-top, top) if kind is True else (0, 2**bits - 1)
    zero = torch.zeros(16).int() if kind is True else q.zero_point[:, 0].int()
    theirs = torch.fake_quantize_per_channel_affine(w, q.scale[:, 0], zero, 0, lo, hi)
    away = (((w / q.scale) % 1) - 0.5).abs() > 1e-4
    assert away.float().mean() > 0.98  # the full grid puts the largest weight of each row on a tie: 7.5 steps
    assert torch.allclose(q.dequantize()[away], theirs[away], rtol=1e-6, atol=0)


def assert_equal_but_near_ties(ours, theirs, position):
    """torch multiplies by 1/s where we divide by s: codes may differ by one where w/s is within 1e-4 of a tie."""
    differ = ours.int() != theirs.int()
    assert ((ours.int() - theirs.int()).abs() <= 1).all()
    assert (((position % 1) - 0.5).abs()[differ] < 1e-4).all()


def test_integer_matmul_with_zero_points_equals_the_float_one():
    """x_hat w_hat^T = s_x s_w (Q_x - z_x)(Q_w - z_w)^T, summed in int32."""
    x, w = quantize(gaussian(6, 64, seed=1) + 1, ASYM8), quantize(gaussian(9, 64), ASYM8)
    qx, qw = (t.codes.numpy().astype(np.int32) - t.zero_point.numpy().astype(np.int32) for t in (x, w))
    product = (qx @ qw.T) * x.scale.numpy().astype(np.float64) * w.scale.numpy().T.astype(np.float64)
    assert np.allclose(product, x.dequantize().double() @ w.dequantize().double().T, rtol=1e-6, atol=1e-6)


# ---- blocks


@pytest.mark.parametrize(
    "shape, block, grid",
    [
        ((8, 12), (1, -1), (8, 1)),
        ((8, 12), (-1, -1), (1, 1)),
        ((8, 12), (1, 4), (8, 3)),
        ((8, 12), (-1, 1), (1, 12)),
        ((8, 12), (4, 6), (2, 2)),
        ((3, 2, 8, 12), (2, 4), (3, 2, 4, 3)),
        ((12,), (1, 4), (3,)),
        ((12,), (-1, -1), (1,)),
    ],
)
@pytest.mark.parametrize("kind", KINDS)
def test_every_block_is_quantized_on_its_own(shape, block, grid, kind):
    w = gaussian(*shape)
    scheme = Scheme("int4", block, kind)
    q = quantize(w, scheme)
    assert q.scale.shape == grid and q.codes.shape == w.shape == q.dequantize().shape
    assert q.zero_point is None if kind is True else q.zero_point.shape == grid
    matrix, back = (t[None] if t.dim() == 1 else t for t in (w, q.dequantize()))
    blocks, backs = (gather_blocks(split_blocks(t, block)).flatten(0, -2) for t in (matrix, back))
    for one, one_back, s in zip(blocks, backs, q.scale.flatten(), strict=True):
        alone = quantize(one, Scheme.int(4, kind))
        assert torch.equal(alone.dequantize(), one_back) and alone.scale.item() == s.item()


def test_batches_are_quantized_one_by_one():
    w = gaussian(3, 4, 8) * torch.tensor([1.0, 10, 100])[:, None, None]
    q = quantize(w, Scheme.int(4, group="tensor"))
    for i in range(3):
        assert torch.equal(q.codes[i], quantize(w[i], Scheme.int(4, group="tensor")).codes)


def test_layout_in_memory_does_not_matter():
    w = gaussian(12, 8)
    scheme = Scheme("int4", (2, 4), False)
    assert torch.equal(quantize(w.T, scheme).codes, quantize(w.T.contiguous(), scheme).codes)


def test_padding_is_stored_and_cut_off_again():
    w = gaussian(5, 10) + 3
    q = quantize(w, Scheme("int4", (2, 4), False), pad=True)
    assert q.shape == (5, 10) and q.codes.shape == (6, 12) and q.scale.shape == (3, 3)
    assert q.nbytes == 6 * 12 // 2 + 9 * 4 + 5  # 9 zero points of 4 bits fill 4.5 bytes
    assert q.dequantize().shape == (5, 10)
    whole = quantize(w[:4, :8], Scheme("int4", (2, 4), False))
    assert torch.equal(q.dequantize()[:4, :8], whole.dequantize())
    line = quantize(torch.arange(5.0), Scheme.int(4, group=4), pad=True)
    assert line.dequantize().shape == (5,) and line.codes.shape == (8,)


def test_g_idx_gives_each_column_its_group():
    w = gaussian(6, 8)
    order = torch.tensor([3, 0, 7, 4, 1, 6, 2, 5])
    q = quantize(w[:, order], Scheme.int(4, False, group=4))
    g_idx = torch.argsort(order).int() // 4
    unpermuted = QTensor(q.codes[:, torch.argsort(order)], q.scale, q.zero_point, q.scheme, q.shape, g_idx=g_idx)
    assert torch.equal(unpermuted.dequantize()[:, order], q.dequantize())
    assert unpermuted.nbytes == q.nbytes + 8 * 4
    trivial = QTensor(q.codes, q.scale, q.zero_point, q.scheme, q.shape, g_idx=torch.arange(8).int() // 4)
    assert trivial.nbytes == q.nbytes and torch.equal(trivial.dequantize(), q.dequantize())


# ---- bytes


@pytest.mark.parametrize(
    "scheme, want",
    [
        (Scheme.int(4), 8 * 128 + 8 * 4),
        (Scheme.int(4, True, "tensor"), 8 * 128 + 4),
        (Scheme.int(4, True, 64), 8 * 128 + 32 * 4),
        (Scheme.int(4, "full", 64), 8 * 128 + 32 * 4),
        (Scheme.int(4, False, 64), 8 * 128 + 32 * 4 + 32 // 2),
        (Scheme.int(4, False, 64, scale_dtype=torch.float16), 8 * 128 + 32 * 2 + 32 // 2),
        (Scheme.int(3, False, 64, scale_dtype=torch.bfloat16), 8 * 96 + 32 * 2 + 12),
        (Scheme.int(8, False), 8 * 256 + 8 * 4 + 8),
        (Scheme.int(4, True, 16, scale_dtype=torch.float8_e4m3fn, tensor_scale=True), 8 * 128 + 128 + 4),
        (Scheme.int(4, True, 16, scale_scheme=Scheme.int(8, group=64)), 8 * 128 + 128 + 2 * 4),
    ],
    ids=lambda v: getattr(v, "name", v),
)
def test_bytes_counted_by_hand(scheme, want):
    q = quantize(gaussian(8, 256), scheme)
    assert q.nbytes == want and q.bits_per_weight == 8 * want / 2048


# ---- ranges that degenerate, scales that do not fit


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_zeros_decode_to_zeros(kind, dtype):
    w = gaussian(4, 8)
    w[1:3] = 0
    q = quantize(w, Scheme.int(4, kind, scale_dtype=dtype))
    assert (q.dequantize()[1:3] == 0).all() and (q.scale[1:3] == 1).all()
    assert torch.isfinite(q.dequantize()).all() and (q.dequantize()[0] != 0).any()


@pytest.mark.parametrize("value", [3.7, -3.7, 1e-30, -1e30])
def test_a_constant_block_comes_back(value):
    w = torch.full((2, 8), value)
    for kind in (True, False):
        assert torch.allclose(quantize(w, Scheme.int(4, kind)).dequantize(), w, rtol=1e-6, atol=0)
    q = quantize(w, Scheme.int(4, "full"))  # 7.5 steps: half a step off by construction
    assert ((q.dequantize() - w).abs() <= q.scale / 2 * 1.00001).all()


@pytest.mark.parametrize("kind", KINDS)
def test_a_scale_that_underflows_becomes_the_smallest_one(kind):
    w = torch.tensor([[1e-9, -2e-9, 3e-9], [1.0, -2.0, 3.0]])
    q = quantize(w, Scheme.int(4, kind, scale_dtype=torch.float16))
    assert q.scale[0].item() == 2.0**-24
    assert ((q.dequantize() - w)[0].abs() <= 2.0**-25).all() and (q.codes[1] != q.codes[0]).any()
    tiny = torch.full((1, 4), 1e-45)
    assert torch.isfinite(quantize(tiny, Scheme.int(8, kind)).dequantize()).all()


def test_a_hand_made_scale_of_zero_gives_no_nan():
    codec, zero = registry.get("int4"), torch.tensor(0.0)
    for z in (None, torch.tensor(5)):
        codes = codec.encode(torch.tensor([0.0, 1.0, -1.0]), zero, z)
        assert (codes == (0 if z is None else 5)).all() and (codec.decode(codes, zero, z) == 0).all()


def test_zero_point_stays_a_code_when_the_stored_scale_is_smaller():
    w = torch.linspace(-1, -0.001, 64)[None] * torch.linspace(1, 1.9, 40)[:, None]
    q = quantize(w, Scheme.int(8, False, scale_dtype=torch.bfloat16))
    raw = -w.min(1, keepdim=True).values / q.scale.float()
    assert raw.round().max() > 255 and q.zero_point.max() == 255  # without the clamp, 256 wraps to 0
    assert ((q.dequantize() - w).abs() <= q.step * 1.01).all()


def test_the_scale_is_rounded_before_the_codes_are_computed():
    w = gaussian(64, 128)
    for kind in KINDS:
        q = quantize(w, Scheme.int(8, kind, scale_dtype=torch.bfloat16))
        best = quantize(w, Scheme.int(8, kind))
        assert q.scale.dtype == torch.bfloat16 and torch.equal(q.scale, best.scale.bfloat16())
        s = q.scale.float()
        z = 0 if q.zero_point is None else q.zero_point.float()
        lo, hi = (-127, 127) if kind is True else (0, 255)
        assert torch.equal(q.codes.float(), ((w / s).round() + z).clamp(lo, hi))
        assert (q.codes != best.codes).any()
        assert kind is not False or torch.equal(z, (-w.min(1, keepdim=True).values / s).round().clamp(0, 255))


# ---- scales of two levels


def test_tensor_scale_multiplies_the_block_scales():
    w = gaussian(8, 64) * 1e-4
    q = quantize(w, Scheme.int(4, True, 16, scale_dtype=torch.float8_e4m3fn, tensor_scale=True))
    assert q.tensor_scale.shape == () and q.scale.float().max() == 448
    assert torch.equal(q.step, q.scale.float() * q.tensor_scale)
    steps = q.step.repeat_interleave(16, 1)
    assert torch.equal(q.dequantize(), steps * q.codes)
    clips = (w / steps).round().abs() > 7
    assert ((q.dequantize() - w).abs() <= steps * 0.5001)[~clips].all() and clips.float().mean() < 0.1
    assert quantize(torch.stack([w, 9 * w]), q.scheme).tensor_scale.shape == (2,)
    assert (quantize(torch.zeros(2, 16), q.scheme).dequantize() == 0).all()


def test_a_tensor_scale_found_once_is_kept():
    scheme = Scheme.int(4, True, 16, scale_dtype=torch.float8_e4m3fn, tensor_scale=True)
    blocks = gather_blocks(split_blocks(gaussian(8, 64), scheme.block))
    whole = scheme.codec.grid(blocks, scheme)
    part = scheme.codec.grid(3 * blocks[:, :1], scheme, tensor_scale=whole.tensor_scale)
    assert part.tensor_scale is whole.tensor_scale and part.scale.float().max() <= 448  # saturates


def test_quantized_scales_decode_first():
    w = gaussian(8, 256)
    scheme = Scheme.int(4, False, 16, scale_scheme=Scheme.int(8, False, group=64))
    q = quantize(w, scheme)
    assert isinstance(q.scale, QTensor) and q.step.shape == q.zero_point.shape == (8, 16)
    plain = quantize(w, Scheme.int(4, False, 16))
    assert torch.equal(q.step, quantize(plain.scale.reshape(1, -1), scheme.scale_scheme).dequantize().reshape(8, 16))
    assert (q.dequantize() - w).square().mean() < 1.05 * (plain.dequantize() - w).square().mean()
    w[0] = 0
    assert torch.isfinite(quantize(w, scheme).dequantize()).all()
    assert (quantize(w, scheme).dequantize()[0] == 0).all()
    assert torch.equal(quantize(w[1], scheme).dequantize(), quantize(w[1:2], scheme).dequantize()[0])


# ---- codec steps apart, as an error-compensating method uses them


@pytest.mark.parametrize("kind", KINDS)
def test_grid_then_encode_column_by_column_equals_quantize(kind):
    w = gaussian(6, 16)
    scheme = Scheme.int(3, kind, group=8)
    codec, codes, back = scheme.codec, [], []
    for start in (0, 8):
        grid = codec.grid(w[:, None, start : start + 8], scheme)  # (rows, one group, columns)
        for j in range(start, start + 8):
            codes.append(codec.encode(w[:, j : j + 1], grid.step, grid.zero_point))
            back.append(codec.decode(codes[-1], grid.step, grid.zero_point))
    q = quantize(w, scheme)
    assert torch.equal(torch.cat(codes, 1), q.codes) and torch.equal(torch.cat(back, 1), q.dequantize())


# ---- input


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_floats_are_computed_in_float32(dtype):
    w = gaussian(4, 32).to(dtype)
    q, same = quantize(w, ASYM4), quantize(w.float(), ASYM4)
    assert torch.equal(q.codes, same.codes) and torch.equal(q.scale, same.scale)
    assert q.dequantize().dtype == torch.float32 and q.scale.dtype == torch.float32


def test_parameters_are_left_alone():
    w = torch.nn.Parameter(gaussian(4, 32))
    kept = w.detach().clone()
    q = quantize(w, Scheme.int(4))
    assert not q.scale.requires_grad and not q.dequantize().requires_grad and torch.equal(w, kept)


@pytest.mark.parametrize(
    "call, says",
    [
        (lambda w: quantize(w.int(), Scheme.int(4)), "w must be a floating-point tensor, got torch.int32"),
        (lambda w: quantize(w.tolist(), Scheme.int(4)), "w must be a floating-point tensor, got list"),
        (lambda w: quantize(w[:0], Scheme.int(4)), r"w must hold at least one row of weights, got shape \(0, 12\)"),
        (lambda w: quantize(w[0, 0], Scheme.int(4)), "w must hold at least one row"),
        (lambda w: quantize(w / 0, Scheme.int(4)), r"finite in float32: 48 of 48 .*, the first at \(0, 0\)"),
        (lambda w: quantize(torch.where(w == w[2, 5], torch.nan, w), Scheme.int(4)), r"1 of 48 .* first at \(2, 5\)"),
        (lambda w: quantize(w.double() * 1e300, Scheme.int(4)), "finite in float32"),
        (lambda w: quantize(w, Scheme.int(4, group=5)), "5 columns does not divide w's 12 columns: .* pad=True"),
        (lambda w: quantize(w, Scheme("int4", (3, 4))), "3 rows does not divide w's 4 rows: .* pad=True"),
        (lambda w: quantize(w, "int4"), "scheme must be a Scheme, such as .* got str"),
        (lambda w: quantize(w * 1e7, Scheme.int(4, scale_dtype=torch.float16)), "does not fit .*float16 .largest 6.55"),
        (lambda w: quantize(w.sign() * 3e38, ASYM4), "a scale of inf does not fit scale_dtype torch.float32"),
        (lambda w: quantize(w.abs().sign() * 3e38, Scheme.int(4, "full")), "a scale of inf does not fit"),
        (lambda w: dequantize(w), "q must be a QTensor, as quantize returns it, got Tensor"),
        (lambda w: dequantize(None), "q must be a QTensor, .* got NoneType"),
        (lambda w: QTensor(w.char(), w[:, :2], None, ASYM4, w.shape), r"scale must have shape \(4, 1\) .* \(4, 2\)"),
        (lambda w: QTensor(w.char(), w[:, :1], w, Scheme.int(4), w.shape), "zero_point must have shape"),
        (
            lambda w: QTensor(w.char(), w[:, :3], None, Scheme.int(4, group=4), w.shape, torch.arange(12)),
            "g_idx must hold 12 group numbers in 0…2",
        ),
    ],
)
def test_bad_input_is_one_clear_sentence(call, says):
    with pytest.raises((ValueError, TypeError), match=says) as caught:
        call(gaussian(4, 12))
    assert "\n" not in str(caught.value)


def test_repr_is_short():
    q = quantize(gaussian(4, 128), Scheme.int(4, group=32))
    assert repr(q) == "QTensor(int4 g32 sym, shape=(4, 128), 5.000 bits/weight)"
