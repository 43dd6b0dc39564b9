"""NVFP4 as ggml stores it: 64 weights as four sub-blocks of 16, each with a scale of its own in E4M3 without sign.

A file may hold one float32 for the whole tensor beside it (`artifacts/gguf/scales`).
"""

from __future__ import annotations

import numpy as np

from course_lib.formats.ggml.block import BlockType
from course_lib.formats.ggml.mxfp4 import LEVELS

F = np.float32


class NVFP4(BlockType):
    """w = E4M3(d) E2M1(q), d from max |w| / 6: 4.5 bits."""

    name, type_id, elements, uses_imatrix = "NVFP4", 40, 64, False
    dtype = np.dtype([("d", "u1", 4), ("qs", "u1", 32)])

    def encode(self, x, w):
        subs = x.reshape(4, 16, -1)
        blocks = np.empty(x.shape[1], self.dtype)
        d = _e4m3(np.abs(subs).max(1) / F(6))
        half, codes = HALF_SCALES[d][:, None], np.zeros(subs.shape, np.uint8)
        least = np.abs(subs)
        for code in range(1, 16):  # the first of several that are as near, which decides where no level is near
            off = np.abs(F(LEVELS[code]) * half - subs)
            codes[off < least] = code
            np.minimum(least, off, out=least)
        blocks["d"] = d.T
        blocks["qs"] = (codes[:, :8] | codes[:, 8:] << 4).reshape(32, -1).T
        return blocks

    def decode(self, blocks):
        qs = blocks["qs"].reshape(-1, 4, 8)
        q = LEVELS[np.concatenate([qs & 15, qs >> 4], axis=2)].astype(F)
        return (q * HALF_SCALES[blocks["d"]][..., None]).reshape(-1, 64)


def _half_scales() -> np.ndarray:
    """Half of what each byte means, since LEVELS are doubled; the top bit is not looked at, 127 counts as 0."""
    byte = np.arange(256)
    exponent, mantissa = byte >> 3 & 15, byte & 7
    value = np.where(exponent == 0, np.ldexp(mantissa / 8.0, -6), np.ldexp(1 + mantissa / 8, exponent - 7))
    return np.where(byte == 127, 0, value / 2).astype(F)


def _e4m3(x: np.ndarray) -> np.ndarray:
    """Bytes of x >= 0, ties up, as ggml rounds: from 256 on, all becomes 126, which is 448."""
    bits = x.view(np.uint32)
    normal = (bits + (1 << 19) >> 20).astype(np.int32) - (120 << 3)
    small = np.minimum((x * F(512) + F(0.5)).astype(np.int32), 7)
    code = np.where(bits >> 23 <= 120, small, np.where((bits >> 23 >= 135) | (normal >= 120), 126, normal))
    return code.astype(np.uint8)


HALF_SCALES = _half_scales()
TYPES = (NVFP4(),)
