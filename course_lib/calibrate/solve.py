"""One weight in, one QTensor out: call a method, name the linear in its complaints, check what came back."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn

from course_lib.qtensor import QTensor
from course_lib.scheme import Scheme


def named(name: str, method: Callable[..., QTensor], *arguments, **options) -> QTensor:
    """What the method returns; a ValueError of its own gets the linear's name in front."""
    try:
        return method(*arguments, **options)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error


def own(name: str, method: Callable[..., QTensor], weight: Tensor, *arguments) -> QTensor:
    """What somebody's own quantizer returns for one weight, checked and copied (its buffers may be reused)."""
    q = method(weight.detach().float().clone(), *arguments)
    if not isinstance(q, QTensor):
        raise TypeError(f"method must return a QTensor for {name}, got {said(q)}")
    if q.shape != tuple(weight.shape):
        raise ValueError(
            f"method must keep the shape {tuple(weight.shape)} of {name}, got a QTensor of shape {q.shape}"
        )
    if not torch.isfinite(q.dequantize()).all():
        raise ValueError(f"method must return finite weights for {name}, got NaN or infinity after dequantize()")
    return copy.deepcopy(q)


def round_in_place(linear: nn.Linear, q: QTensor) -> None:
    """Give a linear the weights that q stands for, so that what comes behind it sees the quantized model."""
    linear.weight = nn.Parameter(q.dequantize().to(linear.weight), requires_grad=False)


def check_scheme(scheme) -> None:
    """TypeError unless scheme is a Scheme."""
    if not isinstance(scheme, Scheme):
        raise TypeError(f"scheme must be a Scheme, such as Scheme.int(4, group=128), got {type(scheme).__name__}")


def said(value) -> str:
    """What a value is, for an error."""
    return f"a tensor of shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
