"""SmoothQuant: move the loud channels of activations into the weights that read them, before anything is rounded."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from course_lib.calibrate.stats import Stats
from course_lib.models.outliers import readers


def migration_scales(x_max: Tensor, w_max: Tensor, alpha: float) -> Tensor:
    """s (in,) = max|X_j|^α / max|W_j|^(1-α): what channel j of the inputs is divided by, and column j of w times.

    Equation (4) of Xiao et al., "SmoothQuant" (2023). A channel without inputs or without weights keeps s = 1.

    >>> migration_scales(torch.tensor([16.0, 1.0]), torch.tensor([1.0, 1.0]), 0.5).tolist()
    [4.0, 1.0]
    """
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha must lie between 0 (all stays in the inputs) and 1 (all goes to w), got {alpha!r}")
    s = x_max.float() ** alpha / w_max.float() ** (1 - alpha)
    return torch.where((x_max > 0) & (w_max > 0), s, 1.0)


def smoothquant(model: nn.Module, stats: Mapping[str, Stats], alpha: float = 0.5) -> nn.Module:
    """A copy of a Llama-like `model` whose norms are divided by s, and the columns of the linears behind them times s.

    Norm → q, k, v and norm → gate, up share one s each: max|X_j| from `stats` (name of a linear -> Stats, as `collect`
    returns), max|W_j| over all their rows. W·diag(s) · diag(1/s)·x = W·x, so that the logits move by rounding only.
    alpha 0 evens out the weights, 1 the activations; 0.5 leaves both with √(max|X_j| · max|W_j|).

    ValueError for alpha outside 0 … 1, a linear that `stats` does not have, and a model that is quantized already;
    TypeError where there are no Llama-like layers, or a norm that multiplies by something else than its weight.
    """
    if not hasattr(getattr(model, "model", None), "layers"):
        raise TypeError(f"model must be Llama-like, with model.layers, got {type(model).__name__}")
    names = {module: name for name, module in model.named_modules()}
    factors = []  # found on the model itself, so that nothing is copied before all is known to fit
    for layer in model.model.layers:
        for norm, linears in readers(layer):
            check_norm(norm, names[norm])
            factors.append(_factor(linears, [names[part] for part in linears], stats, alpha))
    result = copy.deepcopy(model)
    pairs = (pair for layer in result.model.layers for pair in readers(layer))
    with torch.no_grad():
        for (norm, linears), s in zip(pairs, factors, strict=True):
            norm.weight.div_(s.to(norm.weight))
            for linear in linears:
                linear.weight.mul_(s.to(linear.weight))
    return result


def _factor(linears, names: list[str], stats: Mapping[str, Stats], alpha: float) -> Tensor:
    """s of one norm: its readers see the same inputs, so the first one's statistics are everybody's."""
    for linear, name in zip(linears, names, strict=True):
        if not isinstance(linear, nn.Linear):
            raise ValueError(f"model must not be quantized yet, but {name} is a {type(linear).__name__}")
    if names[0] not in stats:
        raise ValueError(f"stats must hold {names[0]}, got {len(stats)} other names: collect(model, …) finds them all")
    x_max = stats[names[0]].max_abs
    w_max = torch.stack([linear.weight.detach().abs().amax(dim=0) for linear in linears]).amax(dim=0)
    if x_max.shape != w_max.shape:
        raise ValueError(f"stats of {names[0]} must have {len(w_max)} channels, got {len(x_max)}")
    return migration_scales(x_max.to(w_max.device), w_max, alpha)


def check_norm(norm: nn.Module, name: str) -> None:
    """An RMSNorm gives ones · weight for ones. Gemma's gives 1 + weight, and dividing its weight would be wrong."""
    weight = norm.weight.detach()
    if not torch.allclose(norm(torch.ones_like(weight)).float(), weight.float(), rtol=0.02, atol=1e-4):
        raise TypeError(f"{name} ({type(norm).__name__}) does not multiply by its weight, so nothing can be folded in")
