"""Tokens in 8 bits, on the fly: a scale for each, or for each block of its columns.

A token of 28672 columns is too long for one program to hold: it is read twice, first to find max|x|, then to divide by
it. With many tokens a program takes one, and the second reading comes from the cache; with few, a program takes a piece
of one, or most of the GPU would have nothing to do.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from course_lib.kernels import interpreter  # noqa: F401  it is mended by its import
from course_lib.kernels.pieces import fits

MANY, WIDE = 128, 8192  # from so many tokens on a program takes a whole one, so many columns at a time
PIECE = 4096  # columns of a program where tokens are few


@triton.jit
def divided(x, s, least):
    """x / s, rounded to nearest: the reciprocal's product, mended by its remainder (Markstein 1990). Three instructions
    for an element, where a division takes a dozen. `least`: the least s."""
    if least > 1e-37:
        r = tl.div_rn(1.0, s)
        near = x * r
        q = tl.fma(tl.fma(-near, tl.zeros_like(x) + s, x), tl.zeros_like(x) + r, near)
    else:  # whose reciprocal would be infinite
        q = tl.div_rn(x, tl.zeros_like(x) + s)
    return q


@triton.jit
def size(v):
    """|v| as the bits of a float32: they are ordered as the numbers are, and NaN, which `tl.max` would drop, is above
    all others."""
    return tl.abs(v.to(tl.float32)).to(tl.int32, bitcast=True)


@triton.jit
def scale_of(most, INT8: tl.constexpr):
    """int8: s = max|x|/127. E4M3: s = max|x|/448. NaN where one of x is: int8 has no code for it."""
    s = tl.div_rn(most.to(tl.float32, bitcast=True), 127.0 if INT8 else 448.0)
    return tl.where(s == 0, 1.0, s)


@triton.jit
def rounded(q):
    """Whole numbers, ties to even: what is added to 1.5·2^23 is rounded there, and its low bits are the number. NaN
    becomes 127, so that sums stay in their bounds; the token's scale says that it was one."""
    return (tl.minimum(q, 127.0) + 12582912.0).to(tl.int32, bitcast=True) - 0x4B400000


@triton.jit
def by_token(x, codes, scale, total, k, INT8: tl.constexpr, BK: tl.constexpr):
    """One program one token, and the sum of its codes that a zero point needs."""
    row, lane = tl.program_id(0), tl.arange(0, BK)
    most = tl.zeros((BK,), tl.int32)
    for at in range(0, k, BK):
        most = tl.maximum(most, size(tl.load(x + row * k + at + lane, mask=at + lane < k, other=0.0)))
    s = scale_of(tl.max(most, axis=0), INT8)
    sums = tl.zeros((BK,), tl.int32)
    for at in range(0, k, BK):
        inside = at + lane < k
        v = tl.load(x + row * k + at + lane, mask=inside, other=0.0).to(tl.float32)
        q = divided(v, s, s)
        if INT8:
            q = rounded(q)
            sums += q
        tl.store(codes + row * k + at + lane, q.to(codes.dtype.element_ty), mask=inside)
    tl.store(scale + row, s)
    if INT8:
        tl.store(total + row, tl.sum(sums, axis=0))


@triton.jit
def largest(x, most, total, k, BK: tl.constexpr):
    """One program BK columns of a token: their largest `size`; the first also empties the token's sum of codes."""
    row, part = tl.program_id(0), tl.program_id(1)
    column = part * BK + tl.arange(0, BK)
    v = tl.load(x + row * k + column, mask=column < k, other=0.0)
    tl.store(most + row * tl.num_programs(1) + part, tl.max(size(v), axis=0))
    tl.store(total + row, 0, mask=part == 0)


@triton.jit
def by_piece(x, most, codes, scale, total, k, INT8: tl.constexpr, BK: tl.constexpr, PARTS: tl.constexpr):
    """One program BK columns of a token."""
    row, part, parts = tl.program_id(0), tl.program_id(1), tl.num_programs(1)
    p, column = tl.arange(0, PARTS), part * BK + tl.arange(0, BK)
    s = scale_of(tl.max(tl.load(most + row * parts + p, mask=p < parts, other=0), axis=0), INT8)
    v = tl.load(x + row * k + column, mask=column < k, other=0.0).to(tl.float32)
    q = divided(v, s, s)
    if INT8:
        q = rounded(q)
        tl.atomic_add(total + row, tl.sum(q, axis=0))
    tl.store(codes + row * k + column, q.to(codes.dtype.element_ty), mask=column < k)
    tl.store(scale + row, s, mask=part == 0)


@triton.jit
def by_block(x, codes, scale, k, blocks, BB: tl.constexpr, BK: tl.constexpr):
    """One program BB blocks of BK columns of a token: s = max|x|/448, q = x/s as E4M3."""
    row = tl.program_id(0)
    block = tl.program_id(1) * BB + tl.arange(0, BB)
    column = block[:, None] * BK + tl.arange(0, BK)[None, :]
    v = tl.load(x + row * k + column, mask=column < k, other=0.0).to(tl.float32)
    s = scale_of(tl.max(size(v), axis=1), False)
    tl.store(codes + row * k + column, divided(v, s[:, None], tl.min(s, axis=0)).to(tl.float8e4nv), mask=column < k)
    tl.store(scale + row * blocks + block, s, mask=block < blocks)


def quantize_tokens(x: Tensor, dtype: torch.dtype = torch.int8, block: int | None = None):
    """(codes (m, k), scale (m, blocks), sum of the codes (m,) or None) of x (m, k); one scale a token, or one a block.

    int8: s = max|x|/127, one a token. float8_e4m3fn: s = max|x|/448, one a token or one per `block` columns. s is 1
    where all of x is 0, and NaN where one is NaN. ValueError for what is no matrix of floats, or has 2^31 of them.

    >>> codes, scale, total = quantize_tokens(torch.tensor([[0.5, -1.27, 1.0]]))
    >>> codes.tolist(), round(scale.item(), 4), total.tolist()
    ([[50, -127, 100]], 0.01, [23])
    """
    if x.dim() != 2 or not x.dtype.is_floating_point:
        raise ValueError(f"x must be floats (m, k), got {x.dtype} {tuple(x.shape)}")
    if dtype not in (torch.int8, torch.float8_e4m3fn) or (dtype == torch.int8 and block):
        raise ValueError(f"dtype must be int8 (a scale a token) or float8_e4m3fn, got {dtype} and block {block}")
    if block and block & (block - 1):
        raise ValueError(f"block must be a power of two, got {block}")
    fits("x", x.shape)
    (m, k), x = x.shape, x.contiguous()
    codes = torch.empty((m, k), dtype=dtype, device=x.device)
    blocks = -(-k // block) if block else 1
    scale = x.new_empty((m, blocks), dtype=torch.float32)
    total = None if block else x.new_empty(m, dtype=torch.int32)
    if m and block:
        runs = max(1, 4096 // block)
        by_block[(m, -(-blocks // runs))](x, codes, scale, k, blocks, BB=runs, BK=block)
    elif m >= MANY:
        by_token[(m,)](x, codes, scale, total, k, INT8=dtype == torch.int8, BK=WIDE, num_warps=16)
    elif m:
        parts = max(1, -(-k // PIECE))
        most = x.new_empty((m, parts), dtype=torch.int32)
        largest[(m, parts)](x, most, total, k, BK=PIECE)
        by_piece[(m, parts)](x, most, codes, scale, total, k, INT8=dtype == torch.int8, BK=PIECE,
                             PARTS=triton.next_power_of_2(parts))  # fmt: skip
    return codes, scale, total if dtype == torch.int8 else None
