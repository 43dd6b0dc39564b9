"""Round to nearest: no data, no search, the floor that every calibrated method has to beat."""

from __future__ import annotations

from torch import Tensor

from course_lib.qtensor import QTensor, quantize
from course_lib.scheme import Scheme


def rtn(w: Tensor, scheme: Scheme, observer=None) -> QTensor:
    """Each weight to the nearest value of its block's grid: q = clip(round(w / s) + z).

    w (out, in); `observer` chooses the range of a block ("minmax", "percentile", "mse", "entropy" or a function).
    Cost: one pass over out * in weights. ValueError for NaN, infinity, or a group that does not divide a row.

    >>> import torch
    >>> rtn(torch.tensor([[0.15, -1.22, 2.40, -0.45]]), Scheme.int(4)).codes.tolist()
    [[0, -4, 7, -1]]
    """
    return quantize(w, scheme, observer)
