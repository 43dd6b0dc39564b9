"""AWQ: scale up the weight columns that meet large activations, before rounding, and undo it in the layer before."""

from __future__ import annotations

import copy
import math

import torch
from torch import Tensor, nn

from course_lib.calibrate.blocks import Call
from course_lib.calibrate.folds import Fold, check_function, folds_of, hear
from course_lib.calibrate.rtn import rtn
from course_lib.calibrate.solve import check_scheme
from course_lib.calibrate.stats import Running, Stats, evaluating, listening, require_all
from course_lib.qtensor import split_blocks, spread
from course_lib.scheme import Scheme

SEARCH_TOKENS = 4096  # that the search runs the attention and the MLP on; statistics come from all of them
_CLIP_STEPS, _CLIP_LEAST = 20, 0.5
_UNCLIPPED = ("q_proj", "k_proj", "qkv_proj", "query", "key", "query_key_value")  # a product of two of them is rounded


def awq(
    block: nn.Module, inputs, scheme: Scheme, alpha_grid: int = 20, clip: bool = True, duo: bool = False
) -> nn.Module:
    """A copy of a decoder block whose weights round better: w·diag(s), with diag(s)⁻¹ folded into the op before.

        s = mean|x|^α / √(max · min of these),   α the one of 0, 1/n … (n-1)/n (n = alpha_grid) of least output error

    (Lin et al., "AWQ", 2023, equations 4 and 5.) Nothing is quantized yet: without clip the block computes what it
    did, and `rtn` with the same scheme comes next. Folds: norm → q, k, v and norm → gate, up, judged by the output of
    the attention and of the MLP; v → o and up → down, by their own. Under grouped queries the query heads that share
    a value head share its scales. One s serves all linears behind one norm.

    inputs  what the block is called with: x (tokens, in) or (rows, length, features), or a list of blocks.Call
    clip    then each group's range is cut to the c·max|w|, c = 1, .95 … .55, of least output error (not in q and k)
    duo     s = mean|x|^α / (mean|w|^(1-α) + 1e-4), |w| relative to the largest of its group

    Cost: alpha_grid roundings of every weight and runs of attention and MLP on 4096 tokens.
    ValueError where a fold would change what the block computes (a router beside the MLP).

    >>> block = nn.Sequential(nn.RMSNorm(4), nn.Linear(4, 4, bias=False))
    >>> x = torch.randn(64, 4) * torch.tensor([10.0, 1, 1, 1])
    >>> torch.allclose(awq(block, x, Scheme.int(3), clip=False)(x), block(x), atol=1e-5)
    True
    """
    calls = [Call(inputs, {})] if isinstance(inputs, Tensor) else list(inputs)
    block = copy.deepcopy(block)
    linears = {name: module for name, module in block.named_modules() if isinstance(module, nn.Linear)}
    with evaluating(block):
        rescale(block, calls, scheme, linears, alpha_grid, clip, duo)
    return block


def rescale(block, calls, scheme, linears, alpha_grid: int = 20, clip: bool = True, duo: bool = False) -> None:
    """`awq` in place; linears (any names -> modules of the block) are those that will be rounded."""
    check_scheme(scheme)
    if not isinstance(alpha_grid, int) or alpha_grid < 1:
        raise ValueError(f"alpha_grid must be a whole number of exponents, at least 1, got {alpha_grid!r}")
    judged = _some(calls)
    folds = folds_of(block, judged[0], set(linears.values()))
    with listening(linears, lambda: Running(sample_rows=0)) as found:
        before = hear(folds, block, calls, judged)
    require_all(found, linears)
    stats = {linears[name]: running.stats() for name, running in found.items()}
    scales = [_search(fold, stats, scheme, alpha_grid, duo) for fold in folds]  # all on the block as it came
    H = {linear: seen.H for linear, seen in stats.items()}
    for fold, s in zip(folds, scales, strict=True):
        fold.apply(s)
        H |= {linear: H[linear] / (s[:, None] * s) for linear in fold.linears if linear in H}
    check_function(block, judged[0], before)
    for name, linear in linears.items() if clip else ():
        if name.rpartition(".")[2] not in _UNCLIPPED:
            linear.weight.copy_(_clipped(linear.weight.float(), H[linear], scheme))


def scales(x: Tensor, alpha: float, w: Tensor | None = None) -> Tensor:
    """s (in,) from mean |x| (in,) and, for duo scaling, mean relative |w| (in,); largest · smallest is 1.

    >>> scales(torch.tensor([16.0, 1.0]), 0.5).tolist()
    [2.0, 0.5]
    """
    s = x**alpha
    if w is not None:
        s = s / (w ** (1 - alpha) + 1e-4)
    s = s.clamp(min=1e-4)
    return s / (s.max() * s.min()).sqrt()


def _search(fold: Fold, stats: dict[nn.Linear, Stats], scheme: Scheme, alpha_grid: int, duo: bool) -> Tensor:
    """The s (in,) of least output error among the α of the grid."""
    rounded = [linear for linear in fold.linears if linear in stats]
    kept = {linear: linear.weight.float() for linear in rounded}
    x = fold.tied(stats[rounded[0]].mean_abs)
    w = fold.tied(_relative(torch.cat(list(kept.values())), scheme)) if duo else None
    best, least = torch.ones_like(x), math.inf
    for i in range(alpha_grid):
        s = scales(x, i / alpha_grid, w)
        deltas = {linear: rtn(w * s, scheme).dequantize().div_(s).sub_(w) for linear, w in kept.items()}
        loss = fold.loss(deltas, stats[rounded[0]].H)
        if loss < least:
            best, least = s, loss
    return best


def _relative(w: Tensor, scheme: Scheme) -> Tensor:
    """Mean over the rows of w (out, in) of |w| over the largest of its group."""
    split = split_blocks(w.abs(), (1, scheme.block[1]))
    return (split / (split.amax(-1, keepdim=True) + 1e-6)).reshape(w.shape).mean(0)


def _clipped(w: Tensor, H: Tensor, scheme: Scheme) -> Tensor:
    """w (out, in) with each block cut to ±c·max|w|, for the c of least Δw·H·Δwᵀ within the block."""
    split = split_blocks(w, scheme.block)  # (R, br, C, bc)
    columns = torch.arange(w.shape[1], device=w.device).reshape(split.shape[2:])
    inner = H[columns[:, :, None], columns[:, None, :]]  # (C, bc, bc)
    top = split.abs().amax((1, 3))  # (R, C)
    best, least = top, torch.full_like(top, torch.inf)
    for i in range(round(_CLIP_STEPS * _CLIP_LEAST)):
        limit = top * (1 - i / _CLIP_STEPS)
        cut = split.clamp(-spread(limit), spread(limit)).reshape(w.shape)
        delta = rtn(cut, scheme).dequantize().sub_(w).reshape(split.shape).permute(2, 0, 1, 3)  # (C, R, br, bc)
        loss = ((delta.flatten(1, 2) @ inner).reshape(delta.shape) * delta).sum((2, 3)).T  # (R, C)
        better = loss < least
        best, least = torch.where(better, limit, best), torch.where(better, loss, least)
    return split.clamp(-spread(best), spread(best)).reshape(w.shape)


def _some(calls: list[Call]) -> list[Call]:
    """Evenly spaced calls of about SEARCH_TOKENS tokens together."""
    tokens = sum(call.hidden[..., 0].numel() for call in calls)
    n = min(len(calls), max(1, round(len(calls) * SEARCH_TOKENS / tokens)))
    return [calls[i * len(calls) // n] for i in range(n)]
