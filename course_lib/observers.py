"""Observers choose the range that a block's grid covers: (blocks (..., n), scheme) -> lo, hi, each (...).

The format widens the range to hold 0, and a symmetric grid takes the larger of |lo| and |hi| on both sides.
What lies outside clips to the end of the grid: a narrow range trades clipping of a few for finer steps for the rest.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from course_lib.scheme import Scheme

_CHUNK = 1 << 18  # numbers that a search works on at a time, so that its temporaries stay in the processor's cache


def minmax(blocks: Tensor, scheme: Scheme) -> tuple[Tensor, Tensor]:
    """Smallest and largest value of each block: nothing clips, but one outlier widens every step.

    >>> [t.item() for t in minmax(torch.tensor([-1.0, 0.5, 3.0]), Scheme.int(4))]
    [-1.0, 3.0]
    """
    return blocks.amin(-1), blocks.amax(-1)  # over short blocks several times as fast as aminmax


def percentile(blocks: Tensor, scheme: Scheme, p: float = 99.9) -> tuple[Tensor, Tensor]:
    """Range that leaves the outermost 100 - p percent outside.

    Symmetric schemes: hi = p-th percentile of |w|, lo = -hi. Otherwise lo and hi are the (100-p)-th and the p-th
    percentile of w. Between two neighbours in sorted order the percentile is interpolated linearly, as numpy does.
    ValueError unless 50 < p <= 100.

    >>> lo, hi = percentile(torch.arange(101.0), Scheme.int(4, symmetric=False), p=90)
    >>> lo.item(), hi.item()
    (10.0, 90.0)
    """
    if not 50 < p <= 100:
        raise ValueError(f"p must be a percentage above 50 and at most 100, got {p!r}")
    if scheme.symmetric is not False:
        hi = _percentile(blocks.abs(), p)
        return -hi, hi
    return -_percentile(-blocks, p), _percentile(blocks, p)


def mse(blocks, scheme, norm: float = 2.0, steps: int = 100, maxshrink: float = 0.95, joint: bool = False):
    """Range f·(min, max) whose grid gives each block the least sum of |w_hat - w|^norm.

    Tries f = 1 - i/steps for i = 0 … maxshrink·steps - 1 (1, 0.99 … 0.06) and keeps the first of equals; min and max
    are widened to hold 0, and to ±max|w| for symmetric grids. Zero point and stored scale are found anew for each f.
    Asymmetric grids go on with hi alone and then lo alone, unless joint. GPTQ's own search (its quant.py) is
    norm=2.4, maxshrink=0.8, joint=True. Cost: maxshrink·steps round trips of w, three times that for asymmetric.

    >>> w = torch.tensor([0.1, -0.7, 0.7, 0.8, 1.0])  # 2 bits: -s, 0, s; best s is the mean of the large ones
    >>> [round(t.item(), 2) for t in mse(w, Scheme.int(2))]
    [-0.8, 0.8]
    """

    def prepare(chunk, lo, hi):
        def loss(lo, hi):
            step, zero = _grid(scheme, lo, hi)
            total = torch.zeros_like(lo)
            for part in chunk.split(_CHUNK, dim=-1):
                error = scheme.codec.round_trip(part, step, zero).sub_(part)
                total += (error.square_() if norm == 2 else error.abs_().pow_(norm)).sum(-1)
            return total

        return loss

    factors = [1 - i / steps for i in range(max(1, round(maxshrink * steps)))]
    return _search(blocks, scheme, factors, joint, prepare, blocks.shape[-1])


def entropy(blocks, scheme, bins: int = 2048, steps: int = 100, maxshrink: float = 0.95, joint: bool = False):
    """Range f·(min, max) whose grid changes the block's histogram least, in Kullback-Leibler divergence.

    P is the histogram of the block, with what lies outside f·(min, max) counted in the last bins inside; Q spreads
    the inside counts of each code evenly over the occupied bins that share the code; the loss is Σ P log(P/Q).
    The idea is TensorRT's (S. Migacz, 8-bit inference with TensorRT, 2017), here on any grid. f as in mse.
    It needs thousands of numbers a block, as activations have: 128 weights make no histogram worth the name
    (there are never more bins than the larger of n and 8·2^b).
    """
    bins = min(bins, max(blocks.shape[-1], 8 * 2**scheme.bits))

    def prepare(chunk, lo, hi):
        width = ((hi - lo) / bins).clamp(min=torch.finfo(torch.float32).tiny)[:, None]
        lo, at = lo[:, None], torch.arange(bins, device=chunk.device)
        counts = _sum_by(((chunk - lo) / width).long().clamp_(0, bins - 1), torch.ones_like(chunk), bins)
        centres = lo + (at + 0.5) * width  # (blocks, bins), as all below

        def loss(new_lo, new_hi):
            codes = scheme.codec.encode(centres, *_grid(scheme, new_lo, new_hi)).long() & (2**scheme.bits - 1)
            first, last = (((end[:, None] - lo) / width).long().clamp(0, bins - 1) for end in (new_lo, new_hi))
            inside = counts * ((at >= first) & (at <= last))
            p = _sum_by(at.expand_as(counts).clamp(first, last), counts, bins)
            occupied = (inside > 0).float()
            total, sharing = (_sum_by(codes, t, 2**scheme.bits).gather(1, codes) for t in (inside, occupied))
            return _divergence(p, torch.where(inside > 0, total / sharing.clamp(min=1), 0))

        return loss

    factors = [1 - i / steps for i in range(max(1, round(maxshrink * steps)))]
    return _search(blocks, scheme, factors, joint, prepare, max(blocks.shape[-1], bins))


OBSERVERS = {"minmax": minmax, "percentile": percentile, "mse": mse, "entropy": entropy}


def observe(blocks: Tensor, scheme: Scheme, observer=None) -> tuple[Tensor, Tensor]:
    """Range of each block by an observer given as None (minmax), a name, or a function (blocks, scheme) -> lo, hi.

    ValueError for an unknown name, and for a function whose lo and hi are not one finite pair lo <= hi a block.
    """
    name = observer if isinstance(observer, str) else None
    observer = OBSERVERS.get(observer or "minmax") if observer is None or name else observer
    if not callable(observer):
        raise ValueError(f"observer must be one of {', '.join(OBSERVERS)} or a function, got {name!r}")
    ends = observer(blocks, scheme)
    want = blocks.shape[:-1]
    if not isinstance(ends, tuple | list) or len(ends) != 2 or any(getattr(t, "shape", None) != want for t in ends):
        raise ValueError(f"an observer must return lo and hi, two tensors of shape {tuple(want)}, got {_shapes(ends)}")
    lo, hi = (t.float() for t in ends)
    if not (torch.isfinite(lo) & torch.isfinite(hi) & (lo <= hi)).all():
        raise ValueError("an observer must return finite lo <= hi for every block")
    return lo, hi


def _shapes(ends) -> str:
    parts = ends if isinstance(ends, tuple | list) else [ends]
    return ", ".join(str(tuple(t.shape)) if isinstance(t, Tensor) else type(t).__name__ for t in parts)


def _percentile(x: Tensor, p: float) -> Tensor:
    """p-th percentile of the last axis, linear between order statistics (torch.quantile stops at 2^24 numbers)."""
    at = (x.shape[-1] - 1) * p / 100
    below = int(at)
    low = torch.kthvalue(x, below + 1, dim=-1).values
    if below == at:
        return low
    return low + (at - below) * (torch.kthvalue(x, below + 2, dim=-1).values - low)


def _search(blocks, scheme, factors, joint, prepare, per_block) -> tuple[Tensor, Tensor]:
    """Each block's f·lo and f·hi of least loss; prepare(chunk (blocks, n), lo, hi) -> loss(f·lo, f·hi) -> (blocks,)."""
    sweeps = [(True, True)] if joint or scheme.symmetric is not False else [(True, True), (False, True), (True, False)]
    flat = blocks.reshape(-1, blocks.shape[-1])
    found = []
    for chunk in flat.split(max(1, _CHUNK // per_block)):
        lo, hi = _ends(chunk, scheme)
        loss = prepare(chunk, lo, hi)
        best, found_lo, found_hi = torch.full_like(lo, torch.inf), lo, hi
        for move_lo, move_hi in sweeps:
            fixed_lo, fixed_hi = found_lo, found_hi
            for f in factors:
                try_lo, try_hi = f * lo if move_lo else fixed_lo, f * hi if move_hi else fixed_hi
                now = loss(try_lo, try_hi)
                better = now < best
                best = torch.where(better, now, best)
                found_lo, found_hi = torch.where(better, try_lo, found_lo), torch.where(better, try_hi, found_hi)
        found.append(torch.stack([found_lo, found_hi]))
    lo, hi = torch.cat(found, dim=1).reshape(2, *blocks.shape[:-1])
    return lo, hi


def _ends(chunk: Tensor, scheme: Scheme) -> tuple[Tensor, Tensor]:
    """Range that a grid covers when nothing clips: it holds 0 unless z is real, and is centred on 0 if symmetric."""
    lo, hi = torch.aminmax(chunk, dim=-1)
    if scheme.zero_dtype is not None:
        return lo, hi
    lo, hi = lo.clamp(max=0), hi.clamp(min=0)
    return (lo, hi) if scheme.symmetric is False else (torch.minimum(lo, -hi), torch.maximum(-lo, hi))


def _grid(scheme: Scheme, lo: Tensor, hi: Tensor) -> tuple[Tensor, Tensor | None]:
    """Step and zero point, (blocks, 1), of the grid over [lo, hi]; scales of two levels are searched in float32."""
    if scheme.tensor_scale or scheme.scale_scheme is not None:
        scheme = replace(scheme, tensor_scale=False, scale_scheme=None, scale_dtype=torch.float32)
    grid = scheme.codec.from_range(lo[:, None], hi[:, None], scheme)
    return grid.step, grid.zero_point


def _sum_by(index: Tensor, values: Tensor, size: int) -> Tensor:
    """Row by row, the sum of values (blocks, n) that share an index 0 … size - 1: (blocks, size)."""
    return values.new_zeros(len(values), size).scatter_add_(1, index, values)


def _divergence(p: Tensor, q: Tensor) -> Tensor:
    """KL(P‖Q) of counts (blocks, bins); an empty bin of Q counts as a ten-thousandth of a number."""
    q = q.clamp(min=1e-4) / q.sum(-1, keepdim=True).clamp(min=1e-4)
    p = p / p.sum(-1, keepdim=True)
    return torch.where(p > 0, p * torch.log(p.clamp(min=1e-30) / q), 0).sum(-1)
