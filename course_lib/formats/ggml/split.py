"""How IQ1 rounds: of all ways to cut a sub-block's sorted weights into -1, 0, 1, the one with the least error.

With the weights in order, x₁ <= x₂ <= …, the best codes are -1 for the first i, 0 up to the j-th, 1 from there on, for
some i <= j: 561 pairs where 32 weights are cut, and prefix sums give Σ w q x and Σ w q² of each. The scale of a cut is
Σwqx / Σwq², and (Σwqx)² / Σwq² is how much it takes off the error. All codes are moved up or down by an eighth; both
ways compete. Equal weights keep their order, as in glibc's qsort, which merges.
C: quantize_row_iq1_s_impl, quantize_row_iq1_m_impl in llama.cpp's ggml-quants.c.
"""

from __future__ import annotations

import numpy as np

F = np.float32
UP = F([-0.875, 0.125, 1.125])  # what -1, 0, 1 are worth, moved up by an eighth
DOWN = F([-1.125, -0.125, 0.875])


def worth(down: np.ndarray) -> np.ndarray:
    """What -1, 0, 1 are worth, (3, …), where codes are moved down (…)."""
    return np.where(down, DOWN.reshape(3, *[1] * down.ndim), UP.reshape(3, *[1] * down.ndim))


class Best:
    """The best of the cuts so far, of each sub-block: scale, boundaries i <= j, and which way the codes are moved."""

    def __init__(self, scale: np.ndarray):
        self.scale, self.score = scale.copy(), np.full_like(scale, np.finfo(F).min)
        self.low, self.high, self.way = (np.full(len(scale), -1) for _ in range(3))

    def offer(self, sum_qx: np.ndarray, sum_q2: np.ndarray, low: int, high: int, way: int):
        """Take this cut where it is better; C compares without a division, and so in this order."""
        better = (sum_q2 > 0) & (sum_qx * sum_qx > self.score * sum_q2)
        if better.any():
            at = np.flatnonzero(better)
            self.scale[at] = sum_qx[at] / sum_q2[at]
            self.score[at] = self.scale[at] * sum_qx[at]
            self.low[at], self.high[at], self.way[at] = low, high, way


def codes_of(order: np.ndarray, best: Best) -> np.ndarray:
    """Codes 0, 1, 2 (size, n) of the weights that stand in this order, turned over where the scale is negative."""
    rank = order.argsort(0)
    codes = (rank >= best.low).astype(int) + (rank >= best.high)
    return np.where(best.scale < 0, 2 - codes, codes)


@np.errstate(all="ignore")  # C computes on through infinities and so do we
def one_way(x: np.ndarray, w: np.ndarray, order: np.ndarray) -> Best:
    """The best cut of x (size, n) under weights w, all codes moved the same way: 0 up, 1 down. (IQ1_S)"""
    size = len(x)
    sums = [_prefix(np.take_along_axis(t, order, 0)) for t in (w * x, w)]
    best = Best(np.abs(x).max(0))
    for i in range(size + 1):
        for j in range(i, size + 1):
            (xa, xb, xc), (wa, wb, wc) = ((s[i], s[j] - s[i], s[size] - s[j]) for s in sums)
            for way, (a, b, c) in enumerate((UP, DOWN)):
                best.offer(xa * a + xb * b + xc * c, wa * a * a + wb * b * b + wc * c * c, i, j, way)
    return best


@np.errstate(all="ignore")
def a_way_a_half(x: np.ndarray, w: np.ndarray, order: np.ndarray) -> Best:
    """The same where each half of the sub-block is moved its own way: 2 · first + second, 0 up, 1 down. (IQ1_M)"""
    size = len(x)
    first = order < size // 2
    wx, w = (np.take_along_axis(t, order, 0) for t in (w * x, w))
    halves = [[_prefix(np.where(mask, t, F(0))) for t in (wx, w)] for mask in (first, ~first)]
    best = Best(np.abs(x).max(0))
    for i in range(size + 1):
        for j in range(i, size + 1):
            qx, q2 = zip(*(_both_ways(sx, sw, i, j) for sx, sw in halves), strict=True)
            for way in range(4):
                a, b = divmod(way, 2)
                best.offer(qx[0][a] + qx[1][b], q2[0][a] + q2[1][b], i, j, way)
    return best


def _both_ways(sx, sw, i, j):
    """(Σwqx moved up, moved down), (Σwq² moved up, moved down) of a half, from its prefix sums."""
    both = sx[i] + sx[j]
    qx, q2 = [], []
    for a, b, c in (UP, DOWN):
        qx.append(sx[-1] * c - both)
        q2.append(sw[-1] * c * c + sw[i] * (a * a - b * b) + sw[j] * (b * b - c * c))
    return qx, q2


def _prefix(t: np.ndarray) -> np.ndarray:
    """Sums of the first 0, 1, 2 … rows of t (size, n), added one by one: (size + 1, n)."""
    return np.cumsum(np.concatenate([np.zeros_like(t[:1]), t]), axis=0, dtype=F)
