"""y = x Wᵀ with both sides in 8 bits: tokens quantized on the fly, products in int32 or of fp8, scales afterwards.

    int8:  y[m, n] = s_x[m]·s_w[n]·(Σ_k q_x q_w − z_w[n]·Σ_k q_x)          (x symmetric, per token; w per channel)
    fp8:   y[m, n] = Σ_blocks s_x[m, b]·s_w[n', b]·Σ_{k in b} q_x q_w

The sums in int32 are exact. fp8 products are summed 128 columns at a time and those sums added up in float32: the
matrix units of a Hopper GPU keep some 14 bits of a running sum (DeepSeek-V3's report, section 3.3), too few for a
long row: hence two levels of accumulation.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from course_lib.kernels import ON_GPU, interpreter  # noqa: F401  interpreter is mended by its import

FP8_MAX = 448.0
BLOCK = 128


@triton.jit
def int8_tokens(x, codes, scale, total, k, BK: tl.constexpr):
    """One program a token: s = max|x|/127, q = round(x/s) to even, and the sum of q that a zero point needs."""
    row = tl.program_id(0)
    columns = tl.arange(0, BK)
    largest = tl.zeros((BK,), tl.float32)
    for at in range(0, k, BK):
        v = tl.load(x + row * k + at + columns, mask=at + columns < k, other=0.0).to(tl.float32)
        largest = tl.maximum(largest, tl.abs(v))
    s = tl.div_rn(tl.max(largest, axis=0), 127.0)
    s = tl.where(s > 0, s, 1.0)
    count = tl.zeros((BK,), tl.int32)
    for at in range(0, k, BK):
        inside = at + columns < k
        v = tl.load(x + row * k + at + columns, mask=inside, other=0.0).to(tl.float32)
        q = (tl.div_rn(v, s) + 12582912.0) - 12582912.0  # 1.5·2^23: what is added to it is rounded to a whole number
        tl.store(codes + row * k + at + columns, q.to(tl.int8), mask=inside)
        count += q.to(tl.int32)
    tl.store(scale + row, s)
    tl.store(total + row, tl.sum(count, axis=0))


@triton.jit
def fp8_tokens(x, codes, scale, k, BK: tl.constexpr):
    """One program a block of a token: s = max|x|/448, q = x/s as E4M3."""
    row, block = tl.program_id(0), tl.program_id(1)
    columns = block * BK + tl.arange(0, BK)
    v = tl.load(x + row * k + columns, mask=columns < k, other=0.0).to(tl.float32)
    s = tl.div_rn(tl.max(tl.abs(v), axis=0), 448.0)
    s = tl.where(s > 0, s, 1.0)
    tl.store(codes + row * k + columns, tl.div_rn(v, s).to(tl.float8e4nv), mask=columns < k)
    tl.store(scale + row * tl.num_programs(1) + block, s)


@triton.jit
def int8_gemm(x, w, sx, sw, zw, total, y, m, n, k, HAS_ZERO: tl.constexpr,
              BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr):  # fmt: skip
    """x (m, k) and w (n, k) int8 -> y (m, n)."""
    tokens = tl.program_id(0) * BM + tl.arange(0, BM)
    rows = tl.program_id(1) * BN + tl.arange(0, BN)
    c = tl.arange(0, BK)
    acc = tl.zeros((BM, BN), tl.int32)
    for at in range(0, k, BK):
        known = (at + c) < k
        a = tl.load(x + tokens[:, None] * k + at + c[None, :], mask=(tokens < m)[:, None] & known[None, :], other=0)
        b = tl.load(w + rows[None, :] * k + at + c[:, None], mask=(rows < n)[None, :] & known[:, None], other=0)
        acc = tl.dot(a, b, acc, out_dtype=tl.int32)
    if HAS_ZERO:
        z = tl.load(zw + rows, mask=rows < n, other=0)
        acc -= z[None, :] * tl.load(total + tokens, mask=tokens < m, other=0)[:, None]
    a = tl.load(sx + tokens, mask=tokens < m, other=0.0)[:, None]
    b = tl.load(sw + rows, mask=rows < n, other=0.0)[None, :]
    inside = (tokens < m)[:, None] & (rows < n)[None, :]
    tl.store(y + tokens[:, None] * n + rows[None, :], (acc.to(tl.float32) * a * b).to(y.dtype.element_ty), mask=inside)


@triton.jit
def fp8_gemm(x, w, sx, sw, y, m, n, k, x_blocks, w_blocks, BH: tl.constexpr,
             BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr):  # fmt: skip
    """x (m, k), w (n, k) E4M3; sx (m, x_blocks), sw (n / BH, w_blocks), one block meaning the whole row -> y (m, n)."""
    tokens = tl.program_id(0) * BM + tl.arange(0, BM)
    rows = tl.program_id(1) * BN + tl.arange(0, BN)
    c = tl.arange(0, BK)
    acc = tl.zeros((BM, BN), tl.float32)
    for at in range(0, k, BK):
        known = (at + c) < k
        a = tl.load(x + tokens[:, None] * k + at + c[None, :], mask=(tokens < m)[:, None] & known[None, :], other=0.0)
        b = tl.load(w + rows[None, :] * k + at + c[:, None], mask=(rows < n)[None, :] & known[:, None], other=0.0)
        part = tl.dot(a, b, out_dtype=tl.float32)
        block = at // BK
        s = tl.load(sx + tokens * x_blocks + tl.minimum(block, x_blocks - 1), mask=tokens < m, other=0.0)
        t = tl.load(sw + rows // BH * w_blocks + tl.minimum(block, w_blocks - 1), mask=rows < n, other=0.0)
        acc += part * s[:, None] * t[None, :]
    inside = (tokens < m)[:, None] & (rows < n)[None, :]
    tl.store(y + tokens[:, None] * n + rows[None, :], acc.to(y.dtype.element_ty), mask=inside)


def quantize_tokens(x: Tensor, dtype: torch.dtype = torch.int8, block: int | None = None):
    """(codes (m, k), scale (m, blocks), sum of the codes (m,) or None) of x (m, k); one scale a token, or one a block.

    int8: s = max|x|/127, one a token. float8_e4m3fn: s = max|x|/448, one a token or one per `block` columns.

    >>> codes, scale, total = quantize_tokens(torch.tensor([[0.5, -1.27, 1.0]]))
    >>> codes.tolist(), round(scale.item(), 4), total.tolist()
    ([[50, -127, 100]], 0.01, [23])
    """
    if x.dim() != 2 or not x.dtype.is_floating_point:
        raise ValueError(f"x must be floats (m, k), got {x.dtype} {tuple(x.shape)}")
    (m, k), x = x.shape, x.contiguous()
    codes = torch.empty((m, k), dtype=dtype, device=x.device)
    if dtype == torch.int8 and block is None:
        scale, total = x.new_empty((m, 1), dtype=torch.float32), x.new_empty(m, dtype=torch.int32)
        if m:
            int8_tokens[(m,)](x, codes, scale, total, k, BK=1024)
        return codes, scale, total
    if dtype != torch.float8_e4m3fn:
        raise ValueError(f"dtype must be int8 (a scale a token) or float8_e4m3fn, got {dtype} and block {block}")
    blocks = -(-k // (block or k))
    scale = x.new_empty((m, blocks), dtype=torch.float32)
    width = block or triton.next_power_of_2(k)
    if width & (width - 1):
        raise ValueError(f"block must be a power of two, got {block}")
    if m:
        fp8_tokens[(m, blocks)](x, codes, scale, k, BK=width)
    return codes, scale, None


def int8_linear(x: Tensor, codes: Tensor, scale: Tensor, zero: Tensor | None = None) -> Tensor:
    """y (m, n) = x (m, k) times the int8 weight scale[n]·(codes[n, k] − zero[n]), x quantized per token.

    ValueError where shapes or dtypes do not fit.
    """
    n, k = matrix(codes, torch.int8)
    columns(x, k)
    if scale.numel() != n or (zero is not None and zero.numel() != n):
        raise ValueError(f"scale and zero must hold one number for each of {n} channels, got {scale.numel()}"
                         + ("" if zero is None else f" and {zero.numel()}"))  # fmt: skip
    q, s, total = quantize_tokens(x)
    y = x.new_empty((len(x), n))
    shift = total if zero is None else zero.reshape(-1).to(torch.int32)
    tile = tiles(len(x), 128)
    if len(x):
        int8_gemm[tiled(len(x), n, tile)](q, codes.contiguous(), s, scale.reshape(-1).float(), shift, total, y, len(x),
                                          n, k, HAS_ZERO=zero is not None, **tile)  # fmt: skip
    return y


def fp8_linear(x: Tensor, codes: Tensor, scale: Tensor) -> Tensor:
    """y (m, n) = x (m, k) times the E4M3 weight codes (n, k), in one of three granularities that `scale` chooses.

    scale () or (1, 1): one for the weight; (n, 1): one a row; (n/128, k/128): one a 128×128 block, x then in blocks of
    128 columns too. ValueError where shapes or dtypes do not fit.
    """
    n, k = matrix(codes, torch.float8_e4m3fn)
    columns(x, k)
    scale = scale.reshape(1, 1) if scale.numel() == 1 else scale
    blocks = (-(-n // BLOCK), -(-k // BLOCK))
    heights = {(1, 1): n, (n, 1): 1, blocks: BLOCK}
    if tuple(scale.shape) not in heights:
        raise ValueError(f"scale must be (1, 1), ({n}, 1) or {blocks} for a weight {(n, k)}, got {tuple(scale.shape)}")
    blocked = tuple(scale.shape) == blocks and scale.numel() > 1
    q, s, _ = quantize_tokens(x, torch.float8_e4m3fn, BLOCK if blocked else None)
    y = x.new_empty((len(x), n))
    tile = tiles(len(x), BLOCK)
    if len(x):
        parts = (q, codes.contiguous(), s, scale.float().contiguous(), y)
        fp8_gemm[tiled(len(x), n, tile)](*parts, len(x), n, k, s.shape[1], scale.shape[1],
                                         BH=heights[tuple(scale.shape)], **tile)  # fmt: skip
    return y


def tiles(m: int, bk: int) -> dict[str, int]:
    return {"BM": 16 if m <= 16 else 64, "BN": 64, "BK": bk} if ON_GPU else {"BM": 64, "BN": 256, "BK": bk}


def tiled(m: int, n: int, tile: dict[str, int]) -> tuple[int, int]:
    return -(-m // tile["BM"]), -(-n // tile["BN"])


def matrix(codes: Tensor, dtype: torch.dtype) -> tuple[int, int]:
    if codes.dim() != 2 or codes.dtype != dtype:
        raise ValueError(f"codes must be {dtype} (n, k), got {codes.dtype} {tuple(codes.shape)}")
    return codes.shape


def columns(x: Tensor, k: int) -> None:
    if x.dim() != 2 or x.shape[1] != k:
        raise ValueError(f"x must be (m, {k}), got {tuple(x.shape)}")
