"""IQ3_S, decode only: four weights at a time are one row of a table, with signs of their own: a codebook."""

from __future__ import annotations

import functools

import numpy as np

from course_lib.formats.ggml.block import F16, BlockType

F = np.float32


@functools.cache
def grid() -> np.ndarray:
    """The codebook, uint8 (512, 4): the magnitudes of four neighbours, each one of 1, 3, 5 … 15.

    It is a fact of the format, found once by clustering; read from the gguf package, which holds it in 2,048 digits.
    """
    from gguf.quants import IQ3_S as Table

    Table.init_grid()
    return Table.grid.reshape(512, 4).astype(np.uint8)


class IQ3_S(BlockType):
    """256 weights in 64 fours: w = d (1 + 2 sc) * sign * GRID[index]; 110 bytes, as many as Q3_K has.

    qs      lower eight bits of each four's index into the grid, (64,)
    qh      its ninth bit, one byte for the eight fours of a sub-block of 32, (8,)
    signs   one bit a weight, set for a negative one, (32,)
    scales  four bits for each sub-block, two to a byte, (4,)
    """

    name, type_id, elements = "IQ3_S", 21, 256
    dtype = np.dtype([("d", F16), ("qs", "u1", 64), ("qh", "u1", 8), ("signs", "u1", 32), ("scales", "u1", 4)])

    def index(self, blocks: np.ndarray) -> np.ndarray:
        """Rows of the grid, 0 … 511, (n, 64)."""
        ninth = np.unpackbits(blocks["qh"], axis=1, bitorder="little")
        return blocks["qs"] | (ninth.astype(np.uint16) << 8)

    def scales(self, blocks: np.ndarray) -> np.ndarray:
        """1 + 2 sc of each sub-block, (n, 8): odd numbers from 1 to 31."""
        sc = np.stack([blocks["scales"] & 15, blocks["scales"] >> 4], axis=2).reshape(-1, 8)
        return 1 + 2 * sc

    def decode(self, blocks):
        step = blocks["d"].astype(F)[:, None] * self.scales(blocks)
        sign = 1 - 2 * np.unpackbits(blocks["signs"], axis=1, bitorder="little").astype(F)
        magnitude = grid()[self.index(blocks)].reshape(-1, 8, 32).astype(F)
        return (step[..., None] * magnitude * sign.reshape(-1, 8, 32)).reshape(-1, 256)


DECODED = IQ3_S()
