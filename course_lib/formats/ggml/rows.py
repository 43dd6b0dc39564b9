"""How IQ2 and IQ3 are written: signs apart, a few scales tried for each sub-block, its eights put on rows of the grid.

C: quantize_row_iq2_xxs_impl, …_iq2_xs_impl, …_iq2_s_impl, …_iq3_xxs_impl, …_iq3_s_impl in llama.cpp's ggml-quants.c.
All arrays have one sub-block a column: sums over axis 0 then add in C's order. That file is compiled for any x86-64,
without fused multiply-adds, so that each product is rounded before it is added, as NumPy does it.
"""

from __future__ import annotations

import numpy as np

from course_lib.formats.ggml import nearest
from course_lib.formats.ggml.block import nearest_int, total
from course_lib.formats.ggml.codebook import Codebook

F = np.float32


def even_signs(x: np.ndarray, w: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(magnitudes like x (8 k, n), seven bits of signs (k, n)); where an odd number of eight is negative, the cheapest
    one by w x² keeps the wrong sign, and its magnitude is negative."""
    negative = (x < 0).reshape(-1, 8, x.shape[1])
    cost = (w * x * x).reshape(negative.shape)
    cost[:, 1:][np.isnan(cost[:, 1:])] = np.inf  # inf * 0, which C finds no smaller than the first
    odd = negative.sum(1) & 1
    flipped = (np.arange(8)[:, None] == cost.argmin(1)[:, None]) & (odd[:, None] == 1)
    magnitude = np.abs(x).reshape(negative.shape)
    magnitude = np.where(flipped, -magnitude, magnitude)
    return magnitude.reshape(x.shape), _bits(negative ^ flipped) & 127


def free_signs(x: np.ndarray, w: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(magnitudes like x (8 k, n), eight bits of signs (k, n))."""
    return np.abs(x), _bits((x < 0).reshape(-1, 8, x.shape[1]))


def _bits(negative: np.ndarray) -> np.ndarray:
    """Eight truths (k, 8, n) in a number (k, n), the first in the lowest bit."""
    return (negative << np.arange(8)[:, None]).sum(1)


class Rows(Codebook):
    """A type says how it differs.

    sub         weights of a sub-block, which has a scale of its own
    parity      an even number of each eight signs is negative, so that seven bits name them
    eps         a sub-block whose largest magnitude is below this is zero
    tries       inverse scales (top level + step k) / largest for k = -tries … tries, (tries, step)
    again       which eights choose a row once more, with the best scale: those whose pattern is no row ("off"), all of
                a sub-block that has such a one ("any"), or all of them ("all")
    factor      what d is multiplied by in the end: ggml's authors found that it helps
    keeps       a block without any scale above 0 keeps its rows and signs

    and puts rows (k, n), signs (32, n) and scales (256 / sub, n) into its fields, put(blocks, rows, signs, scales,
    live), where live (256 / sub, n) says which sub-blocks are not zero.
    """

    sub, parity, eps, tries, again, factor, keeps = 32, True, 1e-15, (9, 0.1), "off", 1.0, False

    def plain(self, x: np.ndarray) -> np.ndarray:
        """Weights of the squared errors where there is no importance matrix."""
        return x * x

    def importance(self, x, columns, rows):
        return columns * np.sqrt(F(2) * total(x, x) / F(256) + x * x)

    def encode(self, x, w):
        n, size = x.shape[1], 256 // self.sub
        w = self.plain(x) if w is None else w
        x, w = (np.ascontiguousarray(t.reshape(size, self.sub, n).transpose(1, 0, 2)).reshape(self.sub, -1)
                for t in (x, w))  # fmt: skip
        magnitudes, signs = (even_signs if self.parity else free_signs)(x, w)
        scale, top, live = self.first(magnitudes, w)
        scale[~live], signs[:, ~live] = 0, 0
        rows = np.zeros((len(x) // nearest.book(self.name).rows.shape[1], x.shape[1]), int)
        if live.any():
            part = (np.ascontiguousarray(t[..., live]) for t in (magnitudes, w, scale, top))
            scale[live], rows[:, live] = self.fit(*part)
        signs = np.where(scale < 0, ~signs & (127 if self.parity else 255), signs)
        rows, signs = (t.reshape(len(t), -1, n).transpose(1, 0, 2).reshape(-1, n) for t in (rows, signs))
        return self.packed(np.abs(scale).reshape(size, n), rows, signs, live.reshape(size, n))

    def packed(self, scale: np.ndarray, rows: np.ndarray, signs: np.ndarray, live: np.ndarray) -> np.ndarray:
        """Records (n,) of the scales (256 / sub, n), rows and signs of blocks: scale ≈ d (1 + 2 sc), sc 0 … 15."""
        top = scale.max(0)
        d = top / F(31)
        sc = np.clip(nearest_int(F(0.5) * (scale * (F(1) / d) - F(1))), 0, 15)
        zero = top == 0
        sc[:, zero] = 0
        if not self.keeps:
            rows[:, zero], signs[:, zero] = 0, 0
        blocks = np.zeros(len(top), self.dtype)
        blocks["d"] = d * F(self.factor)
        self.put(blocks, rows, signs, sc, live)
        return blocks

    def first(self, x: np.ndarray, w: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """A scale to begin with; the magnitude that the tries bring near the top level; whether that is not zero."""
        top = x.max(0)
        return top / F(2 * nearest.book(self.name).levels - 1), top, top >= F(self.eps)

    def fit(self, x: np.ndarray, w: np.ndarray, scale: np.ndarray, top: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(scale (n,), rows (k, n)) of sub-blocks x (sub, n) under weights w: least Σ w (x - scale q)²."""
        known, root, best = nearest.book(self.name), np.sqrt(w), np.zeros_like(scale)
        levels = known.levels
        rows = np.zeros((len(x) // known.rows.shape[1], x.shape[1]), int)
        on_grid = np.full(rows.shape, self.again != "any")
        count, step = self.tries
        for k in range(-count, count + 1):
            inverse = (F(2 * levels - 1) + F(k) * F(step)) / top
            found, on = nearest.rows_of(self.name, x, root, F(1) / inverse, inverse)
            sum_qx, sum_q2 = self.sums(x, w, found)
            better = (sum_q2 > 0) & (sum_qx * sum_qx > best * sum_q2)
            np.putmask(scale, better, sum_qx / sum_q2)
            np.putmask(best, better, scale * sum_qx)
            rows, on_grid = np.where(better, found, rows), np.where(better, on, on_grid)
        self.choose_again(x, w, root, scale, rows, on_grid)
        return scale, rows

    def choose_again(self, x, w, root, scale, rows, on_grid):
        """With the best scale some eights may find a nearer row, and the rows then a better scale; changes both."""
        anew = {"off": ~on_grid, "any": (rows >= 0) & ~on_grid.all(0), "all": rows >= 0}[self.again] & (scale > 0)
        at = np.flatnonzero(anew.any(0))
        if not len(at):
            return
        x, w, root = (np.ascontiguousarray(t[:, at]) for t in (x, w, root))
        found, _ = nearest.rows_of(self.name, x, root, scale[at], F(1) / scale[at])
        rows[:, at] = np.where(anew[:, at], found, rows[:, at])
        sum_qx, sum_q2 = self.sums(x, w, rows[:, at])
        scale[at] = np.where(sum_q2 > 0, sum_qx / sum_q2, scale[at])

    def sums(self, x: np.ndarray, w: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Σ w x q and Σ w q² of the odd numbers q that these rows stand for, (n,) each."""
        q = F(1) + F(2) * nearest.book(self.name).rows.astype(F)[rows]  # (k, n, 8)
        q = np.ascontiguousarray(q.transpose(0, 2, 1)).reshape(x.shape)
        return total(w, x, q), total(w, q, q)
