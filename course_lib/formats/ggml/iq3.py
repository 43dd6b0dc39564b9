"""IQ3_XXS and IQ3_S: four weights at a time are one row of a codebook, with signs of their own.

256 and 512 of the 8⁴ possible fours; the grid of IQ3_XXS comes from the lattice D4 (llama.cpp's pull request 5196).
"""

from __future__ import annotations

import numpy as np

from course_lib.formats.ggml.block import F16
from course_lib.formats.ggml.codebook import SIGNS, bytes_of, joined, nibbles, of_bits, sevens
from course_lib.formats.ggml.rows import Rows

F = np.float32


class IQ3_XXS(Rows):
    """3.0625 bits: w = d (1/2 + sc) / 2 * GRID[index] * sign. qs: 64 indices, then for each 32 weights a word of four
    times seven bits of signs, and the scale in its top four bits.
    """

    name, type_id, unit = "IQ3_XXS", 18, 0.5
    eps, tries, factor = 1e-8, (15, 0.2), 1.0125
    dtype = np.dtype([("d", F16), ("qs", "u1", 96)])

    def put(self, blocks, rows, signs, scales, live):
        words = joined(signs, 7) | scales.astype(np.uint32) << 28
        blocks["qs"][:, :64], blocks["qs"][:, 64:] = rows.T, np.ascontiguousarray(words.T, "<u4").view(np.uint8)

    def words(self, blocks: np.ndarray) -> np.ndarray:
        """uint32 (n, 8)."""
        return np.ascontiguousarray(blocks["qs"][:, 64:]).view("<u4")

    def index(self, blocks):
        return blocks["qs"][:, :64]

    def signs(self, blocks):
        return SIGNS[sevens(self.words(blocks))]

    def scales(self, blocks):
        return self.words(blocks) >> 28


class IQ3_S(Rows):
    """256 weights in 64 fours: w = d (1 + 2 sc) * sign * GRID[index]; 110 bytes, as many as Q3_K has.

    qs      lower eight bits of each four's index into the grid, (64,)
    qh      its ninth bit, one byte for the eight fours of a sub-block of 32, (8,)
    signs   one bit a weight, set for a negative one, (32,)
    scales  four bits for each sub-block, two to a byte, (4,)

    ggml's writer does not move on past a sub-block of zeros: the lower bits and the signs of what follows stand one
    place too early, its ninth bits and scales in their own, so that it is read as other weights. Ours does as it does.
    """

    name, type_id = "IQ3_S", 21
    eps, tries, again, parity, factor, keeps = 1e-45, (9, 0.2), "any", False, 1.033, True
    dtype = np.dtype([("d", F16), ("qs", "u1", 64), ("qh", "u1", 8), ("signs", "u1", 32), ("scales", "u1", 4)])

    def put(self, blocks, rows, signs, scales, live):
        blocks["qh"], blocks["scales"] = np.packbits(rows.T > 255, axis=1, bitorder="little"), bytes_of(scales)
        order = (~live).argsort(0, kind="stable")[:, None]  # those of zero sub-blocks last
        for field, numbers in (("qs", rows & 255), ("signs", signs)):
            moved = np.take_along_axis(numbers.reshape(8, -1, len(blocks)), order, 0)
            blocks[field] = moved.reshape(-1, len(blocks)).T

    def index(self, blocks):
        ninth = np.unpackbits(blocks["qh"], axis=1, bitorder="little")
        return blocks["qs"] | (ninth.astype(np.uint16) << 8)

    def signs(self, blocks):
        return of_bits(blocks["signs"])

    def scales(self, blocks):
        """1 + 2 sc of each sub-block, (n, 8): odd numbers from 1 to 31."""
        return 1 + 2 * nibbles(blocks["scales"])

    def step(self, blocks):
        return blocks["d"].astype(F)[:, None] * self.scales(blocks)


TYPES = (IQ3_XXS(), IQ3_S())
