"""The gains of a model's norms: few numbers, all of them on one side of 0."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn

from course_lib.calibrate.solve import said


def gains(model: nn.Module) -> dict[str, Tensor]:
    """Name -> gains w (features,) of every norm of the model (a module whose class is called …Norm)."""
    norms = {name: part for name, part in model.named_modules() if type(part).__name__.endswith("Norm")}
    return {f"{name}.weight": part.weight.detach() for name, part in norms.items()}


def map_gains(model: nn.Module, function: Callable[[Tensor], Tensor]) -> nn.Module:
    """A copy of `model` in which the gains w (features,) of every norm are `function(w)`.

    ValueError if what comes back is no finite tensor of the shape of w.
    """
    result = copy.deepcopy(model)
    with torch.no_grad():
        for name, w in gains(result).items():
            new = function(w.clone())
            if not isinstance(new, Tensor) or new.shape != w.shape or not torch.isfinite(new).all():
                got = "NaN or infinity" if getattr(new, "shape", None) == w.shape else said(new)
                raise ValueError(
                    f"function must return a finite tensor of shape {tuple(w.shape)} for {name}, got {got}"
                )
            w.copy_(new)
    return result
