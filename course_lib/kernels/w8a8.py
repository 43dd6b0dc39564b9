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
from course_lib.kernels.digits import ASM, dot4
from course_lib.kernels.tune import quickest

FP8_MAX = 448.0
BLOCK = 128


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


@triton.jit
def int8_gemv(x, w, sx, sw, zw, total, y, n, k, HAS_ZERO: tl.constexpr, ASM: tl.constexpr, EVEN: tl.constexpr,
              BN: tl.constexpr, BC: tl.constexpr):  # fmt: skip
    """One token: x (k/4,) and w (n, k/4) words of four int8 -> y (n,)."""
    rows = tl.program_id(0) * BN + tl.arange(0, BN)
    acc = tl.zeros((BN, BC), tl.int32)
    words = k // 4
    for at in range(0, words, BC):
        c = at + tl.arange(0, BC)[None, :]
        inside = None if EVEN else (rows < n)[:, None] & (c < words)
        v = tl.load(x + c, mask=None if EVEN else c < words, other=None if EVEN else 0)
        q = tl.load(w + rows[:, None] * words + c, mask=inside, other=None if EVEN else 0)
        acc = dot4(q, v, acc, True, ASM)
    sums = tl.sum(acc, axis=1)
    if HAS_ZERO:
        sums -= tl.load(zw + rows, mask=rows < n, other=0) * tl.load(total)
    value = sums.to(tl.float32) * tl.load(sx) * tl.load(sw + rows, mask=rows < n, other=0.0)
    tl.store(y + rows, value.to(y.dtype.element_ty), mask=rows < n)


@triton.jit
def fp8_gemv(x, w, sx, sw, y, n, k, x_blocks, w_blocks, BH: tl.constexpr, BLOCKED: tl.constexpr, EVEN: tl.constexpr,
             BN: tl.constexpr, BC: tl.constexpr):  # fmt: skip
    """One token. A block's scales go into x, which BN rows share; a row's go into its sum."""
    rows = tl.program_id(0) * BN + tl.arange(0, BN)
    acc = tl.zeros((BN, BC), tl.float32)
    for at in range(0, k, BC):
        c = at + tl.arange(0, BC)[None, :]
        inside = None if EVEN else (rows < n)[:, None] & (c < k)
        v = tl.load(x + c, mask=None if EVEN else c < k, other=None if EVEN else 0.0).to(tl.float32)
        if BLOCKED:
            block = c // 128
            s = tl.load(sx + block, mask=c < k, other=0.0)
            v *= s * tl.load(sw + tl.program_id(0) * BN // BH * w_blocks + block, mask=c < k, other=0.0)
        q = tl.load(w + rows[:, None] * k + c, mask=inside, other=None if EVEN else 0.0)
        acc += q.to(tl.float32) * v
    sums = tl.sum(acc, axis=1)
    if not BLOCKED:
        sums *= tl.load(sx) * tl.load(sw + rows // BH, mask=rows < n, other=0.0)
    tl.store(y + rows, sums.to(y.dtype.element_ty), mask=rows < n)


@triton.jit
def int8_gemm(x, w, sx, sw, zw, total, y, m, n, k, HAS_ZERO: tl.constexpr, EVEN: tl.constexpr,
              BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr):  # fmt: skip
    """x (m, k) and w (n, k) int8 -> y (m, n)."""
    tokens = tl.program_id(0) * BM + tl.arange(0, BM)
    rows = tl.program_id(1) * BN + tl.arange(0, BN)
    c = tl.arange(0, BK)
    acc = tl.zeros((BM, BN), tl.int32)
    for at in range(0, k, BK):
        a = tile(x, tokens, m, at + c, k, EVEN)
        b = tile(w, rows, n, at + c, k, EVEN)
        acc = tl.dot(a, b.T, acc, out_dtype=tl.int32)
    if HAS_ZERO:
        z = tl.load(zw + rows, mask=rows < n, other=0)
        acc -= z[None, :] * tl.load(total + tokens, mask=tokens < m, other=0)[:, None]
    a = tl.load(sx + tokens, mask=tokens < m, other=0.0)[:, None]
    b = tl.load(sw + rows, mask=rows < n, other=0.0)[None, :]
    inside = (tokens < m)[:, None] & (rows < n)[None, :]
    tl.store(y + tokens[:, None] * n + rows[None, :], (acc.to(tl.float32) * a * b).to(y.dtype.element_ty), mask=inside)


@triton.jit
def fp8_gemm(x, w, sx, sw, y, m, n, k, x_blocks, w_blocks, BH: tl.constexpr, BLOCKED: tl.constexpr, EVEN: tl.constexpr,
             BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr, TWO: tl.constexpr = True):  # fmt: skip
    """x (m, k), w (n, k) E4M3; sx (m, x_blocks), sw (n / BH, w_blocks), one block meaning the whole row -> y (m, n).
    TWO: sums of BK columns are added up in float32; without it, the matrix units keep the running sum themselves."""
    tokens = tl.program_id(0) * BM + tl.arange(0, BM)
    rows = tl.program_id(1) * BN + tl.arange(0, BN)
    c = tl.arange(0, BK)
    acc = tl.zeros((BM, BN), tl.float32)
    for at in range(0, k, BK):
        a = tile(x, tokens, m, at + c, k, EVEN)
        b = tile(w, rows, n, at + c, k, EVEN)
        if BLOCKED:
            tl.static_assert(BK == 128)
            part = tl.dot(a, b.T, out_dtype=tl.float32)
            s = tl.load(sx + tokens * x_blocks + at // 128, mask=tokens < m, other=0.0)
            t = tl.load(sw + rows // BH * w_blocks + at // 128, mask=rows < n, other=0.0)
            acc += part * s[:, None] * t[None, :]
        else:
            acc = tl.dot(a, b.T, acc, max_num_imprecise_acc=BK if TWO else None)
    if not BLOCKED:
        s = tl.load(sx + tokens, mask=tokens < m, other=0.0)
        acc *= s[:, None] * tl.load(sw + rows // BH, mask=rows < n, other=0.0)[None, :]
    inside = (tokens < m)[:, None] & (rows < n)[None, :]
    tl.store(y + tokens[:, None] * n + rows[None, :], acc.to(y.dtype.element_ty), mask=inside)


@triton.jit
def tile(at, rows, n, columns, k, EVEN: tl.constexpr):
    """Rows and columns of a matrix (n, k), 0 beyond it."""
    if EVEN:
        return tl.load(at + rows[:, None] * k + columns[None, :])
    inside = (rows < n)[:, None] & (columns < k)[None, :]
    return tl.load(at + rows[:, None] * k + columns[None, :], mask=inside, other=0.0)


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
    m, codes = len(x), codes.contiguous()
    y = x.new_empty((m, n))
    shift = total if zero is None else zero.reshape(-1).to(torch.int32)
    parts = (s, scale.reshape(-1).float(), shift, total, y)
    if m == 1 and k % 4 == 0 and codes.data_ptr() % 4 == 0:
        shape = ONE_INT8 if ON_GPU else {"BN": 128, "BC": 256}
        whole = n % shape["BN"] == 0 and k // 4 % shape["BC"] == 0
        int8_gemv[(-(-n // shape["BN"]),)](q.view(torch.int32), codes.view(torch.int32), *parts, n, k,
                                           HAS_ZERO=zero is not None, ASM=ASM, EVEN=whole, **shape)  # fmt: skip
    elif m:
        shape = tiles(m, INT8)[0]
        int8_gemm[tiled(m, n, shape)](q, codes, *parts, m, n, k, HAS_ZERO=zero is not None,
                                      EVEN=even(m, n, k, shape), **shape)  # fmt: skip
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
    m, y = len(x), x.new_empty((len(x), n))
    parts = (q, codes.contiguous(), s, scale.float().contiguous(), y)
    layout = {"BH": heights[tuple(scale.shape)], "BLOCKED": blocked}
    if m == 1:
        shape = ONE_FP8 if ON_GPU else {"BN": 128, "BC": 512}
        whole = n % shape["BN"] == 0 and k % shape["BC"] == 0
        fp8_gemv[(-(-n // shape["BN"]),)](*parts, n, k, s.shape[1], scale.shape[1], **layout, EVEN=whole, **shape)
    elif m:

        def run(shape: dict) -> None:
            fp8_gemm[tiled(m, n, shape)](*parts, m, n, k, s.shape[1], scale.shape[1], **layout,
                                         EVEN=even(m, n, k, shape), **shape)  # fmt: skip

        run(quickest(("fp8", triton.next_power_of_2(m), n, k, blocked, y.dtype), tiles(m, FP8), run))
    return y


ONE_INT8 = {"BN": 4, "BC": 256, "num_warps": 2}
ONE_FP8 = {"BN": 2, "BC": 512, "num_warps": 1}
INT8 = {  # tokens up to: BM, BN, BK, warps, stages
    16: [(16, 64, 128, 4, 5)],
    64: [(64, 64, 256, 4, 5)],
    1 << 30: [(128, 128, 128, 4, 3)],
}
FP8 = {  # where there are several, the quickest: the third lets two programs share a multiprocessor and spills for it
    16: [(16, 64, 128, 4, 5)],
    64: [(64, 64, 128, 4, 8)],
    1 << 30: [(64, 128, 128, 4, 4), (128, 128, 128, 8, 6), (128, 128, 128, 8, 3, 128)],
}


def tiles(m: int, table: dict) -> list[dict[str, int]]:
    if not ON_GPU:
        return [{"BM": 64, "BN": 256, "BK": BLOCK}]
    names = ("BM", "BN", "BK", "num_warps", "num_stages", "maxnreg")
    return [dict(zip(names, row, strict=False)) for row in table[min(most for most in table if m <= most)]]


def even(m: int, n: int, k: int, shape: dict[str, int]) -> bool:
    """Whether tiles end where the matrices end, so that nothing needs a mask."""
    return m % shape["BM"] == 0 and n % shape["BN"] == 0 and k % shape["BK"] == 0


def tiled(m: int, n: int, shape: dict[str, int]) -> tuple[int, int]:
    return -(-m // shape["BM"]), -(-n // shape["BN"])


def matrix(codes: Tensor, dtype: torch.dtype) -> tuple[int, int]:
    if codes.dim() != 2 or codes.dtype != dtype:
        raise ValueError(f"codes must be {dtype} (n, k), got {codes.dtype} {tuple(codes.shape)}")
    return codes.shape


def columns(x: Tensor, k: int) -> None:
    if x.dim() != 2 or x.shape[1] != k:
        raise ValueError(f"x must be (m, {k}), got {tuple(x.shape)}")
