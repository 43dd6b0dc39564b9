"""One token times int4 or E4M3 weights: as float64 has it, lane by lane, and a step of them as torch multiplies."""

import re

import ml_dtypes
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from course_lib import Scheme, quantize
from course_lib.kernels import digits, lane_kernel, lanes, packing
from course_lib.kernels.decoder import Decoder, Full, Layer, Shape
from course_lib.kernels.interpreter import ptx
from course_lib.kernels.measure import decode_models
from course_lib.kernels.measure.decode_models import DEVICE

SHAPE = Shape(hidden=128, layers=2, heads=4, kv_heads=1, width=32, inner=128, vocabulary=256)


def weight_of(kind: str, n: int, k: int):
    """(weight, its values): int4 in groups of 128 or in one, short runs or long; or E4M3."""
    if kind == "e4m3":
        w = decode_models.matrix("fp8", n, k)[0].w
        w.scale.copy_(torch.rand(n, 1) / 64)
        return w, w.codes.double() * w.scale
    group, run = {"g128": (128, 32), "channel": (None, 64)}[kind]
    packed = packing.pack(quantize(torch.randn(n, k, device=DEVICE), Scheme.int(4, group=group)), torch.float32, run)
    return packed, packing.unpack(packed).double()


# A tile of None: as it is launched by default. Programs that stay make four sets of rows each, or eight; or one each
STAYS = [(32, 256, None), (20, 384, None), (64, 1024, (2, 8, 2, 2, 1, 0, 128)), (64, 1024, (2, 8, 4, 2, 1, 1, 0)),
         (20, 384, (2, 8, 4, 2, 1, 1, 0))]  # fmt: skip


@pytest.mark.parametrize("n, k, tile", STAYS)
@pytest.mark.parametrize("kind", ["g128", "channel", "e4m3"])
def test_it_multiplies_norms_gates_and_adds_as_float64_does(kind, n, k, tile, monkeypatch):
    if tile:
        monkeypatch.setattr(lanes, "TILE", lanes.named(tile))
        monkeypatch.setattr(lanes, "multiprocessors", lambda device: 1)
    torch.manual_seed(n)
    dtype = torch.bfloat16 if digits.ASM else torch.float32
    embedding, g, after, y = (torch.randn(*s, device=DEVICE).to(dtype) for s in ((3, k), (k,), (n,), (1, n)))
    x, normal = lanes.start(torch.tensor([2], device=DEVICE), embedding, g, 1e-5)
    assert torch.equal(x[0], embedding[2]) and torch.equal(normal.h, x * g)
    w, values = weight_of(kind, 2 * n, k)
    h = normal.h.double() / (x.double().square().mean() + 1e-5).sqrt()
    gates, up = (h @ values.T).chunk(2, 1)
    close(lanes.products(normal, w, gated=True), F.silu(gates) * up)
    close(lanes.products(normal, w), h @ values.T)
    w, values = weight_of(kind, n, k)
    wanted = y.double() + x.double() @ values.T
    made = lanes.products(x, w, add=y, norm=after, eps=1e-5)
    close(y, wanted)
    assert torch.equal(made.h, y * after) and made.eps == 1e-5
    torch.testing.assert_close(made.squares.sum(), y.float().square().sum())
    with pytest.raises(ValueError, match=r"x must be \(1, "):
        lanes.products(x[:, :-1], w)


def test_on_a_gpu_tokens_are_in_bfloat16(monkeypatch):
    monkeypatch.setattr(digits, "ASM", True)
    w, _ = weight_of("g128", 16, 256)
    with pytest.raises(ValueError, match="x must be bfloat16 on a GPU, got torch.float16"):
        lanes.products(torch.randn(1, 256, device=DEVICE).half(), w)


def close(got, wanted):
    unit = 4 * torch.finfo(got.dtype).eps
    torch.testing.assert_close(got.double(), wanted, atol=unit * wanted.abs().max().item(), rtol=0)


@pytest.mark.parametrize("kind", ["w4a16", "fp8"])
def test_a_step_is_the_step_over_the_decoded_weights(kind, monkeypatch):
    torch.manual_seed(0)
    model, _ = decode_models.model(kind, SHAPE)
    decode_models.fill(model, 1, 64, False)
    tokens, called = torch.full((1,), 7, device=DEVICE), []

    def full(linear):
        w = linear.w
        values = packing.unpack(w) if kind == "w4a16" else w.codes.float() * w.scale
        return Full(values.bfloat16())

    layers = [Layer(part.norm, full(part.qkv), full(part.o), part.after, full(part.gate_up), full(part.down))
              for part in model.layers]  # fmt: skip
    known = Decoder(SHAPE, layers, model.embedding, model.norm, model.head)
    known.hold(model.caches, model.positions, 64)
    wanted = known.step(tokens).float()
    monkeypatch.setattr(lanes, "start", lambda *args, start=lanes.start: called.append(args) or start(*args))
    got = model.step(tokens).float()
    assert len(called) == 1
    assert (got - wanted).abs().max() < 0.03 * wanted.abs().max()  # bfloat16 keeps 8 bits


def test_weights_that_do_not_fit_are_left_to_other_kernels():
    def packed(**more):
        return packing.pack(quantize(torch.randn(16, 256), Scheme.int(4, **more)))

    assert lanes.fits(packed(group=128)) and lanes.fits(packed(group=None))
    assert not lanes.fits(packed(group=32)) and not lanes.fits(packed(group=128, symmetric=False))


@pytest.mark.parametrize("kind", ["g128", "e4m3"])
@pytest.mark.parametrize("programs", [1, 3, 4, 8, 64, 228, 256])
def test_nothing_is_asked_for_beyond_a_weights_end(kind, programs):
    w, _ = weight_of(kind, 64, 512)
    for gated in (False, True):
        stride, each, size = lanes.share(w, gated, programs)
        last = max(program // each * stride + program % each * size + size for program in range(programs))
        assert last <= lanes.words(w).nbytes and size % 16 == 0 and stride % 16 == 0


@pytest.mark.parametrize("bits", [4, 8])
def test_every_lane_of_a_row_gets_its_sum(bits):
    """32 lanes, with the fragments of PTX's mma.m16n8k16: lane 4·r + q holds words of rows r and r + 8."""
    rng = np.random.default_rng(bits)
    count = 2 if bits == 4 else 1  # words of a row that a lane brings
    rows = rng.integers(0, 256, (16, 4, count, 4), dtype=np.uint8)  # rows, q, words, bytes
    rows = np.where((rows & 127) == 127, rows - 1, rows) if bits == 8 else rows
    columns = 8 if bits == 4 else 4  # of a word
    x = rng.standard_normal((4, count, columns)).astype(ml_dtypes.bfloat16)
    if bits == 4:  # nibbles j and j + 4 are neighbours, and x comes in pairs
        nibble = rows.view(np.uint32) >> (4 * np.arange(8, dtype=np.uint32)) & 15
        values = nibble.astype(np.float64)[..., [0, 4, 1, 5, 2, 6, 3, 7]] - 8
    else:
        values = rows.view(ml_dtypes.float8_e4m3fn).astype(np.float64)
    exact = np.einsum("rqwc,qwc->r", values, x.astype(np.float64))
    lanes = np.arange(32)
    low, high = (rows.view(np.uint32)[lanes // 4 + up, lanes % 4, :, 0].T for up in (0, 8))
    pairs = np.ascontiguousarray(x[lanes % 4]).view(np.uint32)  # (lanes, words, pairs)
    if bits == 4:
        words = [*low, *high, *(pairs[:, i, j] for j in range(4) for i in range(2))]
    else:
        words = [*low, *high, (pairs[:, 0, 0], pairs[:, 0, 1])]
    outs = warp((lane_kernel.INT4 if bits == 4 else lane_kernel.E4M3).value, words, 4 if bits == 4 else 2)
    got = [np.sum(outs[:2], 0), np.sum(outs[2:], 0)] if bits == 4 else outs
    for found, wanted in zip(got, (exact[:8], exact[8:]), strict=True):
        np.testing.assert_allclose(found.reshape(8, 4), wanted[:, None].repeat(4, 1), rtol=1e-5)


def warp(text: str, words: list, outputs: int) -> list[np.ndarray]:
    """Run a text over the registers of 32 lanes; what it writes, as float32."""
    known = {f"${outputs + i}": word for i, word in enumerate(words)}
    for line in text.strip("{} ").split(";"):
        name, _, rest = line.strip().partition(" ")
        if name in ("", ".reg"):
            continue
        if name.startswith("mma"):
            d, a, b, c = ([w.strip() for w in group.split(",")] for group in re.findall(r"{(.*?)}", rest))
            known |= dict(zip(d, product(*([known[w] for w in group] for group in (a, b, c))), strict=True))
        elif name == "mov.b64":
            first, second, source = re.findall(r"[\w$]+", rest)
            known[first], known[second] = known[source]
        else:
            target, *operands = [word.strip() for word in rest.replace("0f00000000", "0").split(",")]
            name = "mov.b32" if name == "mov.f32" else name
            known[target] = ptx.operation(name)(*(ptx.value(word, known, 32) for word in operands))
    return [known[f"${i}"].view(np.float32) for i in range(outputs)]


def product(a: list, b: list, c: list) -> list[np.ndarray]:
    """mma.m16n8k16 as PTX's manual lays its fragments out over lanes 4·g + q."""
    lane = np.arange(32)
    g, q, left, right = lane // 4, lane % 4, np.zeros((16, 16)), np.zeros((16, 8))
    for i, register in enumerate(a):
        pair = np.ascontiguousarray(register).view(ml_dtypes.bfloat16).reshape(32, 2).astype(np.float64)
        for half in (0, 1):
            left[g + 8 * (i % 2), 2 * q + half + 8 * (i // 2)] = pair[:, half]
    for i, register in enumerate(b):
        pair = np.ascontiguousarray(register).view(ml_dtypes.bfloat16).reshape(32, 2).astype(np.float64)
        for half in (0, 1):
            right[2 * q + half + 8 * i, g] = pair[:, half]
    made = left @ right
    found = [made[g + 8 * (i // 2), 2 * q + i % 2] + c[i].view(np.float32) for i in range(4)]
    return [f.astype(np.float32).view(np.uint32) for f in found]
