"""The legacy blocks: 32 weights, one fp16 scale d, and for the _1 types an fp16 minimum m.

Q4_0, Q5_0: w = d (q - 2^(b-1));  Q4_1, Q5_1: w = d q + m;  Q8_0: w = d q.
"""

from __future__ import annotations

import numpy as np

from course_lib.formats.ggml import search
from course_lib.formats.ggml.block import (
    F16,
    BlockType,
    first_largest,
    first_smallest,
    inverse,
    truncate,
)
from course_lib.formats.ggml.fields import join_nibbles, pack_bits, split_nibbles

F = np.float32
BELOW_HALF = np.nextafter(F(0.5), F(0))  # added and cut off, it rounds ties away from zero and nothing else up


class Legacy(BlockType):
    """32 weights to a block, with an importance of column weight * sqrt(mean square of the row + w²)."""

    elements = 32

    def __init__(self, name: str, type_id: int, bits: int, fields: list):
        self.name, self.type_id, self.bits, self.dtype = name, type_id, bits, np.dtype(fields)

    def importance(self, x, columns, rows):
        return columns * np.sqrt(rows + x * x)

    def store(self, codes: np.ndarray, **scales: np.ndarray) -> np.ndarray:
        """Records of codes (32, n) and scales (n,): four bits of a code in qs, a fifth one in qh."""
        blocks = np.empty(codes.shape[1], self.dtype)
        for name, value in scales.items():
            blocks[name] = value
        blocks["qs"] = join_nibbles(codes)
        if self.bits == 5:
            blocks["qh"] = pack_bits(codes >> 4)
        return blocks

    def codes(self, blocks: np.ndarray) -> np.ndarray:
        """Codes (n, 32) of records."""
        codes = split_nibbles(blocks["qs"])
        if self.bits == 5:
            codes |= np.unpackbits(blocks["qh"], axis=1, bitorder="little") << 4
        return codes


class Symmetric(Legacy):
    """Q4_0 and Q5_0: the number of largest magnitude becomes the lowest code, so that d has the sign opposite to it."""

    def encode(self, x, w):
        half = 2 ** (self.bits - 1)
        if w is not None:
            d, codes = search.symmetric(x, half, w)
            return self.store(codes, d=d)
        d = first_largest(x)[1] / F(-half)
        v = x * inverse(d)
        v += F(half + 0.5)
        codes = truncate(v)
        codes -= codes == 2 * half  # a number opposite to the largest one is half a step too far out
        return self.store(codes, d=d)

    def decode(self, blocks):
        codes = self.codes(blocks).astype(F)
        codes -= F(2 ** (self.bits - 1))
        return codes * blocks["d"].astype(F)[:, None]


class Affine(Legacy):
    """Q4_1 and Q5_1: the whole range from the smallest to the largest number, d = (max - min) / (2^b - 1)."""

    def encode(self, x, w):
        top = 2**self.bits - 1
        if w is not None:
            d, minimum, codes = search.affine(x, w, top, -0.9, 0.05, 36, clamp=True)
            return self.store(codes, d=d, m=-minimum)
        low = first_smallest(x)
        d = (x.max(0) - low + F(0)) / F(top)  # + 0: never -0
        v = x - low
        v *= inverse(d)
        v += F(0.5)
        return self.store(truncate(v), d=d, m=low)

    def decode(self, blocks):
        return self.codes(blocks).astype(F) * blocks["d"].astype(F)[:, None] + blocks["m"].astype(F)[:, None]


class Q8_0(Legacy):
    """Q8_0: d = max|w| / 127, codes rounded to nearest with ties away from zero."""

    uses_imatrix = False

    def encode(self, x, w):
        d = np.abs(x).max(0) / F(127)
        v = x * inverse(d)
        v += np.copysign(BELOW_HALF, v)
        blocks = np.empty(x.shape[1], self.dtype)
        blocks["d"], blocks["qs"] = d, truncate(v).view(np.int8).T
        return blocks

    def decode(self, blocks):
        return blocks["qs"].astype(F) * blocks["d"].astype(F)[:, None]


TYPES = (
    Symmetric("Q4_0", 2, 4, [("d", F16), ("qs", "u1", 16)]),
    Affine("Q4_1", 3, 4, [("d", F16), ("m", F16), ("qs", "u1", 16)]),
    Symmetric("Q5_0", 6, 5, [("d", F16), ("qh", "u1", 4), ("qs", "u1", 16)]),
    Affine("Q5_1", 7, 5, [("d", F16), ("m", F16), ("qh", "u1", 4), ("qs", "u1", 16)]),
    Q8_0("Q8_0", 8, 8, [("d", F16), ("qs", "i1", 32)]),
)
