"""How IQ2_XXS is written: signs made even, then 13 scales for each 32 weights, each eight to a row of the grid nearby.

All arrays have one group a column, as in `search`: sums over axis 0 add in C's order. (C: quantize_row_iq2_xxs_impl)
"""

from __future__ import annotations

import functools

import numpy as np

from course_lib.formats.ggml import search
from course_lib.formats.ggml.block import nearest_int, total
from course_lib.formats.ggml.codebook import grid

F = np.float32
LEVELS = 3  # magnitudes 1, 3, 5
PLACES = LEVELS ** np.arange(8)


@functools.cache
def odd_rows(name: str) -> np.ndarray:
    """The grid as the encoder sees it, float32 (rows, 8): 1, 3, 5 for the decoder's 8, 25, 43."""
    return 2 * np.searchsorted(F([8, 25, 43]), grid(name)).astype(F) + F(1)


@functools.cache
def neighbours(name: str, distances: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """For each of 3^8 patterns: its row of the grid or -1, and the rows at the smallest distances, the nearest first.

    int (6561,) and (6561, most); a shorter list repeats its first row. Of equally near rows the lower one comes first.
    """
    rows = odd_rows(name).astype(np.int64)
    patterns = 2 * (np.arange(LEVELS**8)[:, None] // PLACES % LEVELS) + 1
    square = (patterns**2).sum(1)[:, None] - 2 * patterns @ rows.T + (rows**2).sum(1)
    order = square.argsort(1, kind="stable")
    ranked = np.take_along_axis(square, order, 1)
    steps = np.cumsum(
        np.diff(ranked, axis=1, prepend=ranked[:, :1]) > 0, axis=1
    )  # how many smaller distances there are
    near = steps < distances
    order = np.where(near, order, order[:, :1])[:, : near.sum(1).max()]
    return np.where(ranked[:, 0] == 0, order[:, 0], -1), order


def even_signs(x: np.ndarray, w: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(magnitudes like x (8 k, n), seven bits of signs (k, n)); where an odd number of eight is negative, the cheapest
    one by w x² keeps the wrong sign, and its magnitude is negative."""
    negative = (x < 0).reshape(-1, 8, x.shape[1])
    cost = (w * x * x).reshape(negative.shape)
    odd = negative.sum(1) & 1
    flipped = (np.arange(8)[:, None] == cost.argmin(1)[:, None]) & (odd[:, None] == 1)
    magnitude = np.abs(x).reshape(negative.shape)
    magnitude = np.where(flipped, -magnitude, magnitude)
    bits = ((negative ^ flipped) << np.arange(8)[:, None]).sum(1) & 127
    return magnitude.reshape(x.shape), bits


def rows_of(name: str, x: np.ndarray, root: np.ndarray, scale: np.ndarray, inverse: np.ndarray) -> np.ndarray:
    """Index of the row (k, n) for each eight of magnitudes x (8 k, n): the rounded pattern where it is a row, else
    that of its neighbours with the least Σ root (scale q - x)²."""
    codes = np.clip(nearest_int(F(0.5) * (inverse * x - F(1))), 0, LEVELS - 1).reshape(-1, 8, x.shape[1])
    pattern = (codes * PLACES[:, None]).sum(1)
    exact, near = neighbours(name)
    index = exact[pattern]
    k, n = np.nonzero(index < 0)
    tried = near[pattern[k, n]]  # (m, most)
    values, off = odd_rows(name), np.zeros(tried.shape, F)
    eights, roots = (t.reshape(-1, 8, t.shape[1])[k, :, n][..., None] for t in (x, root))
    for j in range(8):
        difference = scale[n][:, None] * values[tried, j] - eights[:, j]
        off += roots[:, j] * difference * difference
    index[k, n] = np.take_along_axis(tried, off.argmin(1)[:, None], 1)[:, 0]
    return index


def fit(name: str, x: np.ndarray, w: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(scale (n,), rows (4, n)) of magnitudes x (32, n) under weights w: least Σ w (x - scale q)²."""
    root, dead = np.sqrt(w), x.max(0) < search.EPS
    scale, _ = search.positive(x, LEVELS + 1, w)
    top = scale * F(LEVELS)
    dead |= top <= 0
    best, rows = np.zeros_like(scale), np.zeros((4, x.shape[1]), int)

    def sums(index):
        q = np.ascontiguousarray(odd_rows(name)[index].transpose(0, 2, 1).reshape(32, -1))
        return total(w, x, q), total(w, q, q)

    for step in range(-6, 7):
        inverse = (F(2 * LEVELS - 1) + F(step) * F(0.1)) / top
        index = rows_of(name, x, root, F(1) / inverse, inverse)
        sum_qx, sum_q2 = sums(index)
        better = (sum_q2 > 0) & (sum_qx * sum_qx > best * sum_q2)
        np.putmask(scale, better, sum_qx / sum_q2)
        np.putmask(best, better, scale * sum_qx)
        rows = np.where(better, index, rows)
    rows = np.where(scale > 0, rows_of(name, x, root, scale, F(1) / scale), rows)
    sum_qx, sum_q2 = sums(rows)
    np.putmask(scale, (scale > 0) & (sum_q2 > 0), sum_qx / sum_q2)
    scale[dead], rows[:, dead] = 0, 0
    return scale, rows
