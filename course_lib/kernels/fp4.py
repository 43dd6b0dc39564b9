"""y = x Wᵀ with W in MXFP4 or NVFP4 on a GPU that has no FP4 units: decode to 16 bits on the way, multiply as usual.

E2M1 has two exponent bits and one mantissa bit; placed where float16 keeps its own (and the sign at the top), they mean
the same number times 2⁻¹⁴, subnormal 0.5 included. So decoding is shifts and one multiplication, which the scale takes
along. MXFP4's scales are bytes of exponent: they are stored relative to their row's largest, so that a weight in
float16 neither overflows nor vanishes; NVFP4's are E4M3, and one float32 for the tensor goes into every row's factor.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from torch import Tensor

from course_lib.kernels import ON_GPU, digits, interpreter, packing  # noqa: F401  interpreter is mended by its import
from course_lib.kernels.digits import dot4, four_codes, number, quarters
from course_lib.qtensor import QTensor


@dataclass(frozen=True, eq=False)
class PackedFp4:
    """words (n, padded k/8) int32, as in `packing`; scale (n, blocks) uint8; row (n,) float32; shape (n, k)."""

    words: Tensor
    scale: Tensor
    row: Tensor
    shape: tuple[int, int]
    block: int  # 32: MXFP4, scales E8M0; 16: NVFP4, scales E4M3

    def to(self, device) -> PackedFp4:
        return PackedFp4(self.words.to(device), self.scale.to(device), self.row.to(device), self.shape, self.block)


def pack(q: QTensor) -> PackedFp4:
    """Pack an MXFP4 or NVFP4 QTensor (n, k); ValueError for another.

    >>> from course_lib.formats import microscaling
    >>> pack(microscaling.quantize(torch.randn(8, 64), "nvfp4")).words.shape
    torch.Size([8, 8])
    """
    known = {(1, 32): torch.float8_e8m0fnu, (1, 16): torch.float8_e4m3fn}
    if q.scheme.format != "e2m1" or known.get(q.scheme.block) != q.scheme.scale_dtype or len(q.shape) != 2:
        raise ValueError(f"q must be an MXFP4 or NVFP4 matrix, as microscaling.quantize makes them, got {q!r}")
    block = q.scheme.block[1]
    row = torch.ones(q.shape[0], device=q.codes.device)
    scale = q.scale.view(torch.uint8)
    if block == 32:
        top = scale.amax(1, keepdim=True).int()
        row = torch.ldexp(row, top[:, 0] - 127)
        scale = torch.where(scale == 255, scale.int(), (scale.int() - top + 127).clamp(min=0)).to(torch.uint8)
    row = row if q.tensor_scale is None else row * q.tensor_scale
    return PackedFp4(packing.pack_words(q.codes.int(), block), scale.contiguous(), row, tuple(q.shape), block)


@triton.jit
def scales(at, inside, MX: tl.constexpr):
    """The scale behind a byte: a power of two (E8M0, 255 being NaN) or E4M3."""
    if MX:
        s = tl.load(at, mask=inside, other=None if inside is None else 0).to(tl.int32)
        return tl.where(s == 255, float("nan"), (s << 23).to(tl.float32, bitcast=True))
    else:
        at = at.to(tl.pointer_type(tl.float8e4nv), bitcast=True)
        return tl.load(at, mask=inside, other=None if inside is None else 0.0).to(tl.float32)


@triton.jit
def two_words(l0, h0, l1, h1, a0, b0, a1, b1, c, ASM: tl.constexpr):
    """c + the products of sixteen codes with sixteen digits: low and high halves of two words."""
    return dot4(h1, b1, dot4(l1, a1, dot4(h0, b0, dot4(l0, a0, c, False, ASM), False, ASM), False, ASM), False, ASM)


@triton.jit
def gemv(x, xs, words, scale, row, y, n, k, across, W: tl.constexpr, MX: tl.constexpr, DIGITS: tl.constexpr,
         ASM: tl.constexpr, EVEN: tl.constexpr, BN: tl.constexpr, C: tl.constexpr):  # fmt: skip
    """x in digits (DIGITS, 2, across), `across` words of a row -> y (n,). A lane takes four words: 32 codes.

    Codes are looked up as 16 + 2·e2m1, without a sign, so 16·Σx goes off again; the ½ goes into the row's factor."""
    rows = tl.program_id(0) * BN + tl.arange(0, BN)
    four = tl.arange(0, 4)[None, None, :]
    blocks = across // W
    acc = tl.zeros((BN, C), tl.float32)
    none, one = tl.zeros((BN, C), tl.int32), tl.zeros((1, C), tl.int32)
    ones = tl.full((1, C), 0x01010101, tl.int32)
    for at in range(0, across, 4 * C):
        c = at // 4 + tl.arange(0, C)[None, :]
        place = 4 * c[:, :, None] + four
        inside = None if EVEN else (rows < n)[:, None, None] & (place < across)
        w = tl.load(words + rows[:, None, None] * across + place, mask=inside, other=None if EVEN else 0)
        w0, w1, w2, w3 = quarters(w, BN, C)
        l0, l1, l2, l3 = four_codes(w0, ASM), four_codes(w1, ASM), four_codes(w2, ASM), four_codes(w3, ASM)
        h0, h1 = four_codes(w0 >> 16, ASM), four_codes(w1 >> 16, ASM)
        h2, h3 = four_codes(w2 >> 16, ASM), four_codes(w3 >> 16, ASM)
        m0, m1, p0, p1 = none, none, none, none
        s0, s1, t0, t1 = one, one, one, one
        for i in tl.static_range(DIGITS):
            a = tl.load(x + 2 * i * across + place, mask=None if EVEN else place < across, other=None if EVEN else 0)
            b = tl.load(x + (2 * i + 1) * across + place, mask=None if EVEN else place < across,
                        other=None if EVEN else 0)  # fmt: skip
            a0, a1, a2, a3 = quarters(a, 1, C)
            b0, b1, b2, b3 = quarters(b, 1, C)
            if i < DIGITS - 1:
                m0 = two_words(l0, h0, l1, h1, a0, b0, a1, b1, m0 * 256, ASM)
                m1 = two_words(l2, h2, l3, h3, a2, b2, a3, b3, m1 * 256, ASM)
                s0 = two_words(ones, ones, ones, ones, a0, b0, a1, b1, s0 * 256, ASM)
                s1 = two_words(ones, ones, ones, ones, a2, b2, a3, b3, s1 * 256, ASM)
            else:
                p0 = two_words(l0, h0, l1, h1, a0, b0, a1, b1, p0, ASM)
                p1 = two_words(l2, h2, l3, h3, a2, b2, a3, b3, p1, ASM)
                t0 = two_words(ones, ones, ones, ones, a0, b0, a1, b1, t0, ASM)
                t1 = two_words(ones, ones, ones, ones, a2, b2, a3, b3, t1, ASM)
        first = number(m0, p0, DIGITS) - 16 * number(s0, t0, DIGITS)
        second = number(m1, p1, DIGITS) - 16 * number(s1, t1, DIGITS)
        v = tl.load(xs + c, mask=4 * c < across, other=0.0)
        if MX:
            known = None if EVEN else (rows < n)[:, None] & (c < blocks)
            acc += scales(scale + rows[:, None] * blocks + c, known, MX) * (v * (first + second))
        else:
            known = (rows < n)[:, None] & (2 * c < blocks)
            more = (rows < n)[:, None] & (2 * c + 1 < blocks)
            left = scales(scale + rows[:, None] * blocks + 2 * c, known, MX)
            right = scales(scale + rows[:, None] * blocks + 2 * c + 1, more, MX)
            acc += v * (left * first + right * second)
    total = tl.sum(acc, axis=1) * tl.load(row + rows, mask=rows < n, other=0.0) * 0.5
    tl.store(y + rows, total.to(y.dtype.element_ty), mask=rows < n)


@triton.jit
def arrange(x, out, k, across, W: tl.constexpr, BC: tl.constexpr):
    """x (m, k) -> out (m, 8, across): for each nibble of a word the columns that meet it, side by side; 0 after k."""
    c = tl.program_id(1) * BC + tl.arange(0, BC)
    for j in tl.static_range(8):
        column = c // W * (8 * W) + j * W + c % W
        v = tl.load(x + tl.program_id(0) * k + column, mask=column < k, other=0.0)
        tl.store(out + (tl.program_id(0) * 8 + j) * across + c, v, mask=c < across)


@triton.jit
def gemm(x, words, scale, row, y, m, n, across, W: tl.constexpr, MX: tl.constexpr, EVEN: tl.constexpr,
         BM: tl.constexpr, BN: tl.constexpr, TW: tl.constexpr):  # fmt: skip
    """x as arranged (m, 8, across), words (n, across) -> y (m, n); TW words of a row at a time.

    E2M1's bits, placed where the 16-bit type has its own, are the number times 2⁻¹⁴ (float16) or 2⁻¹²⁶ (bfloat16):
    the scale brings the power of two with it, as far as it fits beside E4M3's 448; a row's factor has the rest."""
    kind: tl.constexpr = x.dtype.element_ty
    BF: tl.constexpr = kind == tl.bfloat16
    UP: tl.constexpr = 6 if BF else 9  # where the lowest of the three bits goes
    tokens = tl.program_id(0) * BM + tl.arange(0, BM)
    rows = tl.program_id(1) * BN + tl.arange(0, BN)
    blocks = across // W
    c = tl.arange(0, TW)
    acc = tl.zeros((BM, BN), tl.float32)
    for at in range(0, across, TW):
        place = at + c
        inside = None if EVEN else (rows < n)[:, None] & (place < across)[None, :]
        w = tl.load(words + rows[:, None] * across + place[None, :], mask=inside, other=None if EVEN else 0)
        s = scales(scale + rows[:, None] * blocks + place[None, :] // W, inside, MX)
        s = s * 2.0 ** (117 if BF else 14 if MX else 5)
        s = s if kind == tl.float32 else s.to(kind)
        for j in tl.static_range(8):
            known = None if EVEN else (tokens < m)[:, None] & (place < across)[None, :]
            v = tl.load(x + (tokens[:, None] * 8 + j) * across + place[None, :], mask=known,
                        other=None if EVEN else 0.0)  # fmt: skip
            sign = w << (12 - 4 * j) if j < 3 else w >> (4 * j - 12)
            size = w << (UP - 4 * j) if 4 * j < UP else w >> (4 * j - UP)
            u = ((sign & 0x8000) | (size & (7 << UP))).to(tl.int16)
            if BF:
                u = u.to(tl.bfloat16, bitcast=True) * s
            else:
                u = u.to(tl.float16, bitcast=True).to(kind) * s
            acc = tl.dot(v, u.T, acc, input_precision="ieee")
    acc *= tl.load(row + rows, mask=rows < n, other=0.0)[None, :] * (2.0**9 if BF or not MX else 1.0)
    inside = (tokens < m)[:, None] & (rows < n)[None, :]
    tl.store(y + tokens[:, None] * n + rows[None, :], acc.to(y.dtype.element_ty), mask=inside)


GEMM = {16: (16, 64, 32, 4, 3), 1 << 30: (64, 128, 32, 8, 3)}  # tokens up to: BM, BN, TW, warps, stages


def linear(x: Tensor, packed: PackedFp4) -> Tensor:
    """y (..., n) = x (..., k) · W_hatᵀ in x's dtype: the GEMV kernel for one token, the GEMM for more.

    ValueError where x's columns, dtype or device do not match.
    """
    n, k = packed.shape
    if x.dim() == 0 or x.shape[-1] != k or not x.dtype.is_floating_point or x.device != packed.words.device:
        raise ValueError(
            f"x must be (..., {k}) floats on {packed.words.device}, got {x.dtype} {tuple(x.shape)} on {x.device}"
        )
    flat = x.reshape(-1, k).contiguous()
    m, across, y = len(flat), packed.words.shape[1], x.new_empty((flat.shape[0], n))
    layout = {"W": packed.block // 8, "MX": packed.block == 32}
    parts = (packed.words, packed.scale, packed.row, y)
    if m == 1:
        codes, scale = digits.of(flat[0], across, packed.block // 8)
        tile = {"BN": 8, "C": 32, "num_warps": 1} if ON_GPU else {"BN": 128, "C": 64}
        even = n % tile["BN"] == 0 and across % (4 * tile["C"]) == 0
        gemv[(-(-n // tile["BN"]),)](codes.view(torch.int32), scale, *parts, n, k, across, **layout, EVEN=even,
                                     DIGITS=len(codes), ASM=digits.ASM, **tile)  # fmt: skip
    elif m:
        arranged = x.new_empty((m, 8, across))
        arrange[(m, -(-across // 1024))](flat, arranged, k, across, W=layout["W"], BC=1024)
        names = ("BM", "BN", "TW", "num_warps", "num_stages")
        tile = dict(zip(names, GEMM[min(most for most in GEMM if m <= most)], strict=True))
        tile = tile if ON_GPU else {"BM": 64, "BN": 256, "TW": 16}
        even = m % tile["BM"] == 0 and n % tile["BN"] == 0 and across % tile["TW"] == 0
        gemm[(-(-m // tile["BM"]), -(-n // tile["BN"]))](arranged, *parts, m, n, across, **layout, EVEN=even, **tile)
    return y.reshape(*x.shape[:-1], n)
