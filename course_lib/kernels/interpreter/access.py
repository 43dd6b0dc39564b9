"""One load or store of a kernel that is interpreted, and how to be told of each."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from triton.runtime import interpreter


@dataclass(frozen=True)
class Access:
    """One load or store of one program: which argument, which of its bytes, and the mask."""

    program: tuple[int, int, int]
    kind: str  # load, store or atomic
    argument: str
    offsets: np.ndarray  # in bytes from the argument's first element; -1 where masked
    itemsize: int


def memory():
    """The interpreter's memory: `bounds.Memory` once it is mended."""
    return interpreter._interpreter


@contextmanager
def watch(watcher):
    """Call `watcher(Access)` for every load, store and atomic of the kernels that run inside."""
    memory().watcher = watcher
    try:
        yield
    finally:
        memory().watcher = None
