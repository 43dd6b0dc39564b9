"""Chapter 05's part of the learner's quantizer: NF4 on their own levels, with double quantization."""

import torch

from course_lib.checks.quantizer import Recipe
from course_lib.formats import nf4
from course_lib.qtensor import QTensor
from course_lib.qtensor import quantize as courses


def quantize(pieces, w, scheme):
    """w (out, in) to the nearest of `normal_levels(4)` times the block's scale; ValueError for other formats."""
    if scheme.format != "nf4":
        raise ValueError(f"this chapter's quantizer has NF4's levels: formats.nf4.scheme(), got {scheme.name}")
    levels = torch.as_tensor(pieces.normal_levels(4), dtype=torch.float32)
    found = courses(w, scheme)  # its scales; the codes are the learner's
    g = w.shape[1] // found.step.shape[1]
    step = found.step.repeat_interleave(g, dim=1)
    borders = (levels[1:] + levels[:-1]) / 2
    codes = torch.bucketize(w / torch.where(step > 0, step, torch.inf), borders).to(torch.uint8)
    return QTensor(codes, found.scale, None, scheme, tuple(w.shape))


RECIPE = Recipe(
    "NF4, scales of 64 weights in 8 bits",
    nf4.scheme(),
    ("normal_levels",),
    quantize,
)
