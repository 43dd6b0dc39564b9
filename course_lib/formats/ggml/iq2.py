"""IQ2_XXS, IQ2_XS, IQ2_S: eight weights at a time are one row of a codebook, with a sign each.

w = d (1/2 + sc) / 4 * GRID[index] * sign, magnitudes 8, 25 or 43. Rows and signs of IQ2_XXS and IQ2_XS are points of
the lattice E8, as in QuIP# (llama.cpp's pull requests 4773 and 4856): three magnitudes, an even number of minus signs.
IQ2_XXS is written, the other two are only read.
"""

from __future__ import annotations

import numpy as np

from course_lib.formats.ggml import nearest
from course_lib.formats.ggml.block import F16, inverse, nearest_int, total
from course_lib.formats.ggml.codebook import SIGNS, Codebook, nibbles, of_bits, sevens

F = np.float32


class IQ2_XXS(Codebook):
    """2.0625 bits. Two 32-bit words to 32 weights, all of them in qs: four indices of eight bits; four times seven
    bits of signs, and the scale in the top four bits.
    """

    name, type_id, unit, needs_imatrix = "IQ2_XXS", 16, 0.25, True
    dtype = np.dtype([("d", F16), ("qs", "<u2", 32)])

    def importance(self, x, columns, rows):
        return columns * np.sqrt(total(x, x) / F(256) + x * x)

    def encode(self, x, w):
        n = x.shape[1]
        xs, ws = (np.ascontiguousarray(t.reshape(8, 32, n).transpose(1, 0, 2)).reshape(32, -1) for t in (x, w))
        magnitudes, signs = nearest.even_signs(xs, ws)
        scale, rows = nearest.fit(self.name, magnitudes, ws)
        signs = np.where(scale < 0, ~signs & 127, signs)
        signs[:, scale == 0] = 0
        scale = np.abs(scale).reshape(8, n)
        top = scale.max(0)
        sc = np.clip(nearest_int(F(0.5) * (scale * inverse(top / F(31)) - F(1))), 0, 15).astype(np.uint32)
        words = np.empty((n, 8, 2), np.uint32)
        words[..., 0] = _joined(rows, 8).reshape(8, n).T
        words[..., 1] = _joined(signs, 7).reshape(8, n).T | sc.T << 28
        blocks = np.empty(n, self.dtype)
        blocks["d"], blocks["qs"] = top / F(31), words.reshape(n, -1).view("<u2")
        return blocks

    def words(self, blocks: np.ndarray) -> np.ndarray:
        """uint32 (n, 8, 2)."""
        return np.ascontiguousarray(blocks["qs"]).view("<u4").reshape(-1, 8, 2)

    def index(self, blocks):
        return np.ascontiguousarray(self.words(blocks)[..., 0]).view(np.uint8)

    def signs(self, blocks):
        return SIGNS[sevens(self.words(blocks)[..., 1])]

    def scales(self, blocks):
        return self.words(blocks)[..., 1] >> 28


def _joined(numbers: np.ndarray, bits: int) -> np.ndarray:
    """Four numbers of so many bits, (4, n), in one uint32 (n,), the first in the lowest bits."""
    return np.bitwise_or.reduce(numbers.astype(np.uint32) << (bits * np.arange(4, dtype=np.uint32))[:, None], axis=0)


class IQ2_XS(Codebook):
    """2.3125 bits. A 16-bit word to 8 weights: nine bits of index, seven of signs; a scale of four bits for each 16."""

    name, type_id, unit = "IQ2_XS", 17, 0.25
    dtype = np.dtype([("d", F16), ("qs", "<u2", 32), ("scales", "u1", 8)])

    def index(self, blocks):
        return blocks["qs"] & 511

    def signs(self, blocks):
        return SIGNS[blocks["qs"] >> 9]

    def scales(self, blocks):
        return nibbles(blocks["scales"])


class IQ2_S(Codebook):
    """2.5625 bits. Ten bits of index, eight in the first half of qs and two in qh; eight free signs in its second half;
    a scale of four bits for each 16 weights.
    """

    name, type_id, unit = "IQ2_S", 22, 0.25
    dtype = np.dtype([("d", F16), ("qs", "u1", 64), ("qh", "u1", 8), ("scales", "u1", 8)])

    def index(self, blocks):
        high = blocks["qh"][..., None] >> np.array([0, 2, 4, 6], np.uint8) & 3
        return blocks["qs"][:, :32] | high.reshape(-1, 32).astype(np.uint16) << 8

    def signs(self, blocks):
        return of_bits(blocks["qs"][:, 32:])

    def scales(self, blocks):
        return nibbles(blocks["scales"])


TYPES = (IQ2_XXS(), IQ2_XS(), IQ2_S())
