"""y = x Wᵀ for several tokens, W in int4: nibble j of some words is a tile of weights as it lies.

A (words, rows) tile is unpacked eight times, each time into the operand of one small matrix product. An int4 code
becomes a 16-bit float without a conversion: 0x6400 | q are the bits of 1024 + q in float16; bfloat16 has 7 mantissa
bits, and 0x4300 | q is 128 + q there. Subtracting 1024 + z is exact. A matrix instruction wants 16 columns at least. So
from groups of 128 on, products are summed over a block and scaled once; smaller groups lie several to a tile, and there
each weight takes its scale before the product, rounded to x's dtype as a 16-bit weight would be.
"""

from __future__ import annotations

import triton
import triton.language as tl

from course_lib.kernels import ON_GPU, interpreter, w4a16  # noqa: F401  interpreter is mended by its import


@triton.jit
def to_float(w, j: tl.constexpr, z, dtype: tl.constexpr):
    """Nibble j of each word, less z, in dtype; exact."""
    q = (w >> (4 * j)) & 15
    if dtype == tl.float16:
        return (q | 0x6400).to(tl.int16).to(tl.float16, bitcast=True) - (1024 + z).to(tl.float16)
    elif dtype == tl.bfloat16:
        return (q | 0x4300).to(tl.int16).to(tl.bfloat16, bitcast=True) - (128 + z).to(tl.bfloat16)
    else:
        return q.to(tl.float32) - z


@triton.jit
def gemm(x, words, scale, zero, y, m, n, k, W: tl.constexpr, GB: tl.constexpr, HAS_ZERO: tl.constexpr,
         BM: tl.constexpr, BN: tl.constexpr, TW: tl.constexpr):  # fmt: skip
    """x (m, k), words (n, blocks·W), scale and zero (n, groups) -> y (m, n); TW words of a row at a time."""
    tokens = tl.program_id(0) * BM + tl.arange(0, BM)
    rows = tl.program_id(1) * BN + tl.arange(0, BN)
    blocks = tl.cdiv(k, 8 * W)
    groups = tl.cdiv(blocks, GB)
    c = tl.arange(0, TW)
    acc = tl.zeros((BM, BN), tl.float32)
    for b in range(0, blocks, TW // W):
        block = b + c // W
        inside = (block < blocks)[:, None] & (rows < n)[None, :]
        w = tl.load(words + rows[None, :] * (blocks * W) + b * W + c[:, None], mask=inside, other=0)
        at = rows[None, :] * groups + (block // GB)[:, None]  # (TW, BN), or one row of it where all share a scale
        if TW == W:
            at, inside = rows[None, :] * groups + b // GB, (rows < n)[None, :]
        s = tl.load(scale + at, mask=inside, other=0.0).to(tl.float32)
        z = tl.load(zero + at, mask=inside, other=0.0) if HAS_ZERO else 8.0
        part = tl.zeros((BM, BN), tl.float32)
        for j in tl.static_range(8):
            column = block * (8 * W) + j * W + c % W
            known = (tokens < m)[:, None] & (column < k)[None, :]
            v = tl.load(x + tokens[:, None] * k + column[None, :], mask=known, other=0.0)
            u = to_float(w, j, z, x.dtype.element_ty)
            if TW > W:
                u = (u * s).to(x.dtype.element_ty)
            part = tl.dot(v, u, part, input_precision="ieee")
        acc += part * s if TW == W else part
    inside = (tokens < m)[:, None] & (rows < n)[None, :]
    tl.store(y + tokens[:, None] * n + rows[None, :], acc.to(y.dtype.element_ty), mask=inside)


def run(x, packed):
    """x (m, k) contiguous -> y (m, n)."""
    m, (n, k) = len(x), packed.shape
    layout = w4a16.arguments(packed)
    tile = {"BM": 16 if m <= 16 else 32 if m <= 32 else 64, "BN": 64} if ON_GPU else {"BM": 64, "BN": 256}
    y = x.new_empty((m, n))
    zero = packed.scale if packed.zero is None else packed.zero
    grid = (-(-m // tile["BM"]), -(-n // tile["BN"]))
    gemm[grid](x, packed.words, packed.scale, zero, y, m, n, k, **layout, **tile, TW=max(16, layout["W"]))
    return y
