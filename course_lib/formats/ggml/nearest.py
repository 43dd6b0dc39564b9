"""Which row of a grid lies nearest: eight (or four) numbers are rounded one by one; where no row has that pattern, a
list says which rows lie near it, and the one with the least weighted error is taken.

All arrays have one group a column, as in `search`: sums over axis 0 add in C's order. OverflowError where no error is
finite; there ggml ends the process. (C: iq2xs_init_impl, iq3xs_init_impl, iq2_find_best_neighbour and its sisters for
IQ1 and IQ3, in llama.cpp's ggml-quants.c)
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np

from course_lib.formats.ggml.block import nearest_int
from course_lib.formats.ggml.codebook import grid

F = np.float32
DISTANCES = {"IQ1_S": 3, "IQ2_XXS": 2, "IQ2_XS": 2, "IQ2_S": 1, "IQ3_XXS": 2, "IQ3_S": 3}  # that a list reaches
WIDTHS = (4, 8, 16, 32, 64, 128, 512)  # lists are searched together with others of about their length
BIG = np.finfo(F).max


class Book(NamedTuple):
    """A grid as its encoder sees it: whole numbers 0 … levels - 1, and what lies near every pattern of them.

    rows    int (rows, size): the grid, its numbers counted from the smallest
    levels  how many different numbers there are: 3 in IQ1 and IQ2, 8 in IQ3
    exact   (levels^size,): the row that is this pattern, or -1
    near    (patterns without a row, most): the rows at the smallest distances, the nearest first, the lower of equals
    length  (levels^size,): how many of them
    line    (levels^size,): where in `near` a pattern's list stands
    """

    rows: np.ndarray
    levels: int
    exact: np.ndarray
    near: np.ndarray
    length: np.ndarray
    line: np.ndarray

    @property
    def places(self) -> np.ndarray:
        """What each number of a pattern counts, (size, 1): the pattern's own number is Σ places * number."""
        return self.levels ** np.arange(self.rows.shape[1])[:, None]


@functools.cache
def book(name: str) -> Book:
    """The grid of this name ("IQ2_XS", "IQ1_S") with its lists of neighbours.

    >>> found = book("IQ2_XXS")
    >>> int(found.exact[0]), int(found.length.max()), int(found.length[found.exact >= 0].max())
    (0, 150, 0)
    """
    values = grid(name)
    rows = np.searchsorted(np.unique(values), values)
    levels, size = int(rows.max()) + 1, rows.shape[1]
    patterns = np.arange(levels**size)[:, None] // levels ** np.arange(size) % levels
    p, q = patterns.astype(F), rows.astype(F)
    square = ((p * p).sum(1)[:, None] + (q * q).sum(1) - 2 * (p @ q.T)).astype(np.int16)
    limit = nearest = square.min(1)
    for _ in range(DISTANCES[name] - 1):
        limit = np.where(square > limit[:, None], square, 9999).min(1)
    pattern, row = np.nonzero((square <= limit[:, None]) & (nearest > 0)[:, None])
    order = (pattern * 9999 + square[pattern, row]).argsort(kind="stable")
    length = np.bincount(pattern, minlength=len(patterns))
    line = np.cumsum(length > 0) - 1
    near = np.zeros((line[-1] + 1, length.max()), np.int16)
    near[line[pattern], np.arange(len(row)) - (np.cumsum(length) - length)[pattern]] = row[order]
    return Book(rows, levels, np.where(nearest == 0, square.argmin(1), -1), near, length, line)


def rows_of(name: str, x: np.ndarray, w: np.ndarray, scale: np.ndarray, inverse: np.ndarray):
    """Index of the row (k, n) for each eight of x (8 k, n), and whether its rounded pattern is a row, (k, n).

    The pattern is that of (x / scale - 1) / 2, since rows stand for odd numbers 1, 3, 5 …; where it is no row, that of
    its neighbours with the least Σ w (scale q - x)², q = 1 + 2 row. scale, inverse (n,)
    """
    known = book(name)
    codes = np.clip(nearest_int(F(0.5) * (inverse * x - F(1))), 0, known.levels - 1)
    values = 2 * np.arange(known.levels, dtype=F)[:, None] + F(1)
    return nearest_rows(name, codes, x, w, scale * values)


def nearest_rows(name: str, codes: np.ndarray, x: np.ndarray, w: np.ndarray, values: np.ndarray):
    """The same from codes like x; values (levels, n) is what each level is worth in a column."""
    known = book(name)
    size = known.rows.shape[1]
    shape = -1, size, x.shape[1]
    pattern = (codes.reshape(shape) * known.places).sum(1)
    index = known.exact[pattern]
    on_grid = index >= 0
    k, n = np.nonzero(~on_grid)
    if len(k):
        x, w = (np.ascontiguousarray(t.reshape(shape)[k, :, n].T) for t in (x, w))
        index[k, n] = _best(known, pattern[k, n], x, w, values[:, n])
    return index, on_grid


def _best(known: Book, pattern: np.ndarray, x: np.ndarray, w: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The neighbour (m,) of each pattern (m,) with the least Σ w (value - x)²; x, w (size, m), values (levels, m)."""
    off = values.T - x[..., None]  # (size, m, levels)
    error = w[..., None] * off * off
    best, length, line = np.empty(len(pattern), int), known.length[pattern], known.line[pattern]
    for low, high in zip((0, *WIDTHS), WIDTHS, strict=False):
        part = np.flatnonzero((length > low) & (length <= high))
        if len(part):
            best[part] = _least(known, line[part], length[part], error[:, part])
    return best


def _least(known: Book, line: np.ndarray, length: np.ndarray, error: np.ndarray) -> np.ndarray:
    """Of the neighbours on these lines the first with the least sum of error (size, m, levels) over its numbers."""
    tried = known.near[line, : length.max()].astype(np.intp)
    total, cost, place = np.zeros(tried.shape, F), np.empty(tried.shape, F), np.empty(tried.shape, np.intp)
    mine = (np.arange(len(line)) * known.levels)[:, None]
    for numbers, costs in zip(known.rows.T, error, strict=True):  # added in C's order
        np.add(np.take(numbers, tried, out=place, mode="clip"), mine, out=place)
        total += np.take(costs.ravel(), place, out=cost, mode="clip")
    total[(np.arange(tried.shape[1]) >= length[:, None]) | ~(total < BIG)] = np.inf
    least = total.argmin(1)[:, None]
    if np.isinf(np.take_along_axis(total, least, 1)).any():
        raise OverflowError("squared errors do not fit into float32")
    return np.take_along_axis(tried, least, 1)[:, 0]
