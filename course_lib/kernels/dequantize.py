"""Codes back to 16-bit weights, int4 words and int8 codes: what a large batch does before an ordinary product.

From some hundred tokens on a product is bound by arithmetic, not by memory: then it pays to decode the weight once and
multiply as if nothing had been quantized.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from course_lib.kernels import ON_GPU, interpreter, packing  # noqa: F401  interpreter is mended by its import
from course_lib.kernels.packing import PackedInt4
from course_lib.kernels.pieces import fits


@triton.jit
def int4(halves, scale, zero, w, n, k, R: tl.constexpr, RUNS: tl.constexpr, HAS_ZERO: tl.constexpr,
         BN: tl.constexpr):  # fmt: skip
    """halves (blocks, n, R) -> w (n, k): each halfword of a block becomes four weights, R columns apart.

    A nibble is widened to 32 bits before 8 comes off. In 16 bits two neighbours would be one `add.s16x2`, of which
    ptxas 12.8 and 12.9 lose the number that is added, here and there (github.com/triton-lang/triton/issues/11581)."""
    rows = tl.program_id(0) * BN + tl.arange(0, BN)
    b = tl.program_id(1)
    c = tl.arange(0, R)
    half = tl.load(halves + (b * n + rows)[:, None] * R + c[None, :], mask=(rows < n)[:, None], other=0).to(tl.int32)
    for j in tl.static_range(4):
        run = 4 * b + j
        known = (rows < n)[:, None] & (run * R + c < k)[None, :]
        group = run // RUNS * n + rows
        s = tl.load(scale + group, mask=(rows < n) & (run * R < k), other=0.0).to(tl.float32)
        z = tl.load(zero + group, mask=(rows < n) & (run * R < k), other=0.0)[:, None] if HAS_ZERO else 8.0
        value = s[:, None] * (((half >> (4 * j)) & 15).to(tl.float32) - z)
        at = w + rows[:, None].to(tl.int64) * k + (run * R + c)[None, :]
        tl.store(at, value.to(w.dtype.element_ty), mask=known)


@triton.jit
def int8(codes, scale, zero, w, n, k, group, HAS_ZERO: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr):
    """codes (n, k) -> w (n, k)."""
    rows = tl.program_id(0) * BN + tl.arange(0, BN)
    columns = tl.program_id(1) * BK + tl.arange(0, BK)
    inside = (rows < n)[:, None] & (columns < k)[None, :]
    q = tl.load(codes + rows[:, None] * k + columns[None, :], mask=inside, other=0).to(tl.float32)
    at = rows[:, None] * tl.cdiv(k, group) + (columns // group)[None, :]
    s = tl.load(scale + at, mask=inside, other=0.0).to(tl.float32)
    z = tl.load(zero + at, mask=inside, other=0).to(tl.float32) if HAS_ZERO else 0.0
    tl.store(w + rows[:, None] * k + columns[None, :], (s * (q - z)).to(w.dtype.element_ty), mask=inside)


def dequantize_int4(packed: PackedInt4, dtype: torch.dtype = torch.float16) -> Tensor:
    """The weight (n, k) of packed words, rounded once to dtype; equals `packing.unpack`."""
    n, k = packed.shape
    w = torch.empty((n, k), dtype=dtype, device=packed.words.device)
    rows = 64 if ON_GPU else 128
    zero = packed.scale if packed.zero is None else packed.zero
    grid = (-(-n // rows), len(packed.words))
    int4[grid](packed.words.view(torch.int16), packed.scale, zero, w, n, k, **packing.arguments(packed), BN=rows)
    return w if packed.order is None else w[:, torch.argsort(packed.order)]


def dequantize_int8(codes: Tensor, scale: Tensor, zero: Tensor | None = None, dtype=torch.float16) -> Tensor:
    """w[n, k] = scale[n, g]·(codes[n, k] − zero[n, g]), rounded once to dtype; g = k // (k in all / groups).

    codes (n, k) int8 or uint8, scale and zero (n, groups). ValueError where groups do not divide the row.
    """
    if codes.dtype not in (torch.int8, torch.uint8) or codes.dim() != 2:
        raise ValueError(f"codes must be int8 or uint8 (n, k), got {codes.dtype} {tuple(codes.shape)}")
    n, k = codes.shape
    fits("codes", codes.shape)
    if (
        scale.dim() != 2
        or scale.shape[0] != n
        or k % scale.shape[1]
        or (zero is not None and zero.shape != scale.shape)
    ):
        raise ValueError(f"scale and zero must be ({n}, groups) with groups that divide {k}, got {tuple(scale.shape)}"
                         + ("" if zero is None else f" and {tuple(zero.shape)}"))  # fmt: skip
    w = torch.empty((n, k), dtype=dtype, device=codes.device)
    tile = {"BN": 16, "BK": 256} if ON_GPU else {"BN": 128, "BK": 1024}
    grid = (-(-n // tile["BN"]), -(-k // tile["BK"]))
    lowest = scale if zero is None else zero
    int8[grid](codes.contiguous(), scale.contiguous(), lowest.contiguous(), w, n, k, k // scale.shape[1],
               HAS_ZERO=zero is not None, **tile)  # fmt: skip
    return w
