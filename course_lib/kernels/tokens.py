"""Tokens in 8 bits, on the fly: a scale for each, or for each block of its columns.

A token of 28672 columns is far too long for one program to hold, and one program is far too slow: many take a piece
each, first to find max|x|, then to divide by it.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from course_lib.kernels import interpreter  # noqa: F401  it is mended by its import


@triton.jit
def divided(x, s):
    """x / s of a number s, rounded to nearest: the reciprocal's product, mended by its remainder (Markstein 1990).
    Three instructions for an element, where a division takes a dozen."""
    if s > 1e-37:
        r = tl.div_rn(1.0, s)
        near = x * r
        q = tl.fma(tl.fma(-near, tl.zeros_like(x) + s, x), tl.zeros_like(x) + r, near)
    else:  # whose reciprocal would be infinite
        q = tl.div_rn(x, tl.zeros_like(x) + s)
    return q


@triton.jit
def largest(x, most, total, k, BK: tl.constexpr):
    """One program BK columns of a token: their max|x|; the first also empties the token's sum of codes."""
    row, part = tl.program_id(0), tl.program_id(1)
    column = part * BK + tl.arange(0, BK)
    v = tl.load(x + row * k + column, mask=column < k, other=0.0).to(tl.float32)
    tl.store(most + row * tl.num_programs(1) + part, tl.max(tl.abs(v), axis=0))
    tl.store(total + row, 0, mask=part == 0)


@triton.jit
def by_token(x, most, codes, scale, total, k, BK: tl.constexpr, PARTS: tl.constexpr):
    """int8: s = max|x|/127, q = round(x/s) to even, and the sum of q that a zero point needs. E4M3: s = max|x|/448."""
    row, part, parts = tl.program_id(0), tl.program_id(1), tl.num_programs(1)
    p, column = tl.arange(0, PARTS), part * BK + tl.arange(0, BK)
    INT8: tl.constexpr = codes.dtype.element_ty == tl.int8
    s = tl.max(tl.load(most + row * parts + p, mask=p < parts, other=0.0), axis=0)
    s = tl.div_rn(s, 127.0 if INT8 else 448.0)
    s = tl.where(s > 0, s, 1.0)
    v = tl.load(x + row * k + column, mask=column < k, other=0.0).to(tl.float32)
    q = divided(v, s)
    if INT8:
        q = (q + 12582912.0) - 12582912.0  # 1.5·2^23: what is added to it is rounded to a whole number
        tl.atomic_add(total + row, tl.sum(q.to(tl.int32), axis=0))
    tl.store(codes + row * k + column, q.to(codes.dtype.element_ty), mask=column < k)
    tl.store(scale + row, s, mask=part == 0)


@triton.jit
def by_block(x, codes, scale, k, blocks, BB: tl.constexpr, BK: tl.constexpr):
    """One program BB blocks of BK columns of a token: s = max|x|/448, q = x/s as E4M3."""
    row = tl.program_id(0)
    block = tl.program_id(1) * BB + tl.arange(0, BB)
    column = block[:, None] * BK + tl.arange(0, BK)[None, :]
    v = tl.load(x + row * k + column, mask=column < k, other=0.0).to(tl.float32)
    s = tl.div_rn(tl.max(tl.abs(v), axis=1), 448.0)
    s = tl.where(s > 0, s, 1.0)
    tl.store(codes + row * k + column, tl.div_rn(v, s[:, None]).to(tl.float8e4nv), mask=column < k)
    tl.store(scale + row * blocks + block, s, mask=block < blocks)


def quantize_tokens(x: Tensor, dtype: torch.dtype = torch.int8, block: int | None = None):
    """(codes (m, k), scale (m, blocks), sum of the codes (m,) or None) of x (m, k); one scale a token, or one a block.

    int8: s = max|x|/127, one a token. float8_e4m3fn: s = max|x|/448, one a token or one per `block` columns.

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
    (m, k), x = x.shape, x.contiguous()
    codes = torch.empty((m, k), dtype=dtype, device=x.device)
    blocks = -(-k // block) if block else 1
    scale = x.new_empty((m, blocks), dtype=torch.float32)
    total = None if block else x.new_empty(m, dtype=torch.int32)
    if m and block:
        runs = max(1, 4096 // block)
        by_block[(m, -(-blocks // runs))](x, codes, scale, k, blocks, BB=runs, BK=block)
    elif m:
        width = 4096
        parts = max(1, -(-k // width))
        most = x.new_empty((m, parts), dtype=torch.float32)
        largest[(m, parts)](x, most, total, k, BK=width)
        by_token[(m, parts)](x, most, codes, scale, total, k, BK=width, PARTS=triton.next_power_of_2(parts))
    return codes, scale, total if dtype == torch.int8 else None
