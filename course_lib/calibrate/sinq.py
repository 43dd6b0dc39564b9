"""SINQ: a second scale, along the columns, that evens a matrix out before it is rounded, from the weights alone."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from course_lib.calibrate.blocks import Flow, blocks_of, run
from course_lib.calibrate.folds import Fold, check_function, folds_of
from course_lib.calibrate.linear import QuantLinear
from course_lib.calibrate.pipeline import quantize_model
from course_lib.calibrate.stats import evaluating
from course_lib.calibrate.targets import linears_of
from course_lib.scheme import Scheme

_LIMITS = (1e-3, 1e3)  # a deviation outside is taken for the nearer one, so that a silent column divides nothing by 0
_STEP, _LOG = (0.7, 2.0), (-0.3, 10.0)  # what one turn may multiply a scale by, and where its logarithm ends


def imbalance(w: Tensor) -> Tensor:
    """Largest over smallest standard deviation among all rows and columns of w (..., out, g): 1 is perfectly even.

    >>> imbalance(torch.tensor([[3.0, -1.0], [-3.0, 1.0]])).item()
    3.0
    """
    return _spread(w.std(-1), w.std(-2))


def even_out(w: Tensor, turns: int = 16) -> tuple[Tensor, Tensor]:
    """r (..., out, 1) and t (..., 1, g) such that w / (r t) has rows and columns of nearly one standard deviation.

    Rows and columns are divided by their own deviations again and again, as Sinkhorn and Knopp (1967) did with sums:

        t_j ← t_j · clip(σ_j / τ, 0.7, 2),   r_i ← r_i · clip(σ_i / τ, 0.7, 2),   τ the least deviation of w itself

    until the imbalance of w / (r t) grows, or for `turns` looks at it. The r and t of least imbalance come back, so
    that it is never worse than w's. (Müller et al., "SINQ", arXiv 2509.22944, algorithm 1; limits as in its published
    code, huawei-csl/SINQ.) Each matrix of a stack goes its own way. ValueError for a single row or column, and NaN.

    >>> r, t = even_out(torch.tensor([[0.5, -8, 0.75, -1], [-1, 6, 1, -0.5], [4, 16, -4, -3], [-0.75, -8, -0.5, 1]]))
    >>> [round(v) for v in (t / t.min()).flatten().tolist()], [round(v) for v in (r / r.min()).flatten().tolist()]
    ([1, 8, 1, 1], [1, 1, 4, 1])
    """
    w = _checked(w, turns).float()
    columns, rows = torch.zeros_like(w[..., :1, :]), torch.zeros_like(w[..., :1])  # logarithms of t and r
    best, least, lowest = (rows.exp(), columns.exp()), torch.full_like(w[..., 0, 0], torch.inf), None
    going = torch.ones_like(least, dtype=torch.bool)
    for _ in range(turns):
        now = w / columns.exp() / rows.exp()
        off = now.std(-1), now.std(-2)
        found = _spread(*off)
        going &= found <= least
        if not going.any():
            break
        there = going[..., None, None]
        least = torch.where(going, found, least)
        best = tuple(torch.where(there, new.exp(), old) for new, old in zip((rows, columns), best, strict=True))
        off = off[0].clamp(*_LIMITS)[..., None], off[1].clamp(*_LIMITS)[..., None, :]
        lowest = lowest if lowest is not None else torch.minimum(off[0].amin(-2), off[1].amin(-1))[..., None] + 1e-6
        rows, columns = ((old + there * (new / lowest).clamp(*_STEP).log()).clip(*_LOG)
                         for old, new in zip((rows, columns), off, strict=True))  # fmt: skip
    return best


def column_scales(w: Tensor, group: int | None = None, turns: int = 16) -> Tensor:
    """t (in,) of w (out, in), each `group` of columns evened out by itself, as it will have its own scales of rows.

    Only t has to be kept: the factor of a row goes into the scale that rounding gives each row of the group.
    ValueError for a group that does not divide the columns.

    >>> column_scales(torch.tensor([[8.0, -1.0], [-8.0, 1.0], [8.0, 1.0], [8.0, -1.0]]), 2).argmax().item()
    0
    """
    if group is not None and (w.dim() != 2 or group < 2 or w.shape[1] % group):
        raise ValueError(f"group must be at least 2 and divide w's columns, got {group!r} for shape {tuple(w.shape)}")
    tiles = w.reshape(len(w), -1, group or w.shape[-1]).transpose(0, 1).contiguous()  # (groups, out, g)
    return even_out(tiles, turns)[1].flatten()


@torch.no_grad()
def sinq(model: nn.Module, group: int | None = 64, turns: int = 16) -> nn.Module:
    """A copy of `model` that computes the same with evener weights: columns over t, the op in front of them times t.

    It reads no text: two tokens run through the blocks to show who reads whom. The folds are those of AWQ (norm → q, k,
    v; norm → gate, up; v → o; up → down; one t for all that read the same), and nothing more is stored. Any method may
    come next: quantize_model(sinq(model, 64), scheme, "hqq"). The authors' "Pre-SINQ" folds so, too, v → o only where
    it is asked to (normalize_outproj), with fewer turns (4) and up to three times over; which is best they search.
    ValueError where a fold would change what a block computes.
    """
    result = copy.deepcopy(model)
    blocks = blocks_of(result, linears_of(result))
    with evaluating(result):
        tokens = torch.zeros(1, 2, dtype=torch.long, device=next(result.parameters()).device)
        flow = Flow(result, list(blocks), [tokens])
        for linears in blocks.values():
            call = next(iter(flow.calls()))
            before, folds = run(flow.block, call), folds_of(flow.block, call, set(linears.values()))
            for fold, s in [(fold, _factors(fold, group, turns)) for fold in folds]:
                fold.apply(s)
            check_function(flow.block, call, before)
            flow.advance()
    return result


class Scaled(nn.Module):
    """y = base(x · t): a quantized linear whose columns have a scale of their own, float16, which byte counts see."""

    def __init__(self, base: QuantLinear, t: Tensor) -> None:
        super().__init__()
        self.base, self.t = base, nn.Parameter(t.half().to(base.dtype), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:  # (..., in) -> (..., out)
        return self.base(x * self.t)


@torch.no_grad()
def sinq_stored(model: nn.Module, scheme: Scheme) -> nn.Module:
    """A copy of `model` whose every linear keeps a t of its own beside its codes: 16 / out bits a weight more."""
    even, scales = copy.deepcopy(model), {}
    group = scheme.block[1] if scheme.block[1] > 0 else None
    for name, linear in linears_of(even).items():
        scales[name] = column_scales(linear.weight, group).half().to(linear.weight)
        linear.weight.div_(scales[name])
    result = quantize_model(even, scheme, progress=False)
    for name, t in scales.items():
        parent, _, leaf = name.rpartition(".")
        setattr(result.get_submodule(parent), leaf, Scaled(result.get_submodule(name), t))
    return result


def _factors(fold: Fold, group: int | None, turns: int) -> Tensor:
    """What the fold's columns are multiplied by: the median of t over t, so that gains keep about their size."""
    t = fold.tied(column_scales(torch.cat([linear.weight for linear in fold.linears]), group, turns))
    return t.median() / t


def _spread(rows: Tensor, columns: Tensor) -> Tensor:
    """Largest over smallest of the deviations of rows (..., out) and columns (..., g)."""
    least = torch.minimum(rows.amin(-1), columns.amin(-1)).clamp_min(1e-12)
    return torch.maximum(rows.amax(-1), columns.amax(-1)) / least


def _checked(w: Tensor, turns: int) -> Tensor:
    if not isinstance(w, Tensor) or w.dim() < 2 or min(w.shape[-2:]) < 2 or not torch.isfinite(w).all():
        said = tuple(w.shape) if isinstance(w, Tensor) else type(w).__name__
        raise ValueError(f"w must be a finite matrix of at least 2 rows and 2 columns, got {said}")
    if isinstance(turns, bool) or not isinstance(turns, int) or turns < 1:
        raise ValueError(f"turns must be a whole number, at least 1, got {turns!r}")
    return w
