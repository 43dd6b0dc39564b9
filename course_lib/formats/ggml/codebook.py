"""The codebooks of the IQ types: the few patterns of four or eight neighbours that have a number."""

from __future__ import annotations

import functools

import numpy as np

from course_lib.formats.ggml.block import BlockType

F = np.float32


@functools.cache
def grid(name: str) -> np.ndarray:
    """float32 (patterns, weights): (256, 8) for IQ2_XXS, (512, 4) for IQ3_S, (2048, 8) for IQ1_S.

    Facts of the format, found once by clustering, so read from the gguf package, which has two or three bits an entry.
    ggml's encoders see odd numbers; its decoders read 8, 25, 43 for 1, 3, 5 in the grids of IQ2, and 4, 12, 20 … 52, 62
    for 1, 3, 5 … 13, 15 in that of IQ3_XXS. IQ3_S has 1, 3 … 15 as they are, IQ1_S (and IQ1_M with it) -1, 0, 1.

    >>> grid("IQ2_XXS")[5]
    array([25.,  8., 25.,  8.,  8.,  8.,  8.,  8.], dtype=float32)
    """
    from gguf import quants

    table = getattr(quants, name)
    table.init_grid()
    return table.grid.reshape(table.grid_shape).astype(F)


def _with_parity() -> np.ndarray:
    bits = np.arange(128)[:, None] >> np.arange(7) & 1
    return (1 - 2 * np.concatenate([bits, bits.sum(1, keepdims=True) & 1], axis=1)).astype(F)


SIGNS = _with_parity()  # (128, 8): seven bits give eight signs, since an even number of them is negative


def of_bits(data: np.ndarray) -> np.ndarray:
    """Signs float32 (n, 8 m) of bytes (n, m): -1 where a bit is set, the lowest first.

    >>> of_bits(np.uint8([[5]]))
    array([[-1.,  1., -1.,  1.,  1.,  1.,  1.,  1.]], dtype=float32)
    """
    return F(1) - F(2) * np.unpackbits(data, axis=1, bitorder="little")


def nibbles(data: np.ndarray) -> np.ndarray:
    """Numbers 0 … 15, (n, 2 m), of bytes (n, m): the low half of a byte, then its high half."""
    return np.stack([data & 15, data >> 4], axis=2).reshape(len(data), -1)


def bytes_of(numbers: np.ndarray) -> np.ndarray:
    """uint8 (n, m): numbers 0 … 15, (2 m, n), two to a byte; the way back from `nibbles`."""
    return (numbers[0::2] | numbers[1::2] << 4).T.astype(np.uint8)


def joined(numbers: np.ndarray, bits: int) -> np.ndarray:
    """uint32 (m, n): four numbers of so many bits each, (4 m, n), in one word, the first in the lowest bits."""
    fours = numbers.reshape(-1, 4, numbers.shape[1]).astype(np.uint32)
    return np.bitwise_or.reduce(fours << (bits * np.arange(4, dtype=np.uint32))[:, None], axis=1)


def sevens(words: np.ndarray) -> np.ndarray:
    """The four seven-bit numbers in the low 28 bits of words (…): (…, 4)."""
    return words[..., None] >> np.array([0, 7, 14, 21], np.uint32) & 127


class Codebook(BlockType):
    """256 weights as indices into a grid, signs, and one small scale for each 16 or 32 weights.

    A type defines index (n, 32 or 64), signs (256 a record, in any shape) and scales (n, 8 or 16) of its records.
    """

    elements = 256

    def step(self, blocks: np.ndarray) -> np.ndarray:
        """What a unit of the grid is worth in each sub-block, (n, sub-blocks): d (1/2 + sc) unit."""
        return blocks["d"].astype(F)[:, None] * (F(0.5) + self.scales(blocks).astype(F)) * F(self.unit)

    def decode(self, blocks):
        step = self.step(blocks)
        w = grid(self.name)[self.index(blocks)].reshape(*step.shape, -1)
        return (step[..., None] * w * self.signs(blocks).reshape(w.shape)).reshape(-1, 256)
