"""Chapter 03's part of the learner's quantizer: one 16-bit scale for 128 weights, and the bytes that this takes."""

import torch

from course_lib.checks.quantizer import Recipe
from course_lib.qtensor import QTensor
from course_lib.scheme import Scheme


def quantize(pieces, w, scheme):
    """Each group of w (out, in) as chapter 01 quantized a row; `weight_bytes` must find the bytes that are stored."""
    group = scheme.block[1]
    rows, bits = w.reshape(-1, group), scheme.bits  # one group a row
    steps = [torch.as_tensor(pieces.scale(row, bits), dtype=torch.float32).reshape(()) for row in rows]
    stored = torch.stack(steps).to(scheme.scale_dtype)  # codes are computed with the step that decoding will use
    steps = torch.where(stored > 0, stored.float(), 1.0)
    restored = torch.stack([pieces.round_trip(row, s, bits) for row, s in zip(rows, steps, strict=True)])
    codes = torch.round(restored / steps[:, None]).to(torch.int8).reshape(w.shape)
    q = QTensor(codes, stored.reshape(w.shape[0], -1), None, scheme, tuple(w.shape))
    counted = pieces.weight_bytes(w.numel(), bits, group, 8 * stored.element_size())
    if counted != q.nbytes:
        raise ValueError(f"weight_bytes counts {counted} bytes where {q.nbytes} are stored")
    return q


RECIPE = Recipe(
    "4 bits, symmetric, one 16-bit scale for 128",
    Scheme.int(4, group=128, scale_dtype=torch.float16),
    ("scale", "round_trip", "weight_bytes"),
    quantize,
)
