"""GEMV and decoding from a trellis: against formats.trellis bit for bit, float64, and a layer against its reference."""

import numpy as np
import pytest
import torch

from course_lib.calibrate import QuantLinear
from course_lib.calibrate.rotation import hadamard
from course_lib.calibrate.trellis import by_trellis, turn
from course_lib.formats import trellis as formats
from course_lib.kernels import ON_GPU, dispatch, trellis, weights
from course_lib.kernels.interpreter import ptx
from course_lib.kernels.measure import recorded
from course_lib.kernels.measure.families import poisoned

DEVICE = "cuda" if ON_GPU else "cpu"
CODES = tuple(formats.CODES)


def randn(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def drawn(shape, bits, code="1mad", L=16, seed=0):
    """Any bytes are streams, and random ones visit every kind of state."""
    tiles = -(-shape[0] // 16) * -(-shape[1] // 16)
    streams = torch.randint(0, 256, (tiles, 32 * bits), generator=torch.Generator().manual_seed(seed)).to(torch.uint8)
    packed = trellis.pack(streams.to(DEVICE), torch.tensor(0.37, device=DEVICE), shape, bits, code, L)
    assert torch.equal(trellis.streams_of(packed).cpu(), streams)
    return packed


def exact(packed):
    """ŵ by another way than the kernel's: bits in NumPy, a window at a time."""
    (n, k), bits, L = packed.shape, packed.bits, packed.L
    streams = np.unpackbits(trellis.streams_of(packed).cpu().numpy(), axis=1)
    windows = (np.arange(256)[:, None] * bits + np.arange(L)) % (256 * bits)
    states = streams[:, windows] @ (1 << np.arange(L - 1, -1, -1))
    across = -(-k // 16)
    tiles = formats.levels(packed.code, L)[torch.from_numpy(states)].view(-1, across, 16, 16)
    return (packed.scale.cpu() * tiles.transpose(1, 2).reshape(-1, 16 * across))[:n, :k]


CASES = [*((code, 2, 16) for code in CODES), *(("1mad", bits, 16) for bits in (1, 3, 4)),
         *(("3inst", bits, 10) for bits in (1, 2, 3, 4)), ("mul1", 3, 5)]  # fmt: skip


@pytest.mark.parametrize("code, bits, L", CASES)
def test_it_decodes_bit_for_bit_and_multiplies(code, bits, L):
    """In float32 a lane adds 16 products a turn, 512 lanes at most add in pairs; product, 1/147.8, scale, level."""
    packed = drawn((37, 200), bits, code, L)  # no tile ends with the matrix
    x = randn(1, 200).to(DEVICE)
    w = exact(packed)
    with poisoned():
        assert torch.equal(trellis.dequantize(packed).cpu(), w)
        y = trellis.gemv(x, packed).cpu().double()
    assert torch.equal(trellis.unpack(packed).cpu(), w)
    at_most = (16 + 9 + 4) * 2.0**-24 * (w.double().abs() @ x.cpu().double().abs())
    assert ((y - w.double() @ x.cpu().double()).abs() <= at_most).all()
    assert ((y - trellis.reference(x, packed).cpu()).abs() <= 2 * at_most).all()


@pytest.mark.parametrize("code", CODES)
def test_every_state_has_its_level(code):
    """At 4 bits a stream of 1024 has 64 windows of 16 that share no bit: all 65,536 states in 1024 tiles."""
    states = torch.arange(65536)
    words = torch.stack([states >> 8, states & 255], 1).to(torch.uint8)
    streams = words.reshape(1024, 128)  # those of weights 0, 4, 8 … of a tile
    packed = trellis.pack(streams.to(DEVICE), torch.tensor(1.0, device=DEVICE), (256, 1024), 4, code, 16)
    found = trellis.dequantize(packed).cpu().view(16, 16, 64, 16).transpose(1, 2).reshape(1024, 256)[:, ::4]
    assert torch.equal(found.flatten(), formats.levels(code, 16))


@pytest.mark.parametrize("shape", [(1, 16), (128, 48), (128, 64), (129, 1040)])
def test_any_shape(shape):
    """With and without masks: in the interpreter tiles end with a matrix of 128 rows and a power of two of tiles."""
    packed, x = drawn(shape, 2), randn(2, shape[1]).to(DEVICE)
    w = exact(packed).double()
    with poisoned():
        y = trellis.gemv(x, packed).cpu()
        assert torch.equal(trellis.dequantize(packed).cpu(), exact(packed))
    turns = -(-shape[1] // 1024)
    at_most = (16 * turns + 9 + 4) * 2.0**-24 * (w.abs() @ x.cpu().double().abs())
    assert y.shape == shape[:1] and ((y.double() - w @ x.cpu().double()).abs() <= at_most).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_sixteen_bits_are_rounded_once(dtype):
    packed, x = drawn((48, 64), 3, "3inst"), randn(3, 64).to(DEVICE, dtype)
    w = exact(packed)
    y, wide = trellis.gemv(x, packed), trellis.gemv(x.float(), packed)
    assert y.dtype == dtype and torch.equal(y, wide.to(dtype))
    assert torch.equal(trellis.dequantize(packed, dtype).cpu(), w.to(dtype))


def test_a_weight_counts_where_it_stands():
    """x is 1 at one column: y is that column, whichever it is."""
    packed = drawn((32, 48), 3)
    w = exact(packed)
    for column in (0, 31, 47):
        x = torch.zeros(48, device=DEVICE)
        x[column] = 1
        assert torch.allclose(trellis.gemv(x, packed).cpu(), w[:, column], rtol=2**-22, atol=0)


def test_one_operation_for_signs_is_and_then_xor():
    """What a GPU runs and the interpreter does not: PTX's lop3, on numbers of all kinds."""
    x = np.random.default_rng(0).integers(-(2**31), 2**31, 4096).astype(np.int32)
    found = ptx.evaluate(trellis.SIGNS.value, [x], [np.int32], 1)[0].view(np.uint32)
    assert np.array_equal(found, (x.view(np.uint32) & 0x8FFF8FFF) ^ 0x3B603B60)


def test_what_is_no_number_stays_none():
    packed, x = drawn((16, 64), 2, "mul1"), torch.ones(64, device=DEVICE)
    x[5] = float("inf")
    assert not trellis.gemv(x, packed).isfinite().any()


@pytest.mark.parametrize(
    "call, said",
    [
        (lambda p: trellis.gemv(torch.ones(47), p), r"x must be 48 floats on .*, got torch.float32 \(47,\)"),
        (lambda p: trellis.gemv(torch.ones(48, dtype=torch.int32), p), "x must be 48 floats .* got torch.int32"),
        (lambda p: trellis.pack(torch.zeros(6, 64), p.scale, (32, 48), 2, "1mad", 16), r"uint8 \(6, 64\)"),
        (lambda p: trellis.pack(trellis.streams_of(p), p.scale, (32, 64), 2, "1mad", 16), r"uint8 \(8, 64\), one row"),
        (lambda p: trellis.pack(trellis.streams_of(p), p.scale, (32, 48), 5, "1mad", 16), "bits 1 to 4, .* 5 and 16"),
        (lambda p: trellis.pack(trellis.streams_of(p), p.scale, (32, 48), 2, "2mad", 16), "1mad, 3inst, mcg, mul1"),
        (lambda p: trellis.pack(trellis.streams_of(p), p.scale, (32, 48), 2, "1mad", 2), "L above bits"),
    ],
)
def test_bad_input_gets_one_sentence(call, said):
    with pytest.raises(ValueError, match=said) as error:
        call(drawn((32, 48), 2))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("n", [1, 2, 16, 128, 512])
def test_turning_is_hadamards_matrix(n):
    x = randn(4, 3, n)
    assert torch.allclose(turn(x), x @ hadamard(n), atol=1e-5)


@pytest.mark.parametrize("bits, code, dtype", [(2, "1mad", torch.float32), (3, "3inst", torch.bfloat16)])
def test_a_layer_takes_it_and_says_so(bits, code, dtype):
    q = by_trellis(0.05 * randn(5, 64, 128), torch.eye(128), bits, code, L=8)
    layer = QuantLinear(q, randn(6, 64), None, dtype).to(DEVICE, dtype)
    x = randn(7, 3, 128).to(DEVICE, dtype)
    w, bias = q.dequantize().double(), layer.bias.double().cpu()
    with dispatch.prefer("reference"):
        assert (layer(x), layer.ran)[1] == "reference, because it was asked for"
    # rotations keep lengths: x, ŵ and y are each rounded in the turned space, y and bias once more behind it
    unit = torch.finfo(dtype).eps
    most = 2 * unit * (w.norm() * x.double().cpu().norm(dim=1)[:, None] + bias.abs())
    with dispatch.prefer("kernels"):
        for some in (x, x[:1]):
            y = layer(some)
            assert layer.ran == "trellis" and y.dtype == dtype
            off = (y.double().cpu() - some.double().cpu() @ w.T - bias).abs()
            assert (off <= most[: len(some)]).all()
    held = sum(t.numel() * t.element_size() for name, t in layer.named_buffers())
    assert q.nbytes <= held <= 1.1 * q.nbytes + 64 + 128
    assert weights.same(layer.qtensor, q if DEVICE == "cpu" else weights.moved(q, DEVICE))


def test_one_bit_changes_what_the_layer_says():
    q = by_trellis(0.05 * randn(8, 16, 32), torch.eye(32), 2, L=8)
    layers = [QuantLinear(q).to(DEVICE)]
    flipped = q.packed.clone()
    flipped[1, 7] ^= 16
    layers.append(QuantLinear(type(q)(**(vars(q) | {"packed": flipped}))).to(DEVICE))
    with dispatch.prefer("kernels"):
        one, other = (layer(torch.ones(1, 32, device=DEVICE)) for layer in layers)
    assert not torch.equal(one, other)


def test_for_five_bits_there_is_none():
    q = by_trellis(0.05 * randn(9, 16, 16), torch.eye(16), 5, L=6)
    layer = QuantLinear(q).to(DEVICE)
    with dispatch.prefer("kernels"):
        layer(torch.ones(1, 16, device=DEVICE))
    assert layer.ran.startswith("reference, because code must be one of 1mad, 3inst, mcg, mul1, bits 1 to 4")


def test_what_chapter_15_says_of_the_recorded_counts():
    """On an H200 arithmetic takes longer than all of INT4 does; a card of a quarter its bandwidth has more to spend."""
    counted, ada = recorded.instructions("sm_90"), recorded.instructions("sm_89")
    int4 = max(counted["gemv-4"]["per_weight"] / recorded.ISSUE, 4.125 / 8 / recorded.COPY)
    for code in CODES:
        row = counted[f"trellis-{code}"]
        assert row["per_weight"] / recorded.ISSUE > max(int4, 3 * 2 / 8 / recorded.COPY)
        assert ada[f"trellis-{code}"]["per_weight"] < recorded.budget(2, 1.008e12, 128 * 128 * 2.52e9)
    assert recorded.COPY / 1.008e12 == pytest.approx(4, rel=0.1)
