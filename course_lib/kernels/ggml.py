"""y = W x for one token, straight from the bytes of a GGUF file: Q4_0, Q8_0, Q4_K and Q6_K.

Nothing is repacked: a kernel reads a row's blocks as 16-bit words (a block of Q4_0 is 18 bytes, so 32-bit words would
not be aligned) or, where blocks allow it (Q4_K: 144 bytes), as 32-bit words. One word of codes is one lane of a tile,
with the scale of its sub-block beside it. Field names are ggml's, as in `course_lib.formats.ggml`.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from course_lib.kernels import ON_GPU, interpreter  # noqa: F401  interpreter is mended by its import

BLOCKS = {"Q4_0": (32, 18), "Q8_0": (32, 34), "Q4_K": (256, 144), "Q6_K": (256, 210)}  # elements, bytes


@triton.jit
def half(bits):
    """The float16 whose bits are the low 16 of `bits`, in float32."""
    return bits.to(tl.int16).to(tl.float16, bitcast=True).to(tl.float32)


@triton.jit
def q4_0(x, blocks, y, n, k, BN: tl.constexpr, BB: tl.constexpr):
    """18 bytes: d, then qs[16]; byte j holds weight j in its low nibble and weight j + 16 in its high one, less 8."""
    rows = tl.program_id(0) * BN + tl.arange(0, BN)
    count = k // 32
    c = tl.arange(0, BB * 8)  # 8 words of 2 bytes a block
    acc = tl.zeros((BN, BB * 8), tl.float32)
    for b in range(0, count, BB):
        block = b + c // 8
        inside = (rows < n)[:, None] & (block < count)[None, :]
        at = blocks + rows[:, None] * (count * 9) + (block * 9)[None, :]
        d = half(tl.load(at, mask=inside, other=0))
        qs = tl.load(at + 1 + (c % 8)[None, :], mask=inside, other=0)
        part = tl.zeros((BN, BB * 8), tl.float32)
        for i in tl.static_range(4):  # nibbles: weights 2c, 2c + 16, 2c + 1, 2c + 17 of the block
            column = block * 32 + 2 * (c % 8) + i // 2 + 16 * (i % 2)
            v = tl.load(x + column, mask=block < count, other=0.0).to(tl.float32)
            part += (((qs >> (4 * i)) & 15) - 8).to(tl.float32) * v[None, :]
        acc += d * part
    tl.store(y + rows, tl.sum(acc, axis=1).to(y.dtype.element_ty), mask=rows < n)


@triton.jit
def q8_0(x, blocks, y, n, k, BN: tl.constexpr, BB: tl.constexpr):
    """34 bytes: d, then qs[32], int8."""
    rows = tl.program_id(0) * BN + tl.arange(0, BN)
    count = k // 32
    c = tl.arange(0, BB * 16)
    acc = tl.zeros((BN, BB * 16), tl.float32)
    for b in range(0, count, BB):
        block = b + c // 16
        inside = (rows < n)[:, None] & (block < count)[None, :]
        at = blocks + rows[:, None] * (count * 17) + (block * 17)[None, :]
        d = half(tl.load(at, mask=inside, other=0))
        qs = tl.load(at + 1 + (c % 16)[None, :], mask=inside, other=0).to(tl.int16)
        column = block * 32 + 2 * (c % 16)
        v0 = tl.load(x + column, mask=block < count, other=0.0).to(tl.float32)
        v1 = tl.load(x + column + 1, mask=block < count, other=0.0).to(tl.float32)
        low, high = qs.to(tl.int8).to(tl.float32), (qs >> 8).to(tl.float32)
        acc += d * (low * v0[None, :] + high * v1[None, :])
    tl.store(y + rows, tl.sum(acc, axis=1).to(y.dtype.element_ty), mask=rows < n)


@triton.jit
def packed_scale(at, j, inside):
    """(scale, min) of sub-block j, 6 bits each, from the 12 bytes at `at`: ggml's get_scale_min_k4."""
    same = tl.load(at + j, mask=inside, other=0).to(tl.int32)
    plus = tl.load(at + j + 4, mask=inside, other=0).to(tl.int32)
    minus = tl.load(at + j - 4, mask=inside & (j >= 4), other=0).to(tl.int32)
    scale = tl.where(j < 4, same & 63, (plus & 15) | ((minus >> 6) << 4))
    low = tl.where(j < 4, plus & 63, (plus >> 4) | ((same >> 6) << 4))
    return scale.to(tl.float32), low.to(tl.float32)


@triton.jit
def q4_k(x, blocks, scales, y, n, k, BN: tl.constexpr):
    """144 bytes: d, dmin, scales[12], qs[128]; weight = d·scale·q − dmin·min, 32 weights a sub-block."""
    rows = tl.program_id(0) * BN + tl.arange(0, BN)
    count = k // 256
    c = tl.arange(0, 32)  # words of qs; 8 of them hold the low and high nibbles of two sub-blocks
    acc = tl.zeros((BN, 32), tl.float32)
    inside = (rows < n)[:, None] & (c >= 0)[None, :]
    for b in range(0, count):
        at = blocks + rows[:, None] * (count * 36) + b * 36
        both = tl.load(at, mask=(rows < n)[:, None], other=0)
        d, dmin = half(both), half(both >> 16)
        qs = tl.load(at + 4 + c[None, :], mask=inside, other=0)
        table = scales + rows[:, None] * (count * 144) + b * 144 + 4
        for h in tl.static_range(2):
            scale, low = packed_scale(table, (2 * (c // 8) + h)[None, :], inside)
            part, total = tl.zeros((BN, 32), tl.float32), tl.zeros((32,), tl.float32)
            for i in tl.static_range(4):
                v = tl.load(x + b * 256 + 64 * (c // 8) + 32 * h + 4 * (c % 8) + i).to(tl.float32)
                part += ((qs >> (8 * i + 4 * h)) & 15).to(tl.float32) * v[None, :]
                total += v
            acc += d * scale * part - dmin * low * total[None, :]
    tl.store(y + rows, tl.sum(acc, axis=1).to(y.dtype.element_ty), mask=rows < n)


@triton.jit
def q6_k(x, blocks, scales, y, n, k, BN: tl.constexpr):
    """210 bytes: ql[128], qh[64], scales[16], d; six bits a weight, −32…31, 16 weights a scale."""
    rows = tl.program_id(0) * BN + tl.arange(0, BN)
    count = k // 256
    c = tl.arange(0, 32)  # words of qh: 16 for each half of 128 weights, 2 bytes each
    part, first = c // 16, 2 * (c % 16)
    acc = tl.zeros((BN, 32), tl.float32)
    inside = (rows < n)[:, None] & (c >= 0)[None, :]
    for b in range(0, count):
        at = blocks + rows[:, None] * (count * 105) + b * 105
        d = half(tl.load(at + 104, mask=(rows < n)[:, None], other=0))
        qh = tl.load(at + 64 + c[None, :], mask=inside, other=0).to(tl.int32)
        ql0 = tl.load(at + (32 * part + c % 16)[None, :], mask=inside, other=0).to(tl.int32)
        ql1 = tl.load(at + (32 * part + 16 + c % 16)[None, :], mask=inside, other=0).to(tl.int32)
        table = scales + rows[:, None] * (count * 210) + b * 210 + 192
        for g in tl.static_range(4):  # weights first + 32 g of a half: low bits from ql0, ql1, ql0 >> 4, ql1 >> 4
            s = tl.load(table + (8 * part + 2 * g + first // 16)[None, :], mask=inside, other=0)
            ql = (ql0 if g % 2 == 0 else ql1) >> (4 * (g // 2))
            for i in tl.static_range(2):
                v = tl.load(x + b * 256 + 128 * part + 32 * g + first + i).to(tl.float32)
                q = (((ql >> (8 * i)) & 15) | (((qh >> (8 * i + 2 * g)) & 3) << 4)) - 32
                acc += d * s.to(tl.float32) * q.to(tl.float32) * v[None, :]
    tl.store(y + rows, tl.sum(acc, axis=1).to(y.dtype.element_ty), mask=rows < n)


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
    tile = 16 if ON_GPU else 128
    grid = (-(-n // tile),)
    if kind == "Q4_0":
        q4_0[grid](x, blocks.view(torch.int16), y, n, k, BN=tile, BB=8)
    elif kind == "Q8_0":
        q8_0[grid](x, blocks.view(torch.int16), y, n, k, BN=tile, BB=8)
    elif kind == "Q4_K":
        q4_k[grid](x, blocks.view(torch.int32), blocks, y, n, k, BN=tile)
    else:
        q6_k[grid](x, blocks.view(torch.int16), blocks.view(torch.int8), y, n, k, BN=tile)
    return y


def check(x: Tensor, blocks: Tensor, kind: str) -> None:
    if kind not in BLOCKS:
        raise ValueError(f"kind must be one of {', '.join(BLOCKS)}, got {kind!r}")
    elements, size = BLOCKS[kind]
    if blocks.dtype != torch.uint8 or blocks.dim() != 2 or not blocks.is_contiguous() or blocks.shape[1] % size:
        raise ValueError(f"blocks must be contiguous uint8 (rows, a multiple of {size} bytes) for {kind}, "
                         f"got {blocks.dtype} {tuple(blocks.shape)}")  # fmt: skip
    k = blocks.shape[1] // size * elements
    if x.dim() != 1 or len(x) != k or not x.dtype.is_floating_point or x.device != blocks.device:
        raise ValueError(f"x must be {k} floats on {blocks.device}, got {x.dtype} {tuple(x.shape)} on {x.device}")
