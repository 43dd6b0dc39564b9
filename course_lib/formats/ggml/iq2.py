"""IQ2_XXS, IQ2_XS, IQ2_S: eight weights at a time are one row of a codebook, with a sign each.

w = d (1/2 + sc) / 4 * GRID[index] * sign, magnitudes 8, 25 or 43. Rows and signs of IQ2_XXS and IQ2_XS are points of
the lattice E8, as in QuIP# (llama.cpp's pull requests 4773 and 4856): three magnitudes, an even number of minus signs.
"""

from __future__ import annotations

import numpy as np

from course_lib.formats.ggml import search
from course_lib.formats.ggml.block import F16, total
from course_lib.formats.ggml.codebook import SIGNS, bytes_of, joined, nibbles, of_bits, sevens
from course_lib.formats.ggml.rows import Rows

F = np.float32


class IQ2_XXS(Rows):
    """2.0625 bits. Two 32-bit words to 32 weights, all of them in qs: four indices of eight bits; four times seven
    bits of signs, and the scale in the top four bits.
    """

    name, type_id, unit, needs_imatrix = "IQ2_XXS", 16, 0.25, True
    tries, again = (6, 0.1), "all"
    dtype = np.dtype([("d", F16), ("qs", "<u2", 32)])

    def importance(self, x, columns, rows):
        return columns * np.sqrt(total(x, x) / F(256) + x * x)

    def first(self, x, w):
        scale, _ = search.positive(x, 4, w)
        top = scale * F(3)
        return scale, top, (x.max(0) >= F(self.eps)) & ~(top <= 0)

    def put(self, blocks, rows, signs, scales, live):
        words = np.empty((len(blocks), 8, 2), np.uint32)
        words[..., 0] = joined(rows, 8).T
        words[..., 1] = (joined(signs, 7) | scales.astype(np.uint32) << 28).T
        blocks["qs"] = words.reshape(len(blocks), -1).view("<u2")

    def words(self, blocks: np.ndarray) -> np.ndarray:
        """uint32 (n, 8, 2)."""
        return np.ascontiguousarray(blocks["qs"]).view("<u4").reshape(-1, 8, 2)

    def index(self, blocks):
        return np.ascontiguousarray(self.words(blocks)[..., 0]).view(np.uint8)

    def signs(self, blocks):
        return SIGNS[sevens(self.words(blocks)[..., 1])]

    def scales(self, blocks):
        return self.words(blocks)[..., 1] >> 28


class IQ2_XS(Rows):
    """2.3125 bits. A 16-bit word to 8 weights: nine bits of index, seven of signs; a scale of four bits for each 16."""

    name, type_id, unit, needs_imatrix, sub = "IQ2_XS", 17, 0.25, True, 16
    dtype = np.dtype([("d", F16), ("qs", "<u2", 32), ("scales", "u1", 8)])

    def importance(self, x, columns, rows):
        return columns * np.sqrt(total(x, x) / F(256) + x * x)

    def put(self, blocks, rows, signs, scales, live):
        blocks["qs"], blocks["scales"] = (rows | signs << 9).T, bytes_of(scales)

    def index(self, blocks):
        return blocks["qs"] & 511

    def signs(self, blocks):
        return SIGNS[blocks["qs"] >> 9]

    def scales(self, blocks):
        return nibbles(blocks["scales"])


class IQ2_S(Rows):
    """2.5625 bits. Ten bits of index, eight in the first half of qs and two in qh; eight free signs in its second half;
    a scale of four bits for each 16 weights.
    """

    name, type_id, unit, sub = "IQ2_S", 22, 0.25, 16
    parity, eps, factor, keeps = False, 1e-8, 0.9875, True
    dtype = np.dtype([("d", F16), ("qs", "u1", 64), ("qh", "u1", 8), ("scales", "u1", 8)])

    def plain(self, x):
        return F(0.25) * (F(2) * total(x, x) / F(256)) + x * x

    def put(self, blocks, rows, signs, scales, live):
        blocks["qs"] = np.concatenate([rows & 255, signs]).T
        blocks["qh"], blocks["scales"] = joined(rows >> 8, 2).T, bytes_of(scales)

    def index(self, blocks):
        high = blocks["qh"][..., None] >> np.array([0, 2, 4, 6], np.uint8) & 3
        return blocks["qs"][:, :32] | high.reshape(-1, 32).astype(np.uint16) << 8

    def signs(self, blocks):
        return of_bits(blocks["qs"][:, 32:])

    def scales(self, blocks):
        return nibbles(blocks["scales"])


TYPES = (IQ2_XXS(), IQ2_XS(), IQ2_S())
