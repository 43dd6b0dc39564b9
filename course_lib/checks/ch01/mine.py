"""Chapter 01's part of the learner's quantizer: symmetric, four bits, one scale a row."""

import torch

from course_lib.checks.quantizer import Recipe
from course_lib.qtensor import QTensor
from course_lib.scheme import Scheme


def quantize(pieces, w, scheme):
    """Each row of w (out, in) by `scale` and `round_trip`; the codes are what `round_trip` gives in steps of s."""
    bits = scheme.bits
    steps = torch.stack([torch.as_tensor(pieces.scale(row, bits), dtype=torch.float32).reshape(()) for row in w])
    rows = [pieces.round_trip(row, s, bits) for row, s in zip(w, steps, strict=True)]
    codes = torch.round(torch.stack(rows) / steps[:, None]).to(torch.int8)
    return QTensor(codes, steps[:, None], None, scheme, tuple(w.shape))


RECIPE = Recipe("4 bits, symmetric, one scale a row", Scheme.int(4), ("scale", "round_trip"), quantize)
