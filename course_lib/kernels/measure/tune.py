"""The quickest of a few ways to launch a kernel, measured once on the GPU that is here and then remembered."""

from __future__ import annotations

from collections.abc import Callable

import torch
from triton.runtime.errors import OutOfResources

from course_lib.kernels.measure import clock

FOUND: dict[tuple, dict] = {}


def quickest(key: tuple, choices: list[dict], run: Callable[[dict], object]) -> dict:
    """The choice whose run(choice) takes the least time; measured at the first call with `key`, then remembered.

    While a CUDA graph is being captured nothing can be measured: the first choice, unless one was found before. A
    choice that needs more of the GPU than there is (registers, shared memory) is left out.

    >>> quickest(("demo",), [{"warps": 4}], print)
    {'warps': 4}
    """
    if key not in FOUND:
        if len(choices) == 1 or not torch.cuda.is_available() or torch.cuda.is_current_stream_capturing():
            return choices[0]
        FOUND[key] = min(choices, key=lambda choice: microseconds(run, choice))
    return FOUND[key]


def microseconds(run: Callable[[dict], object], choice: dict) -> float:
    """Of one run, in a CUDA graph; infinite where it cannot run."""
    try:
        return clock.microseconds([lambda: run(choice)], budget_ms=5.0, repeats=3)
    except OutOfResources:
        return float("inf")
