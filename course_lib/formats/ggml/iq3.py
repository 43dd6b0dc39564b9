"""IQ3_XXS and IQ3_S: four weights at a time are one row of a codebook, with signs of their own. Read, not written.

256 and 512 of the 8⁴ possible fours; the grid of IQ3_XXS comes from the lattice D4 (llama.cpp's pull request 5196).
"""

from __future__ import annotations

import numpy as np

from course_lib.formats.ggml.block import F16
from course_lib.formats.ggml.codebook import SIGNS, Codebook, nibbles, of_bits, sevens

F = np.float32


class IQ3_XXS(Codebook):
    """3.0625 bits: w = d (1/2 + sc) / 2 * GRID[index] * sign. qs: 64 indices, then for each 32 weights a word of four
    times seven bits of signs, and the scale in its top four bits.
    """

    name, type_id, unit = "IQ3_XXS", 18, 0.5
    dtype = np.dtype([("d", F16), ("qs", "u1", 96)])

    def words(self, blocks: np.ndarray) -> np.ndarray:
        """uint32 (n, 8)."""
        return np.ascontiguousarray(blocks["qs"][:, 64:]).view("<u4")

    def index(self, blocks):
        return blocks["qs"][:, :64]

    def signs(self, blocks):
        return SIGNS[sevens(self.words(blocks))]

    def scales(self, blocks):
        return self.words(blocks) >> 28


class IQ3_S(Codebook):
    """256 weights in 64 fours: w = d (1 + 2 sc) * sign * GRID[index]; 110 bytes, as many as Q3_K has.

    qs      lower eight bits of each four's index into the grid, (64,)
    qh      its ninth bit, one byte for the eight fours of a sub-block of 32, (8,)
    signs   one bit a weight, set for a negative one, (32,)
    scales  four bits for each sub-block, two to a byte, (4,)
    """

    name, type_id = "IQ3_S", 21
    dtype = np.dtype([("d", F16), ("qs", "u1", 64), ("qh", "u1", 8), ("signs", "u1", 32), ("scales", "u1", 4)])

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
