"""IQ1_S and IQ1_M: eight weights are one of 2,048 rows of -1, 0, 1, all of them moved by an eighth. Read, not written.

w = d (2 sc + 1) (GRID[index] ± 1/8), the sign of the eighth stored once for 32 weights (IQ1_S) or for 8 (IQ1_M).
"""

from __future__ import annotations

import numpy as np

from course_lib.formats.ggml.block import F16, BlockType
from course_lib.formats.ggml.codebook import grid, nibbles

F = np.float32
DELTA = F(0.125)
THREES = np.array([0, 3, 6, 9], np.uint16)


class IQ1(BlockType):
    """256 weights, 32 indices of eleven bits: eight in qs, three in qh beside the sign of the eighth."""

    elements = 256

    def decode(self, blocks):
        index = blocks["qs"] | (self.high(blocks).astype(np.uint16) << 8)  # (n, 32)
        step = self.d(blocks)[:, None] * (2 * self.scales(blocks) + 1).astype(F)  # (n, 8 or 16)
        moved = np.where(self.minus(blocks), -DELTA, DELTA)  # (n, 8 or 32)
        rows = grid("IQ1_S")[index].reshape(*moved.shape, -1) + moved[..., None]
        return (step[..., None] * rows.reshape(*step.shape, -1)).reshape(-1, 256)


class IQ1_S(IQ1):
    """1.5625 bits. A word of qh serves 32 weights: four times three bits of index, a scale of three bits, the sign."""

    name, type_id = "IQ1_S", 19
    dtype = np.dtype([("d", F16), ("qs", "u1", 32), ("qh", "<u2", 8)])

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
    dtype = np.dtype([("qs", "u1", 32), ("qh", "u1", 16), ("scales", "u1", 8)])

    def words(self, blocks: np.ndarray) -> np.ndarray:
        """uint16 (n, 4)."""
        return np.ascontiguousarray(blocks["scales"]).view("<u2")

    def d(self, blocks):
        top = self.words(blocks) >> 12 << np.array([0, 4, 8, 12], np.uint16)
        return np.bitwise_or.reduce(top, axis=1).view(F16).astype(F)

    def high(self, blocks):
        return nibbles(blocks["qh"]) & 7

    def scales(self, blocks):
        return (self.words(blocks)[..., None] >> THREES & 7).reshape(-1, 16)

    def minus(self, blocks):
        return nibbles(blocks["qh"]) > 7


TYPES = (IQ1_S(), IQ1_M())
