"""What a kernel reads and writes, in order: our own tracer, on what `interpreter.watch` is told.

Memory moves in sectors of 32 bytes. A load asks for some bytes and moves all sectors in which they lie.
"""

from __future__ import annotations

import numpy as np

from course_lib.kernels.interpreter import Access, watch

SECTOR = 32


def trace(launch) -> tuple[Access, ...]:
    """Every load, store and atomic of the kernels that `launch()` runs, in the order in which they happen.

    >>> import torch, triton
    >>> import triton.language as tl
    >>> [(a.kind, a.argument, asked(a)) for a in trace(lambda: None)]
    []
    """
    seen = []
    with watch(seen.append):
        launch()
    return tuple(seen)


def touched(access: Access) -> np.ndarray:
    """The bytes that an access asks for, as sorted offsets from its argument's first byte."""
    first = access.offsets[access.offsets >= 0].ravel()
    return np.unique(first[:, None] + np.arange(access.itemsize))


def asked(access: Access) -> int:
    """Different bytes that the lanes of an access ask for."""
    return len(touched(access))


def sectors(access: Access) -> int:
    """Sectors of 32 bytes that an access moves, its argument beginning with one."""
    return len(np.unique(touched(access) // SECTOR))


def totals(accesses) -> dict[str, tuple[int, int]]:
    """{argument: (bytes asked for, bytes moved in sectors)}, summed over accesses."""
    found: dict[str, tuple[int, int]] = {}
    for access in accesses:
        a, m = found.get(access.argument, (0, 0))
        found[access.argument] = (a + asked(access), m + SECTOR * sectors(access))
    return found
