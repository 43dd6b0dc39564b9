"""One or two bits a weight, one scale: signs (Q1_0); -1, 0, 1 in two bits (Q2_0, TQ2_0) or five to a byte (TQ1_0).

Made for models that are trained with such weights (BitNet b1.58, TriLM): there w = d q is exact. The largest weight of
a block becomes ±d, and whatever is smaller than half of it becomes 0.
"""

from __future__ import annotations

import numpy as np

from course_lib.formats.ggml.block import F16, BlockType, inverse, total
from course_lib.formats.ggml.fields import pack_2_bits, pack_bits, unpack_2_bits

F = np.float32
POWERS = np.array([1, 3, 9, 27, 81], np.uint8)


class OneScale(BlockType):
    """w = d (q - 1), q = 1 + round(w / d) of d = max |w|: 0, 1 or 2."""

    uses_imatrix = False

    def encode(self, x, w):
        blocks = np.empty(x.shape[1], self.dtype)
        d = np.abs(x).max(0)
        v = x * inverse(d)
        v[~np.isfinite(v)] = self.lost  # 1/d is infinite where d is below float32's normal numbers
        blocks["d"] = d
        self.store(blocks, 1 + (v >= F(0.5)).astype(np.uint8) - (v <= F(-0.5)))
        return blocks

    def decode(self, blocks):
        return (self.codes(blocks).astype(F) - F(1)) * blocks["d"].astype(F)[:, None]


class Q1_0(OneScale):
    """128 signs, the lowest bit first: w = d where it is set, else -d; d is the mean |w|. 1.125 bits."""

    name, type_id, elements = "Q1_0", 41, 128
    dtype = np.dtype([("d", F16), ("qs", "u1", 16)])

    def encode(self, x, w):
        blocks = np.empty(x.shape[1], self.dtype)
        blocks["d"] = total(np.abs(x)) / F(128)
        blocks["qs"] = pack_bits((x >= 0).view(np.uint8))
        return blocks

    def codes(self, blocks):
        return 2 * np.unpackbits(blocks["qs"], axis=1, bitorder="little")


class Q2_0(OneScale):
    """64 weights, four neighbours to a byte; a code 3 would be 2 d, and is read, never written. 2.25 bits."""

    name, type_id, elements, lost = "Q2_0", 42, 64, -1
    dtype = np.dtype([("d", F16), ("qs", "u1", 16)])

    def store(self, blocks, q):
        blocks["qs"] = np.bitwise_or.reduce(q.reshape(16, 4, -1) << np.uint8([[0], [2], [4], [6]]), axis=1).T

    def codes(self, blocks):
        return (blocks["qs"][..., None] >> np.uint8([0, 2, 4, 6]) & 3).reshape(-1, 64)


class TQ2_0(OneScale):
    """256 weights, two bits each, laid as in Q2_K: 2.0625 bits."""

    name, type_id, elements, lost = "TQ2_0", 35, 256, 0
    dtype = np.dtype([("qs", "u1", 64), ("d", F16)])

    def store(self, blocks, q):
        blocks["qs"] = pack_2_bits(q)

    def codes(self, blocks):
        return unpack_2_bits(blocks["qs"])


class TQ1_0(OneScale):
    """256 weights, five digits of base 3 to a byte, since 3^5 = 243 <= 256: 1.6875 bits.

    A number n < 243 is stored as ceil(256 n / 243), a fraction of 256: times 3, its first digit is what overflows the
    byte, and what is left holds the others. qs: 32 bytes for weights 0 … 159 (byte m holds m, m+32, …, m+128), 16 for
    160 … 239 (m, m+16, …); qh: 4 for the last 16, four digits each.
    """

    name, type_id, elements, lost = "TQ1_0", 34, 256, 0
    dtype = np.dtype([("qs", "u1", 48), ("qh", "u1", 4), ("d", F16)])

    def store(self, blocks, q):
        blocks["qs"] = np.concatenate([_join(q[:160].reshape(5, 32, -1)), _join(q[160:240].reshape(5, 16, -1))]).T
        blocks["qh"] = _join(q[240:].reshape(4, 4, -1)).T

    def codes(self, blocks):
        parts = (blocks["qs"][:, :32], 5), (blocks["qs"][:, 32:], 5), (blocks["qh"], 4)
        return np.concatenate([_split(data, digits) for data, digits in parts], axis=1)


def _join(digits: np.ndarray) -> np.ndarray:
    """Bytes (m, n) of digits 0 … 2, (4 or 5, m, n), the first the most significant."""
    number = np.zeros(digits.shape[1:], np.uint16)
    for k in range(5):
        number = 3 * number + (digits[k] if k < len(digits) else 0)
    return ((256 * number + 242) // 243).astype(np.uint8)


def _split(data: np.ndarray, digits: int) -> np.ndarray:
    """Digits (n, digits * m) of bytes (n, m): all first ones, then all second ones…"""
    left = data[:, None] * POWERS[:digits, None]  # modulo 256
    return (3 * left.astype(np.uint16) >> 8).astype(np.uint8).reshape(len(data), -1)


TYPES = (Q1_0(), Q2_0(), TQ1_0(), TQ2_0())
