"""Whether a kernel may multiply, said in words: on a GPU, or inside `prefer("kernels")`; `weights` says which kernel.

Everything else, and everything on a CPU, is the reference: decode the weight, multiply in torch. `prefer("kernels")`
runs the kernels on a CPU, too, in Triton's interpreter; `prefer("reference")` keeps a GPU from them.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

PREFERENCES = ("auto", "kernels", "reference")
_preferred = ["auto"]


@dataclass(frozen=True)
class Route:
    """A kernel by its name, or no kernel and the reason.

    >>> str(Route(why="x is on the CPU"))
    'reference, because x is on the CPU'
    """

    kernel: str | None = None
    why: str = ""

    def __str__(self) -> str:
        return self.kernel or f"reference, because {self.why}"


@contextmanager
def prefer(what: str) -> Iterator[None]:
    """Inside: "kernels" wherever one fits, on a CPU, too; "reference" nowhere; "auto" on a GPU only.

    >>> with prefer("reference"):
    ...     preferred()
    'reference'
    """
    if what not in PREFERENCES:
        raise ValueError(f"what must be one of {', '.join(PREFERENCES)}, got {what!r}")
    _preferred.append(what)
    try:
        yield
    finally:
        _preferred.pop()


def preferred() -> str:
    return _preferred[-1]


def unavailable(x: Tensor) -> str:
    """Why no kernel may run on x, whatever the weight; "" where one may."""
    if preferred() == "reference":
        return "it was asked for"
    if preferred() == "auto" and not x.is_cuda:
        return f"x is on the {'CPU' if x.device.type == 'cpu' else x.device}"
    if x.is_cuda and x.device.index != torch.cuda.current_device():
        return f"x is on {x.device} and kernels start on cuda:{torch.cuda.current_device()}: see torch.cuda.device"
    if importlib.util.find_spec("triton") is None:
        return "triton is not installed"
    if torch.is_grad_enabled() and x.requires_grad:
        return "kernels have no gradient, and x asks for one"
    if x.dtype not in (torch.float16, torch.bfloat16, torch.float32):
        return f"x is {x.dtype}"
    return ""
