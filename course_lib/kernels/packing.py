"""int4 codes as the kernels want to read them: eight in a 32-bit word, neighbours 16 bits apart, a tile in one piece.

A block is four runs of R columns, and lies in R halfwords: nibble j of halfword h holds column `R·j + h`. Inputs that
meet one nibble of all halfwords are a run, so x is read in runs, too; and in a word the neighbours 2c and 2c + 1 lie at
nibbles j and j + 4, where one instruction takes both for a pair of 16-bit floats. Blocks of all rows lie together: a
tile of rows is kilobytes in one piece, as memory likes to be read.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from course_lib.qtensor import QTensor
from course_lib.scheme import Scheme

BLOCK = 128  # columns in a block of four runs of 32


@dataclass(frozen=True, eq=False)
class PackedInt4:
    """w_hat[n, k] = scale[n, g] · (u[n, k] − zero[n, g]), u in 0…15, g the group of column k.

    ========  =======================  ==================================================================
    words     (blocks, n, R / 2) int32 eight codes each
    scale     (groups, n)              float16, bfloat16 or float32: a tile of rows reads a run
    zero      (groups, n) float16      or None, where it is 8 everywhere
    shape     (n, k)                   of the weight
    group     columns in a group       32, 64, a multiple of 128, or the whole row
    order     (k,) int64 or None       columns sorted by group, where g_idx (act-order) mixed them
    run       R: columns in a run      a quarter of a block
    locks     (tiles,) int32           counters of the split kernel, zero between calls: one call at a time
    ========  =======================  ==================================================================
    """

    words: Tensor
    scale: Tensor
    zero: Tensor | None
    shape: tuple[int, int]
    group: int
    run: int = 32
    order: Tensor | None = None
    locks: Tensor | None = None

    def __post_init__(self):
        if self.locks is None and self.words is not None:  # one for each tile of a kernel that splits rows; always 0
            object.__setattr__(self, "locks", self.words.new_zeros(-(-self.shape[0] // 32)))

    @property
    def nbytes(self) -> int:
        return sum(
            t.numel() * t.element_size() for t in (self.words, self.scale, self.zero, self.order) if t is not None
        )

    def to(self, device) -> PackedInt4:
        moved = {name: t if t is None else t.to(device) for name in ("words", "scale", "zero", "order")
                 for t in [getattr(self, name)]}  # fmt: skip
        return PackedInt4(**moved, shape=self.shape, group=self.group, run=self.run)


def pack(q: QTensor, dtype: torch.dtype = torch.float16, run: int | None = 32) -> PackedInt4:
    """Pack an int4 QTensor (n, k), scales as `dtype`; ValueError for another format or a group that is not whole runs.

    run: columns in a run; None for the longest that suits the group and the row, which a GPU reads best.

    >>> from course_lib import Scheme, quantize
    >>> packed = pack(quantize(torch.randn(8, 256), Scheme.int(4, group=64)))
    >>> packed.words.shape, packed.scale.shape
    (torch.Size([2, 8, 16]), torch.Size([4, 8]))
    """
    rows, group = q.scheme.block
    n, k = q.shape if len(q.shape) == 2 else (0, 0)
    if q.scheme.zero_dtype is not None:
        raise ValueError(f"the kernels subtract whole zero points, and q has real ones ({q.scheme.name})")
    if q.scheme.format != "int4" or rows != 1 or not n or q.tensor_scale is not None or isinstance(q.scale, QTensor):
        raise ValueError(f"q must be an int4 matrix with plain scales per row and group, got {q!r}")
    group = q.codes.shape[1] if group == -1 else group
    whole_row = q.scale.shape[1] == 1
    run = run or longest_run(BLOCK if whole_row else group, k)
    if not whole_row and not suits(group, run):
        raise ValueError(f"the group must be {run}, {2 * run} or a multiple of {4 * run} to be packed, got {group}")
    codes = q.codes.to(torch.int32) + (8 if q.scheme.symmetric is True else 0)
    order = None
    if q.g_idx is not None:
        order = torch.argsort(q.g_idx.long(), stable=True)
        if not torch.equal(q.g_idx[order].long(), torch.arange(k, device=order.device) // group):
            raise ValueError(f"g_idx must put {group} columns into each group to be packed")
        codes = codes[:, order]
    zero = q.zero_point.half().T.contiguous() if q.scheme.symmetric is False else None
    scale = q.scale.to(dtype).T.contiguous()
    words = pack_words(codes, 4 * run, pairs=True).reshape(n, -1, run // 2).transpose(0, 1).contiguous()
    return PackedInt4(words, scale, zero, (n, k), group, run, order)


def arguments(packed: PackedInt4) -> dict:
    """What the layout tells a kernel: columns in a run, runs in a group, whether there are zero points."""
    runs = 1 << 30 if len(packed.scale) == 1 else packed.group // packed.run
    return {"R": packed.run, "RUNS": runs, "HAS_ZERO": packed.zero is not None}


def suits(group: int, run: int) -> bool:
    """Whether groups begin where runs or blocks of four runs begin."""
    return group in (run, 2 * run) or group % (4 * run) == 0


def longest_run(group: int, k: int) -> int:
    """128, 64 or 32: the longest that suits the group and fills no block with padding.

    >>> longest_run(128, 4096), longest_run(64, 4096), longest_run(128, 896), longest_run(384, 4608)
    (128, 64, 32, 32)
    """
    return next((run for run in (128, 64) if suits(group, run) and k % (4 * run) == 0), 32)


def pack_words(codes: Tensor, block: int, pairs: bool = False) -> Tensor:
    """(n, k) codes 0…15 -> (n, padded k/8) int32; the row is padded with 8.

    Nibble j of word c holds column j·W + c of a block of 8·W; with `pairs`, column (j % 4)·2W + 2c + j // 4.
    """
    codes = F.pad(codes, (0, -codes.shape[1] % block), value=8)
    nibbles = codes.reshape(codes.shape[0], -1, 8, block // 8)  # (n, blocks, nibble, word)
    if pairs:
        runs = codes.reshape(codes.shape[0], -1, 4, block // 8, 2)
        nibbles = runs.permute(0, 1, 4, 2, 3).reshape(nibbles.shape)
    shifts = 4 * torch.arange(8, device=codes.device)
    words = (nibbles.long() << shifts[:, None]).sum(2)  # < 2^32
    return torch.where(words >= 2**31, words - 2**32, words).to(torch.int32).reshape(codes.shape[0], -1)


def unpack_words(words: Tensor, block: int, pairs: bool = False) -> Tensor:
    """The inverse: (n, words) int32 -> (n, 8·words) codes 0…15, int32."""
    split = words.reshape(words.shape[0], -1, 1, block // 8)  # (n, blocks, 1, word)
    shifts = 4 * torch.arange(8, device=words.device, dtype=torch.int32)
    nibbles = (split >> shifts[:, None]) & 15
    if pairs:
        nibbles = nibbles.reshape(words.shape[0], -1, 2, 4, block // 8).permute(0, 1, 3, 4, 2)
    return nibbles.reshape(words.shape[0], -1)


def codes_of(packed: PackedInt4) -> Tensor:
    """(n, k) codes 0…15, int32, in the columns' packed order."""
    n, k = packed.shape
    return unpack_words(packed.words.transpose(0, 1).reshape(n, -1), 4 * packed.run, pairs=True)[:, :k]


def unpack(packed: PackedInt4) -> Tensor:
    """The weights (n, k) in float32, columns in their first order."""
    codes = codes_of(packed).float()
    groups = torch.arange(codes.shape[1], device=codes.device) // packed.group
    zero = 8.0 if packed.zero is None else packed.zero.float()[groups].T
    w = (codes - zero) * packed.scale.float()[groups].T
    return w if packed.order is None else w[:, torch.argsort(packed.order)]


def restored(packed: PackedInt4, scheme: Scheme) -> QTensor:
    """The QTensor that `pack` took, of which only the scheme is not in the packing.

    >>> from course_lib import quantize
    >>> q = quantize(torch.randn(8, 256), Scheme.int(4, group=64))
    >>> torch.equal(restored(pack(q, torch.float32), q.scheme).codes, q.codes)
    True
    """
    codes, scale, g_idx = codes_of(packed), packed.scale.T.to(scheme.scale_dtype).contiguous(), None
    if packed.order is not None:
        position = torch.argsort(packed.order)
        codes, g_idx = codes[:, position], (position // packed.group).to(torch.int32)
    if scheme.symmetric is True:
        return QTensor((codes - 8).to(torch.int8), scale, None, scheme, packed.shape, g_idx)
    zero = torch.full_like(scale, 8) if packed.zero is None else packed.zero.T.contiguous()
    return QTensor(codes.to(torch.uint8), scale, zero.to(torch.uint8), scheme, packed.shape, g_idx)
