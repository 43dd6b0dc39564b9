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
from course_lib.kernels.measure.tune import quickest
from course_lib.kernels.tokens import quantize_tokens

BLOCK = 128


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
