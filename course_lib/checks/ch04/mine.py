"""Chapter 04's part of the learner's quantizer: four bits, symmetric, one 16-bit scale for 32 weights of a row."""

import torch

from course_lib.checks.quantizer import Recipe
from course_lib.qtensor import QTensor, block_size
from course_lib.scheme import Scheme


def quantize(pieces, w, scheme):
    """w (out, in) through `per_group`; the codes are what `restore` makes of them, in steps of s."""
    g = block_size(w.shape, scheme.block)[1]
    q, s = pieces.per_group(w, scheme.bits, g)
    codes = torch.round(pieces.restore(q, s) / s.float().repeat_interleave(g, dim=1)).to(torch.int8)
    return QTensor(codes, s.to(scheme.scale_dtype), None, scheme, tuple(w.shape))


RECIPE = Recipe(
    "4 bits, symmetric, one scale for 32 weights",
    Scheme.int(4, group=32, scale_dtype=torch.float16),
    ("per_group", "restore"),
    quantize,
)
