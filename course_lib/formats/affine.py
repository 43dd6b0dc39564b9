"""Affine grids affine2 … affine8, as MLX has them: w ≈ s·q + b, a scale and a bias for each group, both real numbers.

"bias" is MLX's word for the number that code 0 stands for; it lies where a QTensor has its zero point.
"""

from __future__ import annotations

import torch
from torch import Tensor

from course_lib.formats.integer import Integer
from course_lib.formats.registry import Codec, Grid
from course_lib.qtensor import QTensor, gather_blocks, split_blocks, spread
from course_lib.qtensor import quantize as quantize_blocks
from course_lib.scheme import Scheme

BITS, GROUPS = (2, 3, 4, 5, 6, 8), (32, 64, 128)
EPS = 1e-7  # the least |s| before it is corrected


def exact_edge(lo: Tensor, hi: Tensor, bits: int, rounded=torch.round) -> tuple[Tensor, Tensor]:
    """MLX's scale and bias, float32, of groups of weights in [lo, hi]: one end is hit exactly, and so is 0 if it lies
    between them.

        s = max((hi - lo) / (2^bits - 1), 1e-7), negative where |hi| >= |lo|    codes start from the end farther from 0
        e = that end,   k = round(e / s)                                        steps from there to 0, made whole
        s = e / k, b = e;   s as it is and b = 0 where k = 0

    Source: `affine_quantize` in mlx/ops.cpp and `quantize` in mlx/backend/cpu/quantized.cpp of MLX 0.32. What k gains
    by rounding the other end, s·(2^bits - 1) + b, loses: up to (2^bits - 1) / 2k of the first s, half of it where all
    weights have one sign, nearly all where both ends are about as far, as in Q4_0. What lies beyond is cut.

    >>> s, b = exact_edge(torch.tensor(-0.98), torch.tensor(1.0), 4)  # marks at 1, 7/8 … -7/8: -0.98 is cut
    >>> s.item(), b.item()
    (-0.125, 1.0)
    """
    far = lo.abs() > hi.abs()
    scale = ((hi - lo) / (2**bits - 1)).clamp(min=EPS)
    scale, edge = torch.where(far, scale, -scale), torch.where(far, lo, hi)
    steps = rounded(edge / scale)
    whole = steps != 0
    return torch.where(whole, edge / steps, scale), torch.where(whole, edge, 0.0)


class Affine(Codec):
    """q = clip(round((w - b) / s), 0, 2^bits - 1), ties to even; decoded, s·q + b in float32. s may be negative.

    grid is `exact_edge`, stored in the scheme's scale_dtype; zero_dtype, that of b, is the same.
    """

    def __init__(self, bits: int):
        self.name, self.bits = f"affine{bits}", bits

    def check(self, scheme: Scheme) -> None:
        if scheme.symmetric is not False or scheme.zero_dtype != scheme.scale_dtype:
            raise ValueError(f"{self.name} has a bias like its scale: expected symmetric=False and zero_dtype="
                             f"{scheme.scale_dtype}, got {scheme.symmetric!r} and {scheme.zero_dtype}")  # fmt: skip
        if scheme.scale_rule is not None or scheme.scale_scheme is not None or scheme.tensor_scale:
            raise ValueError(f"{self.name} has one plain scale a group, got {scheme.name}")

    def from_range(self, lo: Tensor, hi: Tensor, scheme: Scheme, tensor_scale: Tensor | None = None) -> Grid:
        scale, bias = (_stored(t, scheme.scale_dtype) for t in exact_edge(lo, hi, self.bits))
        return Grid(scale, bias, None, scale.shape)

    def encode(self, w: Tensor, step: Tensor, zero_point: Tensor | None = None) -> Tensor:
        q = (w.float() - zero_point.float()) / torch.where(step == 0, torch.inf, step)
        return q.round_().clamp_(0, 2**self.bits - 1).to(torch.uint8)

    def decode(self, codes: Tensor, step: Tensor, zero_point: Tensor | None = None) -> Tensor:
        return step * codes.float() + zero_point.float()


CODECS = {f"affine{bits}": Affine(bits) for bits in BITS}


def scheme(bits: int, group: int = 64, dtype: torch.dtype = torch.float16) -> Scheme:
    """The Scheme of MLX's affine mode: a scale and a bias in `dtype` for each `group` weights of a row.

    >>> scheme(4).name
    'affine4 g64 asym fp16 zero fp16'
    """
    if bits not in BITS:
        raise ValueError(f"bits must be one of {', '.join(map(str, BITS))}, which MLX has, got {bits!r}")
    return Scheme(f"affine{bits}", (1, group), False, dtype, zero_dtype=dtype)


def away(x: Tensor) -> Tensor:
    """x rounded to whole numbers, halves away from 0, as C's round does.

    >>> away(torch.tensor([-2.5, -0.4, 0.5, 1.5])).tolist()
    [-3.0, 0.0, 1.0, 2.0]
    """
    whole = x.trunc()
    return whole + torch.where((x - whole).abs() >= 0.5, x.sign(), 0.0)


def as_mlx(w: Tensor, scheme: Scheme, gpu: bool = False) -> QTensor:
    """What mlx.core.quantize makes of w (out, in) in the dtype of its scales, code for code and scale for scale.

    w is rounded to scheme.scale_dtype first. Unlike `course_lib.quantize(w, scheme)` it then computes codes with s
    before s is rounded, as MLX does; those few that lie near a midpoint differ. It serves as a `method` of
    `quantize_model`. ValueError for a scheme that is not affine.

    gpu  as MLX's kernels for Metal and CUDA have it (metal/kernels/quantized.h, cuda/quantized/affine_quantize.cu):
         halves go away from 0, on a CPU to even, and hi is at least 0. Weights of 16 bits lie on many midpoints.

    >>> w = torch.linspace(-1.0, 0.5, 32)[None]
    >>> q = as_mlx(w, scheme(2, 32))                     # edge -1, s = 0.5: marks at -1, -0.5, 0, 0.5
    >>> q.scale.item(), q.zero_point.item(), q.dequantize()[0, [0, -1]].tolist()
    (0.5, -1.0, [-1.0, 0.5])
    """
    if not isinstance(scheme, Scheme) or not isinstance(scheme.codec, Affine) or scheme.block[0] != 1:
        raise ValueError(f"scheme must be one that affine.scheme(bits, group, dtype) gives, got {scheme!r}")
    stored = w.to(scheme.scale_dtype)
    grid = quantize_blocks(stored, scheme)  # its complaints about w are the ones to hear
    split = split_blocks(stored.float(), scheme.block)
    lo, hi = torch.aminmax(gather_blocks(split), dim=-1)
    if not gpu:
        scale, bias = exact_edge(lo, hi, scheme.bits)
        codes = scheme.codec.encode(split, spread(scale), spread(bias)).reshape(w.shape)
        return QTensor(codes, grid.scale, grid.zero_point, scheme, tuple(w.shape))
    scale, bias = exact_edge(lo, hi.clamp(min=0), scheme.bits, away)
    codes = away((split - spread(bias)) / spread(scale)).clamp_(0, 2**scheme.bits - 1).to(torch.uint8)
    scale, bias = (_stored(t, scheme.scale_dtype) for t in (scale, bias))
    return QTensor(codes.reshape(w.shape), scale, bias, scheme, tuple(w.shape))


def stepwise(q: QTensor) -> Tensor:
    """s·q + b with s·q rounded to the dtype of s, and the sum again: mlx.core.dequantize on a CPU, bit for bit.

    On a Mac's GPU MLX rounds only once (`dequantize` in its metal/kernels/quantized.h), and `q.dequantize().to(dtype)`
    is that. Its products by a vector round neither, as `q.dequantize()` does. Shape of w, dtype of s.
    """
    codes, scale, bias = split_blocks(q.codes, q.scheme.block), spread(q.scale), spread(q.zero_point)
    return (codes.to(scale.dtype) * scale + bias).reshape(q.shape)


def of_integers(q: QTensor) -> QTensor:
    """The same codes and scales with b = -z·s, rounded to the dtype of s, in place of integers' zero points z.

    A weight then differs by half a unit in the last place of b at most (and by float32's rounding of the sum): that is
    z·2^-11 steps in float16 and z·2^-8 in bfloat16, z < 2^bits. Nothing differs where the grid is symmetric, since
    2^(bits-1)·s has the mantissa of s.
    ValueError for what is no integer format, for bits that MLX lacks, and for a b that overflows.

    >>> q = quantize_blocks(torch.linspace(-1.0, 2.0, 64)[None], Scheme.int(4, False, 64, scale_dtype=torch.float16))
    >>> q.zero_point.item(), -5 * q.scale.item(), of_integers(q).zero_point.item()
    (5, -0.999755859375, -1.0)
    """
    if not isinstance(q.scheme.codec, Integer) or q.scheme.bits not in BITS or q.scheme.block[0] != 1:
        raise ValueError(f"q must hold integers of {', '.join(map(str, BITS))} bits with one scale a row or a group of"
                         f" a row, got {q.scheme.name!r}")  # fmt: skip
    codes, zero = q.codes, q.zero_point
    if q.scheme.symmetric is True:
        codes, zero = (codes.short() + 2 ** (q.scheme.bits - 1)).to(torch.uint8), 2 ** (q.scheme.bits - 1)
    bias = _stored(
        -(zero * q.scale.float() if isinstance(zero, int) else zero.float() * q.scale.float()), q.scale.dtype
    )
    to = Scheme(f"affine{q.scheme.bits}", q.scheme.block, False, q.scale.dtype, zero_dtype=q.scale.dtype)
    return QTensor(codes, q.scale, bias, to, q.shape, q.g_idx)


def to_integers(q: QTensor) -> QTensor:
    """The QTensor of whole zero points that `of_integers` makes q of: z with round(-z·s) = b, 0 <= z < 2^bits.

    At most one z fits where neighbours z·s lie more than a unit in the last place apart: always in float16 and float32,
    up to 6 bits in bfloat16. symmetric is "full" where all z are 2^(b-1), else False. ValueError where no z fits a
    group, as in most of MLX's own files, or where several do.
    """
    if not isinstance(q.scheme.codec, Affine):
        raise ValueError(f"q must have an affine format, as affine.scheme gives, got {q.scheme.name!r}")
    near = torch.round(-q.zero_point.float() / q.scale.float()).nan_to_num(0, 0, 0)
    tried = torch.stack([near - 1, near, near + 1])
    fits = ((-tried * q.scale.float()).to(q.scale.dtype) == q.zero_point) & (tried >= 0) & (tried < 2**q.scheme.bits)
    if not (fits.sum(0) == 1).all():
        none = (fits.sum(0) == 0).sum().item()
        raise ValueError(f"q has no whole zero points: none fits the bias of {none} of {q.scale.numel()} groups, and"
                         f" several fit that of {(fits.sum(0) > 1).sum().item()}")  # fmt: skip
    zero = torch.where(fits, tried, 0).sum(0).to(torch.uint8)
    symmetric = "full" if (zero == 2 ** (q.scheme.bits - 1)).all() else False
    to = Scheme(f"int{q.scheme.bits}", q.scheme.block, symmetric, q.scale.dtype)
    return QTensor(q.codes, q.scale, zero, to, q.shape, q.g_idx)


def _stored(t: Tensor, dtype: torch.dtype) -> Tensor:
    """t in dtype; ValueError where it overflows."""
    small = t.to(dtype)
    if not torch.isfinite(small).all():
        raise ValueError(f"a scale or bias of {t.abs().max().item():.4g} does not fit {dtype}")
    return small
