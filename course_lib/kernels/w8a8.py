"""y = x Wᵀ with both sides in 8 bits: tokens quantized on the fly, products in int32 or of fp8, scales afterwards.

    int8:  y[m, n] = s_x[m]·s_w[n]·(Σ_k q_x q_w − z_w[n]·Σ_k q_x)          (x symmetric, per token; w per channel)
    fp8:   y[m, n] = Σ_blocks s_x[m, b]·s_w[n', b]·Σ_{k in b} q_x q_w

The sums in int32 are exact. fp8 products are summed 128 columns at a time and those sums added up in float32: the
matrix units of a Hopper GPU keep some 14 bits of a running sum (DeepSeek-V3's report, section 3.3), too few for a
long row: hence two levels of accumulation. One token is multiplied here, several in `w8a8_tiles`.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor
from triton.tools.tensor_descriptor import TensorDescriptor

from course_lib.kernels import ON_GPU, interpreter  # noqa: F401  interpreter is mended by its import
from course_lib.kernels.digits import ASM, dot4
from course_lib.kernels.pieces import fits, in_pieces
from course_lib.kernels.tokens import quantize_tokens
from course_lib.kernels.w8a8_tiles import add_parts, fp8_gemm, fp8_pair, int8_gemm

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
        if BLOCKED:  # 16 columns, which one thread loads, lie in one block
            run = at // 16 + tl.arange(0, BC // 16)[:, None]
            s = tl.load(sx + run // 8, mask=run * 16 < k, other=0.0)
            s *= tl.load(sw + tl.program_id(0) * BN // BH * w_blocks + run // 8, mask=run * 16 < k, other=0.0)
            own = run * 16 + tl.arange(0, 16)[None, :]
            v = tl.load(x + own, mask=None if EVEN else own < k, other=None if EVEN else 0.0).to(tl.float32)
            v = tl.reshape(v * s, (1, BC))
        else:
            v = tl.load(x + c, mask=None if EVEN else c < k, other=None if EVEN else 0.0).to(tl.float32)
        q = tl.load(w + rows[:, None] * k + c, mask=inside, other=None if EVEN else 0.0)
        acc += q.to(tl.float32) * v
    sums = tl.sum(acc, axis=1)
    if not BLOCKED:
        sums *= tl.load(sx) * tl.load(sw + rows // BH, mask=rows < n, other=0.0)
    tl.store(y + rows, sums.to(y.dtype.element_ty), mask=rows < n)


def int8_linear(x: Tensor, codes: Tensor, scale: Tensor, zero: Tensor | None = None) -> Tensor:
    """y (m, n) = x (m, k) times the int8 weight scale[n]·(codes[n, k] − zero[n]), x quantized per token.

    ValueError where shapes or dtypes do not fit.
    """
    n, k = matrix(codes, torch.int8)
    columns(x, k)
    if scale.numel() != n or (zero is not None and zero.numel() != n):
        raise ValueError(f"scale and zero must hold one number for each of {n} channels, got {scale.numel()}"
                         + ("" if zero is None else f" and {zero.numel()}"))  # fmt: skip
    sw, zero = scale.reshape(-1).float(), zero if zero is None else zero.reshape(-1).to(torch.int32)
    return in_pieces(lambda rows: int8_product(rows, codes.contiguous(), sw, zero), x, n)


def int8_product(x: Tensor, codes: Tensor, sw: Tensor, zero: Tensor | None) -> Tensor:
    q, s, total = quantize_tokens(x)
    m, (n, k) = len(x), codes.shape
    y = x.new_empty((m, n))
    shift = total if zero is None else zero
    if m == 1 and k % 4 == 0 and codes.data_ptr() % 4 == 0:
        shape = ONE_INT8 if ON_GPU else {"BN": 128, "BC": 256}
        whole = n % shape["BN"] == 0 and k // 4 % shape["BC"] == 0
        int8_gemv[(-(-n // shape["BN"]),)](q.view(torch.int32), codes.view(torch.int32), s, sw, shift, total, y, n, k,
                                           HAS_ZERO=zero is not None, ASM=ASM, EVEN=whole, **shape)  # fmt: skip
    elif m:
        shape = tile_of(m, INT8)
        grid, each = launch(m, n, k, shape["BM"], shape)
        sums = y if grid[2] == 1 else y.new_empty((grid[2], m, n), dtype=torch.int32)
        int8_gemm[grid](q, codes, s, sw, shift, total, sums, m, n, k, each, HAS_ZERO=zero is not None,
                        EVEN=even(m, n, k, shape), SPLIT=grid[2] > 1, **shape)  # fmt: skip
        added(sums, s, sw, shift, total, y, INT8=True, HAS_ZERO=zero is not None)
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
    layout = {"BH": heights[tuple(scale.shape)], "BLOCKED": tuple(scale.shape) == blocks and scale.numel() > 1}
    scale = scale.float().contiguous()
    return in_pieces(lambda rows: fp8_product(rows, codes.contiguous(), scale, layout), x, n)


def fp8_product(x: Tensor, codes: Tensor, scale: Tensor, layout: dict) -> Tensor:
    q, s, _ = quantize_tokens(x, torch.float8_e4m3fn, BLOCK if layout["BLOCKED"] else None)
    m, (n, k) = len(x), codes.shape
    y = x.new_empty((m, n))
    parts = (q, codes, s, scale, y)
    if m == 1:
        shape = ONE_FP8 if ON_GPU else {"BN": 128, "BC": 512}
        whole = n % shape["BN"] == 0 and k % shape["BC"] == 0
        fp8_gemv[(-(-n // shape["BN"]),)](*parts, n, k, s.shape[1], scale.shape[1], **layout, EVEN=whole, **shape)
    elif m > 64 and not layout["BLOCKED"] and copied(*parts[:2]):
        pairs(*parts, layout["BH"])
    elif m:
        shape = tile_of(m, FP8)
        fp8_gemm[(-(-m // shape["BM"]), -(-n // shape["BN"]))](
            *parts, m, n, k, s.shape[1], scale.shape[1], **layout, EVEN=even(m, n, k, shape), **shape)  # fmt: skip
    return y


def copied(*matrices: Tensor) -> bool:
    """Whether Hopper's copy engine can fetch their tiles: rows must begin at multiples of 16 bytes."""
    hopper = not ON_GPU or torch.version.cuda is not None and torch.cuda.get_device_capability()[0] == 9
    return hopper and all(v.data_ptr() % 16 == 0 and v.shape[1] % 16 == 0 for v in matrices)


def pairs(q: Tensor, codes: Tensor, s: Tensor, sw: Tensor, y: Tensor, height: int) -> None:
    """y = q codesᵀ, scaled, for many tokens."""
    m, n, k, shape = *y.shape, q.shape[1], tile_of(len(q), PAIR)
    grid, each = launch(m, n, k, 2 * shape["BM"], shape)
    sums = y if grid[2] == 1 else y.new_empty((grid[2], m, n), dtype=torch.float32)
    tiles = (TensorDescriptor.from_tensor(v, [shape[side], shape["BK"]]) for v, side in ((q, "BM"), (codes, "BN")))
    fp8_pair[grid](*tiles, s, sw, sums, m, n, each, BH=height, **shape)
    added(sums, s, sw, s, s, y, INT8=False, HAS_ZERO=False)


ONE_INT8 = {"BN": 4, "BC": 256, "num_warps": 2}
ONE_FP8 = {"BN": 2, "BC": 512, "num_warps": 1}
NAMES = ("BM", "BN", "BK", "num_warps", "num_stages")  # the quickest of those tried on an H200, for tokens up to:
INT8 = {16: (16, 64, 128, 4, 5), 64: (64, 64, 256, 4, 5), 128: (128, 64, 128, 4, 4), 1 << 30: (128, 128, 128, 4, 3)}
FP8 = {16: (16, 64, 128, 4, 5), 64: (64, 64, 128, 4, 8), 1 << 30: (64, 128, 128, 4, 4)}
PAIR = {1 << 30: (64, 128, 128, 4, 3)}


def tile_of(m: int, table: dict[int, tuple]) -> dict[str, int]:
    if not ON_GPU:
        return {"BM": 64, "BN": 256 if table is INT8 else 128, "BK": BLOCK}
    return dict(zip(NAMES, table[min(most for most in table if m <= most)], strict=True))


def launch(m: int, n: int, k: int, tall: int, shape: dict[str, int]) -> tuple[tuple[int, int, int], int]:
    """The grid, and the columns of a part: with more than 64 tokens, as many parts as let two programs share each
    multiprocessor, of eight turns or more."""
    rows, columns, turns = -(-m // tall), -(-n // shape["BN"]), -(-k // shape["BK"])
    room = 2 * torch.cuda.get_device_properties(0).multi_processor_count if ON_GPU and m > 64 else 0
    each = -(-turns // max(1, min(room // (rows * columns), turns // 8)))
    return (rows, columns, -(-turns // each)), each * shape["BK"]


def added(sums: Tensor, s, sw, shift, total, y: Tensor, **constants) -> None:
    """y from its parts, where there are any."""
    if sums is not y:
        m, n = y.shape
        add_parts[(m, -(-n // 2048))](sums, len(sums), s, sw, shift, total, y, m, n, BN=2048, **constants)


def even(m: int, n: int, k: int, shape: dict[str, int]) -> bool:
    """Whether tiles end where the matrices end, so that nothing needs a mask."""
    return m % shape["BM"] == 0 and n % shape["BN"] == 0 and k % shape["BK"] == 0


def matrix(codes: Tensor, dtype: torch.dtype) -> tuple[int, int]:
    if codes.dim() != 2 or codes.dtype != dtype:
        raise ValueError(f"codes must be {dtype} (n, k), got {codes.dtype} {tuple(codes.shape)}")
    fits("codes", codes.shape)
    return codes.shape


def columns(x: Tensor, k: int) -> None:
    if x.dim() != 2 or x.shape[1] != k:
        raise ValueError(f"x must be (m, {k}), got {tuple(x.shape)}")
