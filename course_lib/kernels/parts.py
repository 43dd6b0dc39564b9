"""A row cut into parts, where there are too few tiles for a GPU: the last program to finish a tile adds the parts.

Who is last is counted in `locks`, one counter a tile, which the last program sets back to 0. So a weight takes one call
at a time: two streams that multiply by it at once would count each other's programs.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import triton
import triton.language as tl
from torch import Tensor

from course_lib.kernels import interpreter  # noqa: F401  it is mended by its import


@triton.jit
def finish(acc, y, partial, locks, tokens, rows, m, n, SPLIT: tl.constexpr):
    """Store a tile; where it is one part of several, store the part, and let the last to come add them."""
    inside = (tokens < m)[None, :] & (rows < n)[:, None]
    at = tokens[None, :] * n + rows[:, None]
    if SPLIT:
        part, parts = tl.program_id(2), tl.num_programs(2)
        lock = locks + tl.program_id(1) * tl.num_programs(0) + tl.program_id(0)
        tl.store(partial + part * m * n + at, acc, mask=inside)
        tl.debug_barrier()  # all threads have stored before one of them counts
        if tl.atomic_add(lock, 1) == parts - 1:
            acc = tl.zeros_like(acc)
            for p in range(parts):
                acc += tl.load(partial + p * m * n + at, mask=inside, other=0.0, cache_modifier=".cg")
            tl.store(y + at, acc.to(y.dtype.element_ty), mask=inside)
            tl.store(lock, 0)
    else:
        tl.store(y + at, acc.to(y.dtype.element_ty), mask=inside)


@contextmanager
def counted(locks: Tensor) -> Iterator[None]:
    """Around a launch: counters are 0 for the next one, even if this one is interrupted, as an interpreted one can be.

    >>> import torch
    >>> locks = torch.tensor([1, 0])
    >>> try:
    ...     with counted(locks):
    ...         raise KeyboardInterrupt
    ... except KeyboardInterrupt:
    ...     locks.tolist()
    [0, 0]
    """
    try:
        yield
    except BaseException:
        locks.zero_()
        raise
