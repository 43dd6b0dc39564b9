"""MXFP4 as ggml stores it: 32 weights, one power-of-two scale E8M0, 4-bit E2M1 codes (sign, 2 exponent, 1 mantissa)."""

from __future__ import annotations

import numpy as np

from course_lib.formats.ggml.block import BlockType
from course_lib.formats.ggml.fields import join_nibbles, split_nibbles

F = np.float32
DOUBLED = np.array([0, 1, 2, 3, 4, 6, 8, 12], np.int8)  # twice 0 .5 1 1.5 2 3 4 6
LEVELS = np.concatenate([DOUBLED, -DOUBLED])
_MIDDLES = (DOUBLED[:-1].astype(F) + DOUBLED[1:]) / 2


class MXFP4(BlockType):
    """e = floor(log2 max|w|) - 2 + 127; w = 2^(e-127) E2M1(q), ties to the smaller magnitude."""

    name, type_id, elements, uses_imatrix = "MXFP4", 39, 32, False
    dtype = np.dtype([("e", "u1"), ("qs", "u1", 16)])

    def encode(self, x, w):
        amax = np.abs(x).max(0)
        exponent = np.floor(np.log2(amax.astype(np.float64)).astype(F))
        e = np.where(amax > 0, exponent - 2 + 127, 0).astype(np.int32).astype(np.uint8)
        half = half_scale(e)
        magnitude = np.abs(x)
        codes = np.zeros(x.shape, np.uint8)
        for middle in _MIDDLES:
            codes += magnitude > middle * half
        codes |= (x < -_MIDDLES[0] * half).view(np.uint8) << 3  # a zero has no sign
        blocks = np.empty(x.shape[1], self.dtype)
        blocks["e"], blocks["qs"] = e, join_nibbles(codes)
        return blocks

    def decode(self, blocks):
        return LEVELS[split_nibbles(blocks["qs"])].astype(F) * half_scale(blocks["e"])[:, None]


def half_scale(e: np.ndarray) -> np.ndarray:
    """2^(e - 128), half of what an E8M0 byte means, since LEVELS are doubled."""
    return np.ldexp(F(1), e.astype(np.int32) - 128).astype(F)


TYPES = (MXFP4(),)
