"""y = W x for one token, straight from the bytes of a GGUF file: Q4_0, Q8_0, Q4_K and Q6_K.

Nothing is repacked. Codes stay whole numbers and x becomes whole numbers (`digits`): four codes of a word meet four
digits in one instruction, and only a word's or a sub-block's sum becomes a float, times the scale of both. A block of
Q4_K is 144 bytes, nine times 16, and is read 16 bytes at a time; those of the others begin at any even byte, so that
their words are put together from two halves. Field names are ggml's, as in `course_lib.formats.ggml`.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from course_lib.kernels import ON_GPU, digits, interpreter  # noqa: F401  interpreter is mended by its import
from course_lib.kernels.digits import dot4, number, quarters
from course_lib.kernels.measure.tune import quickest
from course_lib.kernels.pieces import fits

BLOCKS = {"Q4_0": (32, 18), "Q8_0": (32, 34), "Q4_K": (256, 144), "Q6_K": (256, 210)}  # elements, bytes


@triton.jit
def half(bits):
    """The float16 whose bits are the low 16 of `bits`, in float32."""
    return bits.to(tl.int16).to(tl.float16, bitcast=True).to(tl.float32)


@triton.jit
def word(at, inside):
    """32 bits from two halves."""
    low = tl.load(at, mask=inside, other=0).to(tl.int32) & 0xFFFF
    return low | (tl.load(at + 1, mask=inside, other=0).to(tl.int32) << 16)


@triton.jit
def against(q, x, column, known, k, DIGITS: tl.constexpr, SIGNED: tl.constexpr, ASM: tl.constexpr):
    """(q · x of a word's four codes, Σ of the four x), in float32 and in units of x's scale."""
    most = tl.zeros(q.shape, tl.int32)
    part = tl.zeros(q.shape, tl.int32)
    high = tl.zeros(column.shape, tl.int32)
    low = tl.zeros(column.shape, tl.int32)
    ones = tl.full(column.shape, 0x01010101, tl.int32)
    for i in tl.static_range(DIGITS):
        v = tl.load(x + (i * k + column) // 4, mask=known, other=0)
        if i < DIGITS - 1:
            most, high = dot4(q, v, most * 256, SIGNED, ASM), dot4(ones, v, high * 256, SIGNED, ASM)
        else:
            part, low = dot4(q, v, part, SIGNED, ASM), dot4(ones, v, low, SIGNED, ASM)
    return number(most, part, DIGITS), number(high, low, DIGITS)


@triton.jit
def q4_0(x, scale, blocks, y, n, k, DIGITS: tl.constexpr, ASM: tl.constexpr, BN: tl.constexpr, BB: tl.constexpr,
         STAGES: tl.constexpr):  # fmt: skip
    """18 bytes: d, then qs[16]; byte j holds weight j in its low nibble and weight j + 16 in its high one, less 8."""
    rows = tl.program_id(0) * BN + tl.arange(0, BN)
    count = k // 32
    c = tl.arange(0, BB * 4)[None, :]  # words of qs
    acc = tl.zeros((BN, BB * 4), tl.float32)
    for b in tl.range(0, count, BB, num_stages=STAGES):
        block = b + c // 4
        known = block < count
        inside = (rows < n)[:, None] & known
        at = blocks + rows[:, None] * (count * 9) + block * 9
        d = half(tl.load(at, mask=inside, other=0))
        qs = word(at + 1 + 2 * (c % 4), inside)
        s = tl.load(scale + block, mask=known, other=0.0)
        column = block * 32 + 4 * (c % 4)
        low, total = against(qs & 0x0F0F0F0F, x, column, known, k, DIGITS, False, ASM)
        high, more = against((qs >> 4) & 0x0F0F0F0F, x, column + 16, known, k, DIGITS, False, ASM)
        acc += d * (s * (low + high - 8 * (total + more)))
    tl.store(y + rows, tl.sum(acc, axis=1).to(y.dtype.element_ty), mask=rows < n)


@triton.jit
def q8_0(x, scale, blocks, y, n, k, DIGITS: tl.constexpr, ASM: tl.constexpr, BN: tl.constexpr, BB: tl.constexpr,
         STAGES: tl.constexpr):  # fmt: skip
    """34 bytes: d, then qs[32], int8."""
    rows = tl.program_id(0) * BN + tl.arange(0, BN)
    count = k // 32
    c = tl.arange(0, BB * 8)[None, :]
    acc = tl.zeros((BN, BB * 8), tl.float32)
    for b in tl.range(0, count, BB, num_stages=STAGES):
        block = b + c // 8
        known = block < count
        inside = (rows < n)[:, None] & known
        at = blocks + rows[:, None] * (count * 17) + block * 17
        d = half(tl.load(at, mask=inside, other=0))
        s = tl.load(scale + block, mask=known, other=0.0)
        qs = word(at + 1 + 2 * (c % 8), inside)
        product, _ = against(qs, x, block * 32 + 4 * (c % 8), known, k, DIGITS, True, ASM)
        acc += d * (s * product)
    tl.store(y + rows, tl.sum(acc, axis=1).to(y.dtype.element_ty), mask=rows < n)


@triton.jit
def sixteen(qs, shift, x, column, known, k, DIGITS: tl.constexpr, ASM: tl.constexpr,
            BN: tl.constexpr, C: tl.constexpr):  # fmt: skip
    """q · x of the nibbles at `shift` of four words (BN, C, 4), which follow each other in x, too."""
    q0, q1, q2, q3 = quarters((qs >> shift) & 0x0F0F0F0F, BN, C)
    most, part = tl.zeros((BN, C), tl.int32), tl.zeros((BN, C), tl.int32)
    for i in tl.static_range(DIGITS):
        at = x + (i * k + column) // 4
        v = tl.load(at[:, :, None] + tl.arange(0, 4)[None, None, :], mask=known[:, :, None], other=0)
        v0, v1, v2, v3 = quarters(v, 1, C)
        if i < DIGITS - 1:
            most = dot4(q1, v1, dot4(q0, v0, most * 256, False, ASM), False, ASM)
            most = dot4(q3, v3, dot4(q2, v2, most, False, ASM), False, ASM)
        else:
            part = dot4(q1, v1, dot4(q0, v0, part, False, ASM), False, ASM)
            part = dot4(q3, v3, dot4(q2, v2, part, False, ASM), False, ASM)
    return number(most, part, DIGITS)


@triton.jit
def q4_k(x, scale, sums, blocks, y, n, k, DIGITS: tl.constexpr, ASM: tl.constexpr, BN: tl.constexpr, BB: tl.constexpr,
         STAGES: tl.constexpr):  # fmt: skip
    """144 bytes: d, dmin, scales[12], qs[128]; weight = d·scale·q − dmin·min, 32 weights a sub-block.

    A lane takes 16 bytes of qs: 16 weights of sub-block 2g, and 16 of 2g + 1, whose scales and mins are neighbours in
    `scales` (ggml's get_scale_min_k4: those of the last four sub-blocks are in two pieces)."""
    C: tl.constexpr = BB * 8
    rows = tl.program_id(0) * BN + tl.arange(0, BN)
    count = k // 256
    c = tl.arange(0, C)[None, :]
    four = tl.arange(0, 4)[None, None, :]
    g = c % 8 // 2
    acc = tl.zeros((BN, C), tl.float32)
    for b in tl.range(0, count, BB, num_stages=STAGES):
        block = b + c // 8
        known = block < count
        inside = ((rows < n)[:, None] & known)[:, :, None]
        at = (blocks + rows[:, None] * (count * 36) + block * 36)[:, :, None] + four
        head, s0, s1, s2 = quarters(tl.load(at, mask=inside, other=0), BN, C)
        qs = tl.load(at + (4 + 4 * (c % 8))[:, :, None], mask=inside, other=0)
        s0, s1, s2 = s0 >> (16 * (g % 2)), s1 >> (16 * (g % 2)), s2 >> (16 * (g % 2))
        scales = tl.where(g < 2, s0 & 0x3F3F, (s2 & 0x0F0F) | ((s0 >> 2) & 0x3030))
        mins = tl.where(g < 2, s1 & 0x3F3F, ((s2 >> 4) & 0x0F0F) | ((s1 >> 2) & 0x3030))
        plus, minus = tl.zeros((BN, C), tl.float32), tl.zeros((BN, C), tl.float32)
        for i in tl.static_range(2):
            column = block * 256 + g * 64 + i * 32 + c % 2 * 16
            s = tl.load(scale + block * 8 + g * 2 + i, mask=known, other=0.0)
            total = tl.load(sums + column // 16, mask=known, other=0.0)
            product = sixteen(qs, 4 * i, x, column, known, k, DIGITS, ASM, BN, C)
            plus += ((scales >> (8 * i)) & 63).to(tl.float32) * (s * product)
            minus += ((mins >> (8 * i)) & 63).to(tl.float32) * total
        acc += half(head) * plus - half(head >> 16) * minus
    tl.store(y + rows, tl.sum(acc, axis=1).to(y.dtype.element_ty), mask=rows < n)


@triton.jit
def q6_k(x, scale, blocks, scales, y, n, k, DIGITS: tl.constexpr, ASM: tl.constexpr,
         BN: tl.constexpr, BB: tl.constexpr, STAGES: tl.constexpr):  # fmt: skip
    """210 bytes: ql[128], qh[64], scales[16], d; six bits a weight, −32…31, 16 weights a scale."""
    rows = tl.program_id(0) * BN + tl.arange(0, BN)
    count = k // 256
    c = tl.arange(0, BB * 16)[None, :]  # words of qh: 8 for each half of 128 weights
    part, w = c % 16 // 8, c % 8
    acc = tl.zeros((BN, BB * 16), tl.float32)
    for b in tl.range(0, count, BB, num_stages=STAGES):
        block = b + c // 16
        known = block < count
        inside = (rows < n)[:, None] & known
        at = blocks + rows[:, None] * (count * 105) + block * 105
        d = half(tl.load(at + 104, mask=inside, other=0))
        qh = word(at + 64 + 16 * part + 2 * w, inside)
        ql0, ql1 = word(at + 32 * part + 2 * w, inside), word(at + 32 * part + 16 + 2 * w, inside)
        table = scales + rows[:, None] * (count * 210) + block * 210 + 192 + 8 * part + w // 4
        sums = tl.zeros((BN, BB * 16), tl.float32)
        for g in tl.static_range(4):  # weights 4w + 32g of a half: low bits from ql0, ql1, ql0 >> 4, ql1 >> 4
            low = (ql0 if g % 2 == 0 else ql1) >> (4 * (g // 2))
            high = qh << (4 - 2 * g) if g < 2 else qh >> (2 * g - 4)
            column = block * 256 + 128 * part + 32 * g + 4 * w
            q = (low & 0x0F0F0F0F) | (high & 0x30303030)
            product, total = against(q, x, column, known, k, DIGITS, False, ASM)
            s = tl.load(scale + column // 32, mask=known, other=0.0)
            sub = tl.load(table + 2 * g, mask=inside, other=0).to(tl.float32)
            sums += sub * (s * (product - 32 * total))
        acc += d * sums
    tl.store(y + rows, tl.sum(acc, axis=1).to(y.dtype.element_ty), mask=rows < n)


TILES = {  # rows and blocks of a program, warps, stages: the quickest on the GPU that is here
    "Q4_0": [(2, 16, 1, 1), (1, 32, 2, 1), (1, 16, 1, 1)],
    "Q8_0": [(2, 8, 1, 1), (1, 16, 2, 1), (1, 8, 1, 1)],
    "Q4_K": [(1, 16, 4, 1), (1, 8, 2, 1), (1, 4, 1, 1), (1, 8, 1, 1)],
    "Q6_K": [(2, 4, 1, 1), (1, 4, 1, 1), (1, 8, 4, 1)],
}


def gemv(x: Tensor, blocks: Tensor, kind: str) -> Tensor:
    """y (n,) = dequantize(blocks) · x, for blocks (n, row_bytes) uint8 as a GGUF file holds them and x (k,).

    kind: Q4_0, Q8_0, Q4_K or Q6_K. ValueError for another, or where the row is not k elements long.

    >>> import numpy as np
    >>> from course_lib.formats import ggml as formats
    >>> w = np.random.default_rng(0).standard_normal((4, 256), dtype=np.float32)
    >>> blocks = formats.quantize(w, "Q4_K")
    >>> y = gemv(torch.ones(256), torch.from_numpy(blocks), "Q4_K")
    >>> np.allclose(y, formats.dequantize(blocks, "Q4_K").sum(1), atol=1e-4)
    True
    """
    check(x, blocks, kind)
    n, k = len(blocks), len(x)
    y = x.new_empty(n)
    bytes_, scale, sums = digits.of(x)
    words = blocks.view(torch.int32 if kind == "Q4_K" else torch.int16)
    parts = {"Q4_K": (sums, words, y), "Q6_K": (words, blocks.view(torch.int8), y)}.get(kind, (words, y))
    kernel = {"Q4_0": q4_0, "Q8_0": q8_0, "Q4_K": q4_k, "Q6_K": q6_k}[kind]

    def run(tile: dict) -> None:
        kernel[(-(-n // tile["BN"]),)](bytes_.view(torch.int32), scale, *parts, n, k, DIGITS=len(bytes_),
                                       ASM=digits.ASM, **tile)  # fmt: skip

    choices = [dict(zip(("BN", "BB", "num_warps", "STAGES"), tile, strict=True)) for tile in TILES[kind]]
    run(quickest((kind, n, k, x.dtype), choices, run) if ON_GPU else choices[0] | {"BN": 128})
    return y


def check(x: Tensor, blocks: Tensor, kind: str) -> None:
    if kind not in BLOCKS:
        raise ValueError(f"kind must be one of {', '.join(BLOCKS)}, got {kind!r}")
    elements, size = BLOCKS[kind]
    fits("blocks", blocks.shape)
    if blocks.dtype != torch.uint8 or blocks.dim() != 2 or not blocks.is_contiguous() or blocks.shape[1] % size:
        raise ValueError(f"blocks must be contiguous uint8 (rows, a multiple of {size} bytes) for {kind}, "
                         f"got {blocks.dtype} {tuple(blocks.shape)}")  # fmt: skip
    k = blocks.shape[1] // size * elements
    if x.dim() != 1 or len(x) != k or not x.dtype.is_floating_point or x.device != blocks.device:
        raise ValueError(f"x must be {k} floats on {blocks.device}, got {x.dtype} {tuple(x.shape)} on {x.device}")
