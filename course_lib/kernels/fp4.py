"""y = x Wᵀ with W in MXFP4 or NVFP4 on a GPU that has no FP4 units: decode to 16 bits on the way, multiply as usual.

E2M1 has two exponent bits and one mantissa bit; placed where float16 keeps its own (and the sign at the top), they mean
the same number times 2⁻¹⁴, subnormal 0.5 included. So decoding is shifts and one multiplication, which the scale takes
along. MXFP4's scales are bytes of exponent: they are stored relative to their row's largest, so that a weight in
float16 neither overflows nor vanishes; NVFP4's are E4M3, and one float32 for the tensor goes into every row's factor.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from torch import Tensor

from course_lib.kernels import ON_GPU, interpreter, packing  # noqa: F401  interpreter is mended by its import
from course_lib.qtensor import QTensor


@dataclass(frozen=True, eq=False)
class PackedFp4:
    """words (n, padded k/8) int32, as in `packing`; scale (n, blocks) uint8; row (n,) float32; shape (n, k)."""

    words: Tensor
    scale: Tensor
    row: Tensor
    shape: tuple[int, int]
    block: int  # 32: MXFP4, scales E8M0; 16: NVFP4, scales E4M3

    def to(self, device) -> PackedFp4:
        return PackedFp4(self.words.to(device), self.scale.to(device), self.row.to(device), self.shape, self.block)


def pack(q: QTensor) -> PackedFp4:
    """Pack an MXFP4 or NVFP4 QTensor (n, k); ValueError for another.

    >>> from course_lib.formats import microscaling
    >>> pack(microscaling.quantize(torch.randn(8, 64), "nvfp4")).words.shape
    torch.Size([8, 8])
    """
    known = {(1, 32): torch.float8_e8m0fnu, (1, 16): torch.float8_e4m3fn}
    if q.scheme.format != "e2m1" or known.get(q.scheme.block) != q.scheme.scale_dtype or len(q.shape) != 2:
        raise ValueError(f"q must be an MXFP4 or NVFP4 matrix, as microscaling.quantize makes them, got {q!r}")
    block = q.scheme.block[1]
    row = torch.ones(q.shape[0], device=q.codes.device)
    scale = q.scale.view(torch.uint8)
    if block == 32:
        top = scale.amax(1, keepdim=True).int()
        row = torch.ldexp(row, top[:, 0] - 127)
        scale = torch.where(scale == 255, scale.int(), (scale.int() - top + 127).clamp(min=0)).to(torch.uint8)
    row = row if q.tensor_scale is None else row * q.tensor_scale
    return PackedFp4(packing.pack_words(q.codes.int(), block), scale.contiguous(), row, tuple(q.shape), block)


@triton.jit
def e2m1(w, j: tl.constexpr):
    """Nibble j of each word as float32, times 2⁻¹⁴."""
    q = w >> (4 * j)
    return (((q & 7) << 9) | ((q & 8) << 12)).to(tl.int16).to(tl.float16, bitcast=True).to(tl.float32)


@triton.jit
def block_scale(at, inside, MX: tl.constexpr):
    """The scale behind a byte, times 2¹⁴: a power of two (E8M0, 255 being NaN) or E4M3."""
    if MX:
        s = tl.load(at, mask=inside, other=0).to(tl.int32)
        return tl.where(s == 255, float("nan"), ((s + 14) << 23).to(tl.float32, bitcast=True))
    else:
        return (
            tl.load(at.to(tl.pointer_type(tl.float8e4nv), bitcast=True), mask=inside, other=0.0).to(tl.float32) * 16384
        )


@triton.jit
def gemv(x, words, scale, row, y, n, k, W: tl.constexpr, MX: tl.constexpr, BN: tl.constexpr, BB: tl.constexpr):
    """x (k,), words (n, blocks·W) -> y (n,)."""
    rows = tl.program_id(0) * BN + tl.arange(0, BN)
    blocks = tl.cdiv(k, 8 * W)
    c = tl.arange(0, BB * W)
    acc = tl.zeros((BN, BB * W), tl.float32)
    for b in range(0, blocks, BB):
        block = b + c // W
        inside = (rows < n)[:, None] & (block < blocks)[None, :]
        w = tl.load(words + rows[:, None] * (blocks * W) + b * W + c[None, :], mask=inside, other=0)
        s = block_scale(scale + rows[:, None] * blocks + block[None, :], inside, MX)
        part = tl.zeros((BN, BB * W), tl.float32)
        for j in tl.static_range(8):
            column = block * 8 * W + j * W + c % W
            v = tl.load(x + column, mask=column < k, other=0.0).to(tl.float32)
            part += e2m1(w, j) * v[None, :]
        acc += s * part
    total = tl.sum(acc, axis=1) * tl.load(row + rows, mask=rows < n, other=0.0)
    tl.store(y + rows, total.to(y.dtype.element_ty), mask=rows < n)


@triton.jit
def gemm(x, words, scale, row, y, m, n, k, W: tl.constexpr, MX: tl.constexpr,
         BM: tl.constexpr, BN: tl.constexpr, TW: tl.constexpr):  # fmt: skip
    """x (m, k), words (n, blocks·W) -> y (m, n); TW words of a row at a time."""
    tokens = tl.program_id(0) * BM + tl.arange(0, BM)
    rows = tl.program_id(1) * BN + tl.arange(0, BN)
    blocks = tl.cdiv(k, 8 * W)
    c = tl.arange(0, TW)
    acc = tl.zeros((BM, BN), tl.float32)
    for b in range(0, blocks, TW // W):
        block = b + c // W
        inside = (block < blocks)[:, None] & (rows < n)[None, :]
        w = tl.load(words + rows[None, :] * (blocks * W) + b * W + c[:, None], mask=inside, other=0)
        s = block_scale(scale + rows[None, :] * blocks + block[:, None], inside, MX)
        for j in tl.static_range(8):
            column = block * 8 * W + j * W + c % W
            known = (tokens < m)[:, None] & (column < k)[None, :]
            v = tl.load(x + tokens[:, None] * k + column[None, :], mask=known, other=0.0)
            u = (e2m1(w, j) * s).to(x.dtype.element_ty)
            acc = tl.dot(v, u, acc, input_precision="ieee")
    acc *= tl.load(row + rows, mask=rows < n, other=0.0)[None, :]
    inside = (tokens < m)[:, None] & (rows < n)[None, :]
    tl.store(y + tokens[:, None] * n + rows[None, :], acc.to(y.dtype.element_ty), mask=inside)


def linear(x: Tensor, packed: PackedFp4) -> Tensor:
    """y (..., n) = x (..., k) · W_hatᵀ in x's dtype: the GEMV kernel for one token, the GEMM for more.

    ValueError where x's columns, dtype or device do not match.
    """
    n, k = packed.shape
    if x.dim() == 0 or x.shape[-1] != k or not x.dtype.is_floating_point or x.device != packed.words.device:
        raise ValueError(
            f"x must be (..., {k}) floats on {packed.words.device}, got {x.dtype} {tuple(x.shape)} on {x.device}"
        )
    flat = x.reshape(-1, k).contiguous()
    y = x.new_empty((len(flat), n))
    layout = {"W": packed.block // 8, "MX": packed.block == 32}
    parts = (packed.words, packed.scale, packed.row, y)
    if len(flat) == 1:
        tile = {"BN": 32, "BB": 64 // layout["W"]} if ON_GPU else {"BN": 128, "BB": 256 // layout["W"]}
        gemv[(-(-n // tile["BN"]),)](flat, *parts, n, k, **layout, **tile)
    elif len(flat):
        tile = {"BM": 16 if len(flat) <= 16 else 64, "BN": 64} if ON_GPU else {"BM": 64, "BN": 256}
        grid = (-(-len(flat) // tile["BM"]), -(-n // tile["BN"]))
        gemm[grid](flat, *parts, len(flat), n, k, **layout, **tile, TW=16)
    return y.reshape(*x.shape[:-1], n)
