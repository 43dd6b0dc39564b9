"""Chapter 10's part of the learner's quantizer: NVFP4, codes and both levels of scales from their own `nvfp4`."""

import torch

from course_lib.checks.quantizer import Recipe
from course_lib.formats import microscaling
from course_lib.qtensor import QTensor


def quantize(pieces, w, scheme):
    """w (out, in) by the learner's `nvfp4`; ValueError for other formats."""
    if scheme != RECIPE.scheme:
        raise ValueError(f"this chapter's quantizer is NVFP4: microscaling.scheme('nvfp4'), got {scheme.name}")
    t, s, codes = pieces.nvfp4(w.float())
    scale = torch.as_tensor(s, dtype=torch.float32).to(torch.float8_e4m3fn)
    t = torch.as_tensor(t, dtype=torch.float32).reshape(())
    return QTensor(codes.to(torch.uint8), scale, None, scheme, tuple(w.shape), tensor_scale=t)


RECIPE = Recipe("NVFP4, your blocks and scales", microscaling.scheme("nvfp4"), ("nvfp4",), quantize)
