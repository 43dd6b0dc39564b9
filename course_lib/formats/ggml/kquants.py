"""K-quants: super-blocks of 256 weights whose sub-blocks have small integer scales under one or two fp16 scales.

Q2_K, Q4_K, Q5_K:  w = d sc q - dmin m    Q3_K, Q6_K:  w = d sc q
"""

from __future__ import annotations

import numpy as np

from course_lib.formats.ggml import search
from course_lib.formats.ggml.block import F16, BlockType, first_largest, nearest_int, total
from course_lib.formats.ggml.fields import join_scales, pack_2_bits, pack_high_bits, split_scales, unpack_2_bits

F = np.float32


class KQuant(BlockType):
    """256 weights in sub-blocks of `sub`; importance: column weight * sqrt(factor * mean square of the block + w²)."""

    elements = 256
    factor = 1.0

    def importance(self, x, columns, rows):
        sigma2 = F(self.factor) * total(x, x) / F(256)
        return columns * np.sqrt(sigma2 + x * x)

    def sub_blocks(self, x: np.ndarray) -> np.ndarray:
        """(256, n) -> (sub, 256/sub * n), one sub-block a column: the first of all super-blocks, then the second…"""
        n = x.shape[1]
        return np.ascontiguousarray(x.reshape(-1, self.sub, n).transpose(1, 0, 2)).reshape(self.sub, -1)

    def requantize(self, x, step, minimum, codes, low, high):
        """Codes of x (256, n) under the steps and minima as stored, both (256/sub, n).

        A sub-block whose step is 0 keeps the codes that the search left in `codes` (sub, 256/sub * n).
        """
        n = x.shape[1]
        v = x.reshape(-1, self.sub, n)
        v = v if minimum is None else v + minimum[:, None]
        new = search.any_codes_of(v / step[:, None], low, high)
        new = np.subtract(new, F(low), out=new).astype(np.uint8)
        group, block = np.nonzero(step == 0)
        new[group, :, block] = codes.reshape(self.sub, -1, n)[:, group, block].T
        return new.reshape(256, n)


class Q2_K(KQuant):
    """16 sub-blocks of 16 weights with 4-bit scales and 4-bit minima."""

    name, type_id, sub = "Q2_K", 10, 16
    dtype = np.dtype([("scales", "u1", 16), ("qs", "u1", 64), ("d", F16), ("dmin", F16)])

    def encode(self, x, w):
        n = x.shape[1]
        xs = self.sub_blocks(x)
        if w is None:
            scales, mins, codes = search.affine(xs, np.abs(xs), 3, -0.5, 0.1, 15, mad=True)
            (sc, d), (m, dmin) = (_ratio(t.reshape(-1, n), 15) for t in (scales, mins))
        else:
            ws = self.sub_blocks(w)
            scales, mins, codes = search.affine(xs, ws, 3, -0.9, 0.05, 36, clamp=True)
            sums = total(ws).reshape(-1, n)
            (d, sc), (dmin, m) = (search.positive(t.reshape(-1, n), 15, sums) for t in (scales, mins))
        blocks = np.empty(n, self.dtype)
        blocks["d"], blocks["dmin"], blocks["scales"] = d, dmin, (sc | (m << 4)).T
        step, minimum = blocks["d"].astype(F) * sc, blocks["dmin"].astype(F) * m
        blocks["qs"] = pack_2_bits(self.requantize(x, step, minimum, codes, 0, 3))
        return blocks

    def decode(self, blocks):
        step = blocks["d"].astype(F)[:, None] * (blocks["scales"] & 15)
        minimum = blocks["dmin"].astype(F)[:, None] * (blocks["scales"] >> 4)
        q = unpack_2_bits(blocks["qs"]).reshape(-1, 16, 16).astype(F)
        return (q * step[..., None] - minimum[..., None]).reshape(-1, 256)


def _ratio(values: np.ndarray, top: int) -> tuple[np.ndarray, np.ndarray]:
    """Integers 0 … top of values (subs, n) >= 0 and the scale that makes the largest one `top`."""
    largest = np.maximum(values.max(0), F(0))
    q = nearest_int(values * np.divide(F(top), largest, out=np.zeros_like(largest), where=largest > 0))
    return q.astype(np.uint8), largest / F(top)


class Q3_K(KQuant):
    """16 sub-blocks of 16 weights with 6-bit signed scales; two bits of a code in qs, the high one in hmask."""

    name, type_id, sub, factor = "Q3_K", 11, 16, 2.0
    chunk = 2 * BlockType.chunk  # its search ends with a few groups at a time
    dtype = np.dtype([("hmask", "u1", 32), ("qs", "u1", 64), ("scales", "u1", 12), ("d", F16)])

    def encode(self, x, w):
        n = x.shape[1]
        xs = self.sub_blocks(x)
        if w is None:
            scales, codes = search.signed(xs, 4)
            scales = scales.reshape(-1, n)
            top = first_largest(scales)[1]
            iscale = F(-32) / top
            sc = np.clip(nearest_int(scales * iscale).astype(np.int8), -32, 31) + 32
            sc, d = np.where(top != 0, sc, 0).astype(np.uint8), np.where(top != 0, F(1) / iscale, F(0))
        else:
            ws = self.sub_blocks(w)
            scales, codes = search.symmetric(xs, 4, ws)
            d, sc = search.symmetric(scales.reshape(-1, n), 32, total(ws).reshape(-1, n))
        blocks = np.empty(n, self.dtype)
        blocks["d"] = d
        low = sc & 15
        blocks["scales"][:, :8] = (low[:8] | (low[8:] << 4)).T
        high = (sc >> 4).reshape(4, 4, n)
        blocks["scales"][:, 8:] = (high[0] | (high[1] << 2) | (high[2] << 4) | (high[3] << 6)).T
        step = blocks["d"].astype(F) * (sc.astype(F) - F(32))
        q = self.requantize(x, step, None, codes, -4, 3)
        blocks["hmask"] = pack_high_bits(q >> 2)
        blocks["qs"] = pack_2_bits(q & 3)
        return blocks

    def decode(self, blocks):
        step = blocks["d"].astype(F)[:, None] * (self.scales(blocks).astype(F) - F(32))
        high = np.unpackbits(blocks["hmask"][:, None], axis=1, bitorder="little").reshape(-1, 256)
        q = (unpack_2_bits(blocks["qs"]) | (high << 2)).astype(F) - F(4)
        return (q.reshape(-1, 16, 16) * step[..., None]).reshape(-1, 256)

    def scales(self, blocks: np.ndarray) -> np.ndarray:
        """The 16 six-bit scales 0…63 of each record; 32 is to be taken off."""
        low, high = blocks["scales"][:, :8], blocks["scales"][:, 8:]
        high = (high[:, None] >> np.array([0, 2, 4, 6], np.uint8)[:, None]) & 3
        return np.concatenate([low & 15, low >> 4], axis=1) | (high.reshape(-1, 16) << 4)


class _Q45_K(KQuant):
    """8 sub-blocks of 32 weights with 6-bit scales and 6-bit minima, twelve bytes for the sixteen."""

    sub, factor = 32, 2.0

    def fit(self, xs):
        """Scales, minima and codes of sub-blocks without an importance matrix."""
        rms = np.sqrt(total(xs, xs) / F(32))
        return search.affine(xs, rms + np.abs(xs), 2**self.bits - 1, self.first, 0.1, self.tries)

    def encode(self, x, w):
        n = x.shape[1]
        xs = self.sub_blocks(x)
        if w is None:
            scales, mins, codes = self.fit(xs)
            (sc, d), (m, dmin) = (_ratio(t.reshape(-1, n), 63) for t in (scales, mins))
            sc, m = np.minimum(sc, 63), np.minimum(m, 63)
        else:
            ws = self.sub_blocks(w)
            scales, mins, codes = search.affine(xs, ws, 2**self.bits - 1, -0.9, 0.05, 36, clamp=True)
            sums = total(ws).reshape(-1, n)
            (d, sc), (dmin, m) = (search.positive(t.reshape(-1, n), 63, sums) for t in (scales, mins))
        blocks = np.empty(n, self.dtype)
        blocks["d"], blocks["dmin"], blocks["scales"] = d, dmin, join_scales(sc, m)
        step, minimum = blocks["d"].astype(F) * sc, blocks["dmin"].astype(F) * m
        q = self.requantize(x, step, minimum, codes, 0, 2**self.bits - 1)
        low = (q & 15).reshape(4, 2, 32, n)
        blocks["qs"] = (low[:, 0] | (low[:, 1] << 4)).reshape(128, n).T
        if self.bits == 5:
            blocks["qh"] = pack_high_bits(q >> 4)
        return blocks

    def decode(self, blocks):
        sc, m = split_scales(blocks["scales"])
        step = blocks["d"].astype(F)[:, None] * sc
        minimum = blocks["dmin"].astype(F)[:, None] * m
        qs = blocks["qs"].reshape(-1, 4, 1, 32)
        q = np.concatenate([qs & 15, qs >> 4], axis=2).reshape(-1, 8, 32)
        if self.bits == 5:
            q |= np.unpackbits(blocks["qh"][:, None], axis=1, bitorder="little") << 4
        return (q.astype(F) * step[..., None] - minimum[..., None]).reshape(-1, 256)


class Q4_K(_Q45_K):
    __doc__ = _Q45_K.__doc__ + " 4-bit codes: 4.5 bits a weight."
    name, type_id, bits, first, tries = "Q4_K", 12, 4, -1.0, 20
    dtype = np.dtype([("d", F16), ("dmin", F16), ("scales", "u1", 12), ("qs", "u1", 128)])


class Q5_K(_Q45_K):
    __doc__ = _Q45_K.__doc__ + " 5-bit codes, the fifth bit in qh: 5.5 bits a weight."
    name, type_id, bits, first, tries = "Q5_K", 13, 5, -0.5, 15
    dtype = np.dtype([("d", F16), ("dmin", F16), ("scales", "u1", 12), ("qh", "u1", 32), ("qs", "u1", 128)])


class Q6_K(KQuant):
    """16 sub-blocks of 16 weights with 8-bit signed scales; four bits of a code in ql, two in qh."""

    name, type_id, sub = "Q6_K", 14, 16
    dtype = np.dtype([("ql", "u1", 128), ("qh", "u1", 64), ("scales", "i1", 16), ("d", F16)])

    def importance(self, x, columns, rows):
        return columns

    def encode(self, x, w):
        n = x.shape[1]
        scales, codes = search.symmetric(self.sub_blocks(x), 32, None if w is None else self.sub_blocks(w))
        scales = scales.reshape(-1, n)
        largest, top = first_largest(scales)
        iscale = F(-128) / top
        blocks = np.empty(n, self.dtype)
        blocks["d"] = F(1) / iscale
        sc = np.minimum(nearest_int(scales * iscale), 127).astype(np.int8)
        blocks["scales"] = sc.T
        q = self.requantize(x, blocks["d"].astype(F) * sc, None, codes, -32, 31)
        half = q.reshape(2, 4, 32, n)
        low, high = half & 15, half >> 4
        blocks["ql"] = np.concatenate([low[:, 0] | (low[:, 2] << 4), low[:, 1] | (low[:, 3] << 4)], 1).reshape(128, n).T
        blocks["qh"] = (high[:, 0] | (high[:, 1] << 2) | (high[:, 2] << 4) | (high[:, 3] << 6)).reshape(64, n).T
        blocks[largest < search.EPS] = np.zeros((), self.dtype)
        return blocks

    def decode(self, blocks):
        ql = blocks["ql"].reshape(-1, 2, 2, 32)
        low = np.concatenate([ql & 15, ql >> 4], axis=2).reshape(-1, 256)
        q = (low | (unpack_2_bits(blocks["qh"]) << 4)).astype(F) - F(32)
        step = blocks["d"].astype(F)[:, None] * blocks["scales"]
        return (q.reshape(-1, 16, 16) * step[..., None]).reshape(-1, 256)


TYPES = (Q2_K(), Q3_K(), Q4_K(), Q5_K(), Q6_K())
