"""IQ1_S and IQ1_M: eight weights are one of 2,048 rows of -1, 0, 1, all of them moved by an eighth.

w = d (2 sc + 1) (GRID[index] ± 1/8), the sign of the eighth stored once for 32 weights (IQ1_S) or for 8 (IQ1_M).
It is written by the best cut of sorted weights (`split`), whose eights then go to rows of the grid (`nearest`).
"""

from __future__ import annotations

import numpy as np

from course_lib.formats.ggml import nearest, split
from course_lib.formats.ggml.block import F16, BlockType, nearest_int, total
from course_lib.formats.ggml.codebook import bytes_of, grid, nibbles

F = np.float32
DELTA = F(0.125)
THREES, NIBBLES = np.array([[0, 3, 6, 9], [0, 4, 8, 12]], np.uint16)


class IQ1(BlockType):
    """256 weights, 32 indices of eleven bits: eight in qs, three in qh beside the sign of the eighth."""

    elements = 256

    def importance(self, x, columns, rows):
        return columns * np.sqrt(F(2) * total(x, x) / F(256) + x * x)

    def encode(self, x, w):
        n, subs = x.shape[1], 256 // self.sub
        w = x * x if w is None else w
        xs, ws = (np.ascontiguousarray(t.reshape(subs, self.sub, n).transpose(1, 0, 2)).reshape(self.sub, -1)
                  for t in (x, w))  # fmt: skip
        live = np.abs(xs).max(0) >= F(self.eps)
        scale, index, down = np.zeros(len(live), F), *np.zeros((2, self.sub // 8, len(live)), int)
        if live.any():
            parts = self.fit(*(np.ascontiguousarray(t[:, live]) for t in (xs, ws)))
            scale[live], index[:, live], down[:, live] = parts
        scale = scale.reshape(subs, n)
        index, down = (t.reshape(-1, subs, n).transpose(1, 0, 2).reshape(32, n) for t in (index, down))
        top = scale.max(0)
        sc = np.clip(nearest_int(F(0.5) * (scale * (F(1) / (top / F(15))) - F(1))), 0, 7)
        sc[:, top == 0], down[:, top == 0] = 0, 0
        blocks = np.zeros(n, self.dtype)
        self.put(blocks, index, down, sc, top, x, w)
        return blocks

    def fit(self, x: np.ndarray, w: np.ndarray):
        """Scale (n,), rows of the grid and whether they are moved down (k, n), of sub-blocks x (8 k, n) under w.

        The best cut gives codes and scale; eights whose codes are no row take the neighbour with the least error, and
        where there is such a one the scale is fitted again.
        """
        order = x.argsort(0, kind="stable")
        best = self.cut(x, w, order)
        way = np.where(best.scale < 0, self.ways - 1 - best.way, best.way)
        down = way >> np.arange(self.ways // 2)[::-1, None] & 1
        down = np.repeat(down, len(x) // 8 // len(down), axis=0)
        values = split.worth(down)
        scale = np.abs(best.scale)
        codes, xs, ws = (t.reshape(-1, 8, len(scale)).transpose(1, 0, 2).reshape(8, -1)
                         for t in (split.codes_of(order, best), x, w))  # fmt: skip
        index, on_grid = nearest.nearest_rows("IQ1_S", codes, xs, ws, (scale * values).reshape(3, -1))
        index, on_grid = index.reshape(down.shape), on_grid.reshape(down.shape)
        q = self.numbers(index, values).reshape(x.shape)
        sum_qx, sum_q2 = total(w, q, x), total(w, q, q)
        scale = np.where(~on_grid.all(0) & (sum_qx > 0) & (sum_q2 > 0), sum_qx / sum_q2, scale)
        lost = best.way < 0  # no cut has a weight that counts
        if np.isnan(scale[~lost]).any():
            raise OverflowError("sums of squares do not fit into float32")
        scale[lost], index[:, lost], down[:, lost] = 0, 0, 0
        return scale, index, down

    def numbers(self, index: np.ndarray, values: np.ndarray) -> np.ndarray:
        """float32 (k, 8, n): what the rows with this index (k, n) hold where -1, 0, 1 are worth values (3, k, n)."""
        codes = nearest.book("IQ1_S").rows[index].transpose(0, 2, 1)
        return np.take_along_axis(values.transpose(1, 0, 2), codes, 1)

    def decode(self, blocks):
        index = blocks["qs"] | (self.high(blocks).astype(np.uint16) << 8)  # (n, 32)
        step = self.d(blocks)[:, None] * (2 * self.scales(blocks) + 1).astype(F)  # (n, 8 or 16)
        moved = np.where(self.minus(blocks), -DELTA, DELTA)  # (n, 8 or 32)
        rows = grid("IQ1_S")[index].reshape(*moved.shape, -1) + moved[..., None]
        return (step[..., None] * rows.reshape(*step.shape, -1)).reshape(-1, 256)


class IQ1_S(IQ1):
    """1.5625 bits. A word of qh serves 32 weights: four times three bits of index, a scale of three bits, the sign."""

    name, type_id = "IQ1_S", 19
    needs_imatrix, sub, eps, ways = True, 32, 1e-12, 2
    cut = staticmethod(split.one_way)
    dtype = np.dtype([("d", F16), ("qs", "u1", 32), ("qh", "<u2", 8)])

    def put(self, blocks, index, down, sc, top, x, w):
        words = (index >> 8).reshape(8, 4, -1) << THREES[:, None]
        blocks["qs"], blocks["d"] = (index & 255).T, top / F(15) * F(1.125)
        blocks["qh"] = (np.bitwise_or.reduce(words, axis=1) | sc << 12 | down[::4] << 15).T

    def d(self, blocks):
        return blocks["d"].astype(F)

    def high(self, blocks):
        return (blocks["qh"][..., None] >> THREES & 7).reshape(-1, 32)

    def scales(self, blocks):
        return blocks["qh"] >> 12 & 7

    def minus(self, blocks):
        return blocks["qh"] >= 0x8000


class IQ1_M(IQ1):
    """1.75 bits. A nibble of qh serves 8 weights: three bits of index, the sign; scales holds 16 scales of three bits,
    four to a word, and in the words' top nibbles the 16 bits of d.
    """

    name, type_id = "IQ1_M", 29
    sub, eps, ways = 16, 1e-7, 4
    cut = staticmethod(split.a_way_a_half)
    dtype = np.dtype([("qs", "u1", 32), ("qh", "u1", 16), ("scales", "u1", 8)])

    def put(self, blocks, index, down, sc, top, x, w):
        q = self.numbers(index, split.worth(down)) * np.repeat(2 * sc + 1, 2, 0)[:, None].astype(F)
        q = q.reshape(x.shape)  # all 256 numbers, zero sub-blocks as row 0: d is fitted to them
        sum_qx, sum_q2 = total(w, q, x), total(w, q, q)
        d = np.where(sum_q2 > 0, sum_qx / sum_q2, top / F(15)) * F(1.1125)
        d[top == 0] = 0
        words = np.bitwise_or.reduce(sc.reshape(4, 4, -1) << THREES[:, None], axis=1).astype(np.uint16)
        words |= (d.astype(F16).view("<u2") >> NIBBLES[:, None] & 15) << 12
        blocks["qs"], blocks["qh"] = (index & 255).T, bytes_of(index >> 8 | down << 3)
        blocks["scales"] = np.ascontiguousarray(words.T, "<u2").view(np.uint8)

    def words(self, blocks: np.ndarray) -> np.ndarray:
        """uint16 (n, 4)."""
        return np.ascontiguousarray(blocks["scales"]).view("<u2")

    def d(self, blocks):
        top = self.words(blocks) >> 12 << NIBBLES
        return np.bitwise_or.reduce(top, axis=1).view(F16).astype(F)

    def high(self, blocks):
        return nibbles(blocks["qh"]) & 7

    def scales(self, blocks):
        return (self.words(blocks)[..., None] >> THREES & 7).reshape(-1, 16)

    def minus(self, blocks):
        return nibbles(blocks["qh"]) > 7


TYPES = (IQ1_S(), IQ1_M())
