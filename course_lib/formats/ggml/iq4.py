"""IQ4_NL and IQ4_XS: four bits that point into a table of 16 unevenly spaced levels, denser near zero."""

from __future__ import annotations

import numpy as np

from course_lib.formats.ggml.block import F16, BlockType, first_largest, inverse, nearest_int, total
from course_lib.formats.ggml.fields import join_nibbles, split_nibbles
from course_lib.formats.ggml.search import EPS

F = np.float32
LEVELS = np.array([-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113], np.int8)
TRIES = 7
_EDGES = LEVELS[:-1].astype(int) + LEVELS[1:]  # twice the midpoints: whole numbers, so floor(2 v) decides
_REACH = 272  # of 2 v in the search, where |v| is at most TRIES + 127
_PLACES = np.concatenate([np.arange(_REACH + 1), np.arange(-_REACH, 0)])  # negative ones count from the end
_INDEX = np.searchsorted(_EDGES, _PLACES, side="right").astype(np.uint8)
_VALUE = LEVELS[_INDEX].astype(F)


def nearest_level(v: np.ndarray) -> np.ndarray:
    """Index 0…15 of the level nearest to v, the upper one on a tie."""
    twice = np.maximum(np.fmin(v + v, F(_REACH)), F(-_REACH))  # NaN counts as large
    return _INDEX[np.floor(twice, out=twice).astype(np.intp)]


class IQ4(BlockType):
    """The search that both types share: 16 scales from the number of largest magnitude, the best by least squares."""

    def search(self, x: np.ndarray, w: np.ndarray) -> np.ndarray:
        """Scale of each group (32, n)."""
        amax, top = first_largest(x)
        zero = amax < EPS
        top[zero] = np.inf  # so that no inverse scale is infinite
        t = np.empty_like(x)

        def fit(inverse_scale):
            np.multiply(x, inverse_scale + inverse_scale, out=t)
            q = _VALUE[np.floor(t, out=t).astype(np.intp)]
            return total(w, q, x), total(w, q, q)

        sum_qx, sum_q2 = fit(F(1) / (-top / F(LEVELS[0])))
        d = np.divide(sum_qx, sum_q2, out=np.zeros_like(top), where=sum_q2 > 0)
        best = d * sum_qx
        for k in range(-TRIES, TRIES + 1):
            sum_qx, sum_q2 = fit(F(k + int(LEVELS[0])) / top)
            better = (sum_q2 > 0) & (sum_qx * sum_qx > best * sum_q2)
            np.putmask(d, better, sum_qx / sum_q2)
            np.putmask(best, better, d * sum_qx)
        d[zero] = 0
        return d


class IQ4_NL(IQ4):
    """32 weights, one fp16 scale: w = d LEVELS[q]."""

    name, type_id, elements = "IQ4_NL", 20, 32
    dtype = np.dtype([("d", F16), ("qs", "u1", 16)])

    def importance(self, x, columns, rows):
        sigma2 = total(x, x) * F(2 / 32)
        return columns * np.sqrt(sigma2 + x * x)

    def encode(self, x, w):
        d = self.search(x, x * x if w is None else w)
        blocks = np.empty(x.shape[1], self.dtype)
        blocks["d"] = d
        codes = nearest_level(x * inverse(d))
        blocks["qs"] = join_nibbles(codes)
        return blocks

    def decode(self, blocks):
        return LEVELS[split_nibbles(blocks["qs"])].astype(F) * blocks["d"].astype(F)[:, None]


class IQ4_XS(IQ4):
    """256 weights in eight sub-blocks of 32 with 6-bit signed scales: w = d (sc - 32) LEVELS[q]."""

    name, type_id, elements = "IQ4_XS", 23, 256
    dtype = np.dtype([("d", F16), ("scales_h", "<u2"), ("scales_l", "u1", 4), ("qs", "u1", 128)])

    def importance(self, x, columns, rows):
        sigma2 = total(x, x) * F(2 / 256)
        return columns * np.sqrt(sigma2 + x * x)

    def encode(self, x, w):
        n = x.shape[1]
        groups = x.reshape(8, 32, n)
        weights = groups * groups if w is None else w.reshape(8, 32, n)
        flat = [np.ascontiguousarray(t.transpose(1, 0, 2)).reshape(32, -1) for t in (groups, weights)]
        scales = self.search(*flat).reshape(8, n)
        top = first_largest(scales)[1]
        d = -top / F(32)
        sc = np.clip(nearest_int(scales * inverse(d)), -32, 31)
        codes = nearest_level(groups * inverse(d * sc.astype(F))[:, None])
        blocks = np.empty(n, self.dtype)
        blocks["d"] = d
        sc = (sc + 32).astype(np.uint16)
        blocks["scales_l"] = ((sc[0::2] & 15) | ((sc[1::2] & 15) << 4)).T
        blocks["scales_h"] = np.add.reduce((sc >> 4) << (2 * np.arange(8, dtype=np.uint16))[:, None], axis=0)
        blocks["qs"] = (codes[:, :16] | (codes[:, 16:] << 4)).reshape(128, n).T
        return blocks

    def scales(self, blocks: np.ndarray) -> np.ndarray:
        """The eight 6-bit scales 0…63 of each record; 32 is to be taken off."""
        low = np.stack([blocks["scales_l"] & 15, blocks["scales_l"] >> 4], axis=2).reshape(-1, 8)
        high = (blocks["scales_h"][:, None] >> (2 * np.arange(8, dtype=np.uint16))) & 3
        return low | (high << 4).astype(np.uint8)

    def decode(self, blocks):
        step = blocks["d"].astype(F)[:, None] * (self.scales(blocks).astype(F) - F(32))
        q = LEVELS[split_nibbles(blocks["qs"].reshape(-1, 16))].astype(F).reshape(-1, 8, 32)
        return (q * step[..., None]).reshape(-1, 256)


TYPES = (IQ4_NL(), IQ4_XS())
