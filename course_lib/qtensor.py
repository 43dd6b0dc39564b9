"""quantize(w, scheme) -> QTensor and back: one code per weight, one scale per block, and the bytes they take."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from course_lib.scheme import Scheme


@dataclass(frozen=True, eq=False, repr=False)
class QTensor:
    """Codes and what is needed to decode them, w_hat = step * (codes - zero_point) for integer formats.

    ============  ==============================  ===========================================================
    codes         (..., rows, cols)               one whole number a weight (padding included), not packed
    scale         (..., rows/br, cols/bc)         in scheme.scale_dtype; a QTensor where scheme.scale_scheme
    zero_point    like scale, uint8, or None      None where the format has none; in scheme.zero_dtype where it has one
    shape         shape of w                      smaller than codes where w was padded
    g_idx         (cols,) int32, or None          group of each column; None means column // bc
    tensor_scale  (...) float32, or None          step = scale * tensor_scale
    ============  ==============================  ===========================================================

    Affine formats, MLX's, keep their bias where others have a zero point: w_hat = step * codes + zero_point.
    A one-dimensional w is one row: codes (cols,), scale (cols/bc,). ValueError where shapes do not fit.
    """

    codes: Tensor
    scale: Tensor | QTensor
    zero_point: Tensor | None
    scheme: Scheme
    shape: tuple[int, ...]
    g_idx: Tensor | None = None
    tensor_scale: Tensor | None = None

    def __post_init__(self):
        object.__setattr__(self, "shape", tuple(self.shape))
        want = grid_shape(self.codes.shape, self.scheme.block)
        for name in ("scale", "zero_point"):
            t = getattr(self, name)
            if isinstance(t, Tensor) and t.shape != want:
                raise ValueError(f"{name} must have shape {tuple(want)} for codes {tuple(self.codes.shape)} in blocks"
                                 f" {self.scheme.block}, got {tuple(t.shape)}")  # fmt: skip
        if self.g_idx is not None:
            _check_g_idx(self.g_idx, self.codes.shape[-1], want[-1])

    @property
    def step(self) -> Tensor:
        """Distance between neighbouring integers, float32, shaped like scale: every level of scales multiplied out."""
        return step(self.scale, self.tensor_scale, grid_shape(self.codes.shape, self.scheme.block))

    @property
    def scales(self) -> Tensor | QTensor:
        """Another name of scale."""
        return self.scale

    @property
    def nbytes(self) -> int:
        """Bytes stored: codes and whole zero points at b bits, scales, g_idx (4 a column) unless trivial, tensor scale.

        A real zero point takes its dtype's bytes. That of symmetric="full" is the same everywhere and costs nothing;
        padding is stored and counts.

        >>> quantize(torch.ones(2, 256), Scheme.int(4, symmetric=False, group=128)).nbytes  # 256 + 4*4 + 4*0.5
        274
        """
        zeros = self.zero_point.numel() if self.scheme.symmetric is False and self.zero_point is not None else 0
        zero_bits = self.scheme.bits if self.scheme.zero_dtype is None else 8 * self.scheme.zero_dtype.itemsize
        total_bytes = math.ceil(self.codes.numel() * self.scheme.bits / 8) + math.ceil(zeros * zero_bits / 8)
        total_bytes += self.scale.nbytes
        if self.g_idx is not None and not self._g_idx_is_trivial():
            total_bytes += 4 * self.g_idx.numel()
        return total_bytes + (4 * self.tensor_scale.numel() if self.tensor_scale is not None else 0)

    @property
    def bits_per_weight(self) -> float:
        """8 * nbytes over the number of weights in w (not of padded ones)."""
        return 8 * self.nbytes / math.prod(self.shape)

    def dequantize(self) -> Tensor:
        """The weights that the codes stand for, float32, in the shape of w; g_idx picks each column's group."""
        one_row = self.codes.dim() == 1
        parts = (self.codes, self.step, self.zero_point)
        codes, step_, zero = (t[None] if one_row and t is not None else t for t in parts)
        split = split_blocks(codes, self.scheme.block)  # (..., rows/br, br, cols/bc, bc)
        if self.g_idx is None:
            w = self.scheme.codec.decode(split, spread(step_), spread(zero))
        else:
            per_column = [None if t is None else t[..., self.g_idx.long()][..., None, :] for t in (step_, zero)]
            w = self.scheme.codec.decode(split.flatten(-2), *per_column)  # (..., rows/br, br, cols)
        w = w.reshape(codes.shape)
        w = w[0] if one_row else w
        return w[tuple(slice(n) for n in self.shape)]

    def _g_idx_is_trivial(self) -> bool:
        cols = self.codes.shape[-1]
        per_group = cols // grid_shape(self.codes.shape, self.scheme.block)[-1]
        return torch.equal(self.g_idx.long(), torch.arange(cols, device=self.g_idx.device) // per_group)

    def __repr__(self) -> str:
        return f"QTensor({self.scheme.name}, shape={self.shape}, {self.bits_per_weight:.3f} bits/weight)"


def quantize(w: Tensor, scheme: Scheme, observer=None, pad: bool = False) -> QTensor:
    """Quantize w (..., rows, cols), q = clip(round(w/s) + z), ties to even, one (s, z) per block of the scheme.

    observer picks the range of each block: None or "minmax", "percentile", "mse", "entropy", or a function
    (blocks (..., n), scheme) -> (lo, hi). pad=True fills rows and columns with zeros up to whole blocks.
    16-bit weights are computed in float32. The scale is rounded to scheme.scale_dtype before the codes are computed.
    TypeError for integer weights; ValueError for NaN, infinity, an empty tensor, or blocks that do not divide.

    >>> q = quantize(torch.tensor([0.15, -1.22, 2.40, -0.45]), Scheme.int(4))
    >>> q.codes.tolist(), round(q.scale.item(), 5)
    ([0, -4, 7, -1], 0.34286)
    """
    if not isinstance(scheme, Scheme):
        raise TypeError(f"scheme must be a Scheme, such as Scheme.int(4, group=128), got {type(scheme).__name__}")
    matrix = _checked(w)  # float32, at least two axes
    matrix = _pad_to_blocks(matrix, scheme.block) if pad else matrix
    split = split_blocks(matrix, scheme.block)  # (..., rows/br, br, cols/bc, bc)
    grid = scheme.codec.grid(gather_blocks(split), scheme, observer)
    codes = scheme.codec.encode(split, spread(grid.step), spread(grid.zero_point)).reshape(matrix.shape)
    scale, zero = grid.scale, grid.zero_point
    if w.dim() == 1:
        codes, zero = codes[0], None if zero is None else zero[0]
        scale = scale[0] if isinstance(scale, Tensor) else scale
    return QTensor(codes, scale, zero, scheme, tuple(w.shape), tensor_scale=grid.tensor_scale)


def dequantize(q) -> Tensor:
    """The float32 weights of anything that decodes itself: a QTensor, or another type with .dequantize()."""
    if isinstance(q, Tensor) or not hasattr(q, "dequantize"):
        raise TypeError(f"q must be a QTensor, as quantize returns it, got {type(q).__name__}")
    return q.dequantize()


def step(scale: Tensor | QTensor, tensor_scale: Tensor | None, shape) -> Tensor:
    """Effective float32 scale of each block: scale * tensor_scale, a quantized scale decoded first."""
    s = scale.dequantize().reshape(shape) if isinstance(scale, QTensor) else scale.float()
    return s if tensor_scale is None else s * tensor_scale[..., None, None]


def block_size(shape, block: tuple[int, int]) -> tuple[int, int]:
    """block with each -1 replaced by its axis of shape (..., rows, cols); ValueError if it does not divide."""
    sizes = []
    for n, b, axis in zip(shape[-2:], block, ("rows", "columns"), strict=True):
        b = n if b == -1 else b
        if n % b:
            raise ValueError(f"a block of {b} {axis} does not divide w's {n} {axis}: choose a divisor of {n},"
                             " or pad=True to fill up with zeros")  # fmt: skip
        sizes.append(b)
    return tuple(sizes)


def grid_shape(shape, block: tuple[int, int]) -> torch.Size:
    """Shape of the scales of a tensor of this shape: (..., rows/br, cols/bc), or (cols/bc,) for one row."""
    full = (1, *shape) if len(shape) == 1 else tuple(shape)
    br, bc = block_size(full, block)
    grid = (*full[:-2], full[-2] // br, full[-1] // bc)
    return torch.Size(grid[1:] if len(shape) == 1 else grid)


def split_blocks(w: Tensor, block: tuple[int, int]) -> Tensor:
    """View (..., rows, cols) as (..., rows/br, br, cols/bc, bc)."""
    br, bc = block_size(w.shape, block)
    return w.reshape(*w.shape[:-2], w.shape[-2] // br, br, w.shape[-1] // bc, bc)


def gather_blocks(split: Tensor) -> Tensor:
    """(..., R, br, C, bc) -> (..., R, C, br*bc), so that the last axis holds the numbers that share a scale."""
    return split.transpose(-3, -2).flatten(-2)


def spread(t: Tensor | None) -> Tensor | None:
    """(..., R, C) -> (..., R, 1, C, 1), to broadcast one value over each block of split_blocks."""
    return None if t is None else t[..., :, None, :, None]


def _checked(w) -> Tensor:
    """w as float32 with at least two axes, or one clear sentence."""
    if not isinstance(w, Tensor) or not w.is_floating_point():
        kind = w.dtype if isinstance(w, Tensor) else type(w).__name__
        raise TypeError(f"w must be a floating-point tensor, got {kind}: convert it with torch.as_tensor(w).float()")
    if w.dim() == 0 or w.numel() == 0:
        raise ValueError(f"w must hold at least one row of weights, got shape {tuple(w.shape)}")
    w = w.detach().float()
    if not torch.isfinite(torch.stack(torch.aminmax(w))).all():
        bad = (~torch.isfinite(w)).nonzero()
        raise ValueError(f"w must be finite in float32: {len(bad)} of {w.numel()} values are NaN or infinite,"
                         f" the first at {tuple(bad[0].tolist())}")  # fmt: skip
    return w[None] if w.dim() == 1 else w


def _pad_to_blocks(w: Tensor, block: tuple[int, int]) -> Tensor:
    """w with zeros appended to its last two axes up to whole blocks."""
    rows, cols = (0 if b == -1 else -n % b for n, b in zip(w.shape[-2:], block, strict=True))
    return F.pad(w, (0, cols, 0, rows)) if rows or cols else w


def _check_g_idx(g_idx: Tensor, cols: int, groups: int) -> None:
    if g_idx.shape != (cols,) or g_idx.is_floating_point() or not 0 <= g_idx.min() <= g_idx.max() < groups:
        raise ValueError(f"g_idx must hold {cols} group numbers in 0…{groups - 1}, one a column, got {g_idx.dtype}"
                         f" of shape {tuple(g_idx.shape)}")  # fmt: skip
