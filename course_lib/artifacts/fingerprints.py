"""What a quantized weight gives away about its maker: numbers that compare it with the weight it was made from."""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor

from course_lib.formats import affine, ggml
from course_lib.formats.ggml.weight import Blocks
from course_lib.qtensor import QTensor, block_size, gather_blocks, split_blocks

SLACK = 1 / 16  # steps by which another code may be nearer: a maker may have divided in bfloat16
RANGE_SLACK = 2**-8  # a scale may have been rounded to bfloat16
_FITS = 20  # rounds of the fit of row and column factors
_LOUDEST = 4  # columns: on other text than the maker's the very first may be the third


@dataclass(frozen=True)
class Fingerprints:
    """Named numbers about one linear, ŵ = what its codes stand for; those that need H are None without it.

    ===============  ==================================================================================================
    columns          columns of w
    alike            cosine of w and ŵ; far below 1, ŵ is no rounding of this w (rotated, fine-tuned, another model)
    nearest          share of codes that are the nearest to w (1 for round-to-nearest, whatever its scales)
    scaled           the same share for r·w·c, with the factors r (a row) and c (a column) that fit best
    spread           how much c differs from column to column: standard deviation of log2 c
    range            median over blocks of scale / the scale that the block's largest (and smallest) weight asks for
    whole            share of blocks where that is 1: nothing was cut off, nothing was moved before
    wider            share of blocks where it is above 1: the block held something larger when its scale was found
    powers_of_two    share of scales that are powers of two, as in MX formats
    reordered        whether g_idx puts columns into groups out of their order
    by_place         rank correlation of a column's share of codes that are not nearest with its place, 0 … in-1
    first_place      share of nearest codes in column 0
    by_activity      as by_place, with the column's rank in H_jj, largest first
    first_activity   the largest share of nearest codes among the four columns of the largest H_jj
    loudness         correlation of log c with log H_jj: AWQ's c is a power of the input's size
    output           tr(Δw·H·Δwᵀ) over that of the nearest codes on the same grid; well below 1 where H was used
    ===============  ==================================================================================================
    """

    columns: int
    alike: float
    nearest: float
    scaled: float
    spread: float
    range: float
    whole: float
    wider: float
    powers_of_two: float
    reordered: bool
    by_place: float
    first_place: float
    by_activity: float | None = None
    first_activity: float | None = None
    loudness: float | None = None
    output: float | None = None

    def __str__(self) -> str:
        values = ((f.name, getattr(self, f.name)) for f in fields(self))
        return "\n".join(f"{name:16}{value:.3f}" if isinstance(value, float) else f"{name:16}{value}"
                         for name, value in values if value is not None)  # fmt: skip


def fingerprints(w: Tensor, q: QTensor, H: Tensor | None = None) -> Fingerprints:
    """Compare w (out, in), the weight before, with the QTensor that somebody made of it; H (in, in) as `hessian`.

    H need not be the maker's: other text of the same kind orders the columns much alike. Cost: a few passes over w,
    and out · in² multiply-adds with H. ValueError for shapes that do not fit and for padded codes.

    >>> from course_lib import Scheme, quantize
    >>> w = torch.linspace(-1, 1, 512).reshape(8, 64)
    >>> found = fingerprints(w, quantize(w, Scheme.int(4, group=32)))
    >>> found.nearest, found.whole, found.wider
    (1.0, 1.0, 0.0)
    """
    w = _checked(w, q, H)
    step, zero = (_per_weight(q, t) for t in (q.step, q.zero_point))
    values, misses = q.dequantize(), _misses(w, q, step, zero)
    r, c = row_and_column_factors(w, values)
    ratio = _range_ratio(w, q).abs()  # ggml's scales have a sign
    found = {
        "columns": w.shape[1],
        "alike": torch.cosine_similarity(w.flatten(), values.flatten(), 0).item(),
        "nearest": 1 - misses.mean().item(),
        "scaled": 1 - _misses(w * r * c, q, step, zero).mean().item(),
        "spread": c.log2().std(correction=0).item(),
        "range": ratio.median().item(),
        "whole": ((ratio - 1).abs() <= RANGE_SLACK).float().mean().item(),
        "wider": (ratio > 1 + RANGE_SLACK).float().mean().item(),
        "powers_of_two": (torch.frexp(q.step.abs())[0] == 0.5).float().mean().item(),
        "reordered": q.g_idx is not None and not torch.equal(q.g_idx, q.g_idx.sort().values),
        "by_place": _correlation(torch.arange(w.shape[1]), _ranks(misses.mean(0))),
        "first_place": 1 - misses[:, 0].mean().item(),
    }
    return Fingerprints(**found, **({} if H is None else _with_inputs(w, q, H.float(), misses, c, step, zero)))


def same_blocks(w: Tensor, blocks: Blocks, importance: Tensor | None = None) -> float | None:
    """Share of a GGUF tensor's blocks that ggml's quantizer writes, byte for byte, for w (out, in).

    importance (in,) is an importance matrix's row for this tensor, mean x² = diag(H)/2. Without one 1.0 says that no
    importance matrix was used, unless the type ignores it, and nothing else was done to w. None where ggml does
    not write the type without an importance matrix, as IQ2_XXS, and there is none.

    >>> w = torch.linspace(-1, 1, 64).reshape(2, 32)
    >>> same_blocks(w, Blocks(ggml.quantize(w, "Q4_0"), "Q4_0"))
    1.0
    """
    if not isinstance(w, Tensor) or tuple(w.shape) != blocks.shape:
        raise ValueError(f"w must have the shape of the blocks, {blocks.shape}, got {_said(w)}")
    importance = None if importance is None else importance.detach().float().cpu().numpy()
    kind = ggml.block_type(blocks.kind)
    if not kind.is_written or (kind.needs_imatrix and importance is None):
        return None
    ours = ggml.quantize(w.detach().float().cpu(), blocks.kind, importance)
    theirs = blocks.blocks.cpu()
    return (ours.reshape(-1, kind.block_bytes) == theirs.reshape(-1, kind.block_bytes)).all(1).float().mean().item()


def same_groups(w: Tensor, q: QTensor) -> float:
    """Share of the groups of an affine QTensor that mlx.core.quantize writes, bit for bit, for w (out, in): on a CPU,
    or on a GPU, where more of them are what it writes there.

    >>> w = torch.linspace(-1, 1, 64).reshape(2, 32)
    >>> same_groups(w, affine.as_mlx(w, affine.scheme(4, 32)))
    1.0
    """
    w = _checked(w, q, None)

    def same(ours: QTensor) -> float:
        codes = (ours.codes == q.codes).reshape(*q.scale.shape, -1).all(-1)
        return (codes & (ours.scale == q.scale) & (ours.zero_point == q.zero_point)).float().mean().item()

    return max(same(affine.as_mlx(w, q.scheme, gpu)) for gpu in (False, True))


def row_and_column_factors(w: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    """r (out, 1) and c (1, in), of geometric mean 1, with Σ (values - r·w·c)² least: what was folded into w.

    Alternating least squares, r given c and c given r. A factor that comes out at 0 or below, where values have
    nothing to do with w, counts as 1.

    >>> w = torch.tensor([[1.0, 2.0], [3.0, 5.0]])
    >>> row_and_column_factors(w, w * torch.tensor([4.0, 0.25]))[1]
    tensor([[4.0000, 0.2500]])
    """
    r, c = torch.ones(len(w), 1, device=w.device), torch.ones(1, w.shape[1], device=w.device)
    product, square = w * values, w * w
    for _ in range(_FITS):
        r = (product * c).sum(1, keepdim=True) / (square * c * c).sum(1, keepdim=True)
        r = torch.where(r > 0, r, 1.0)  # also NaN, of a row of zeros
        c = (product * r).sum(0, keepdim=True) / (square * r * r).sum(0, keepdim=True)
        c = torch.where(c > 0, c, 1.0)
    mean = c.log().mean().exp()
    return r * mean, c / mean


def _with_inputs(w, q: QTensor, H: Tensor, misses, c, step, zero) -> dict[str, float]:
    """The fingerprints that need H."""
    active, codec = H.diagonal(), q.scheme.codec
    order = active.argsort(descending=True)
    nearest = codec.decode(codec.encode(w, step, zero), step, zero)
    own, best = (((delta @ H) * delta).sum().item() for delta in (q.dequantize() - w, nearest - w))
    alive = active > 0
    return {
        "by_activity": _correlation(torch.arange(len(order)), _ranks(misses.mean(0)[order])),
        "first_activity": 1 - misses[:, order[:_LOUDEST]].mean(0).min().item(),
        "loudness": _correlation(c[0, alive].log(), active[alive].log()),
        "output": own / best if best > 0 else 1.0,
    }


def _misses(w: Tensor, q: QTensor, step: Tensor, zero: Tensor | None) -> Tensor:
    """1.0 where another code is nearer to w (out, in) than the one that was taken, by more than SLACK steps."""
    codec = q.scheme.codec
    nearest = codec.decode(codec.encode(w, step, zero), step, zero)
    taken = codec.decode(q.codes, step, zero)
    return ((taken - w).abs() - (nearest - w).abs() > SLACK * step.abs()).float()


def _per_weight(q: QTensor, t: Tensor | None) -> Tensor | None:
    """(R, C), a value a block, as (out, in), a value a weight; g_idx picks each column's group."""
    if t is None:
        return None
    rows, cols = block_size(q.codes.shape, q.scheme.block)
    t = t.repeat_interleave(rows, 0)
    return t.repeat_interleave(cols, 1) if q.g_idx is None else t[:, q.g_idx.long()]


def _range_ratio(w: Tensor, q: QTensor) -> Tensor:
    """Step over the step of the smallest and largest weight, (R, C)."""
    w = w if q.g_idx is None else w[:, q.g_idx.long().argsort(stable=True)]
    blocks = gather_blocks(split_blocks(w, q.scheme.block))
    return q.step / q.scheme.codec.from_range(blocks.amin(-1), blocks.amax(-1), q.scheme, q.tensor_scale).step


def _ranks(t: Tensor) -> Tensor:
    """Each number's place among all, sorted; equal numbers share the mean of their places."""
    _, place, count = t.unique(return_inverse=True, return_counts=True)
    return (count.cumsum(0) - (count - 1) / 2)[place]


def _correlation(a: Tensor, b: Tensor) -> float:
    """Pearson's; 0 where one of the two does not vary."""
    a, b = (t.cpu().double() - t.cpu().double().mean() for t in (a, b))
    size = a.norm() * b.norm()
    return (a @ b / size).item() if size > 1e-12 else 0.0


def _checked(w, q, H) -> Tensor:
    if not isinstance(q, QTensor):
        raise TypeError(f"q must be a QTensor, got {type(q).__name__}: for a GGUF tensor see same_blocks")
    if not isinstance(w, Tensor) or w.dim() != 2 or tuple(w.shape) != q.shape or q.codes.shape != w.shape:
        raise ValueError(f"w must be a matrix of the shape of q, {tuple(q.codes.shape)}, got {_said(w)}")
    if H is not None and (not isinstance(H, Tensor) or H.shape != (w.shape[1], w.shape[1])):
        raise ValueError(f"H must have shape ({w.shape[1]}, {w.shape[1]}), w's columns, got {_said(H)}")
    return w.detach().float()


def _said(value) -> str:
    return f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
