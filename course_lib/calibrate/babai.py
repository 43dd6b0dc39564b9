"""Babai's nearest plane: the same codes as GPTQ's, from a different idea and without an inverse."""

from __future__ import annotations

import torch
from torch import Tensor

from course_lib.calibrate.gptq import prepared
from course_lib.qtensor import QTensor, quantize
from course_lib.scheme import Scheme


def babai(w: Tensor, H: Tensor, scheme: Scheme, percdamp: float = 0.01) -> QTensor:
    """Quantize w (out, in) by walking to the nearest plane of a lattice, one column at a time; H (in, in).

    With A lower triangular and AᵀA = H + percdamp · mean(diag H) · I, the error of the outputs is ‖A (w - ŵ)‖², and
    coordinate i of A (w - ŵ) depends on the columns up to i only. So each column is chosen to bring it nearest to 0:

        ŵ_i = nearest( w_i + Σ_{j<i} A_ij / A_ii · (w_j - ŵ_j) )

    GPTQ *pushes* each error to the right; this *pulls* all errors from the left when a column's turn comes. The codes
    are the same: Chen et al., "The Geometry of LLM Quantization: GPTQ as Babai's Nearest Plane Algorithm" (2025),
    arXiv 2507.18553. Grids are found on w beforehand, as `gptq(…, static_groups=True)` does. Computed in float64.
    Cost: out · in² / 2 multiply-adds and in³ / 6 for A. ValueError where H is not positive definite.

    >>> H = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.9], [0.0, 0.9, 1.0]])
    >>> babai(torch.tensor([[1.0, 0.4, 0.4]]), H, Scheme.int(2)).codes.tolist()
    [[1, 0, 1]]
    """
    w, H = prepared(w, H, scheme, percdamp, block_size=1)
    grids, A = quantize(w, scheme), lower_factor(H, percdamp)
    pull = A / A.diagonal()[:, None]
    codes, lost = torch.zeros_like(grids.codes), torch.zeros_like(w, dtype=torch.float64)  # lost: w - ŵ
    step, zero = (by_weight(t, w.shape) for t in (grids.step, grids.zero_point))
    for i in range(w.shape[1]):
        z = None if zero is None else zero[:, i]
        target = w[:, i].double() + lost[:, :i] @ pull[i, :i]
        codes[:, i] = scheme.codec.encode(target, step[:, i], z)
        lost[:, i] = w[:, i].double() - scheme.codec.decode(codes[:, i], step[:, i], z)
    return QTensor(codes, grids.scale, grids.zero_point, scheme, tuple(w.shape), tensor_scale=grids.tensor_scale)


def by_weight(t: Tensor | None, shape) -> Tensor | None:
    """(out/rows, in/cols), a value for each block, as (out, in), a value for each weight."""
    if t is None:
        return None
    return t.repeat_interleave(shape[0] // t.shape[0], dim=0).repeat_interleave(shape[1] // t.shape[1], dim=1)


def lower_factor(H: Tensor, percdamp: float = 0.01) -> Tensor:
    """Lower triangular A, float64, with AᵀA = H + percdamp · mean(diag H) · I: one Cholesky of H turned around.

    >>> lower_factor(torch.tensor([[25.0, 4.0], [4.0, 1.0]]), percdamp=0).tolist()
    [[3.0, 0.0], [4.0, 1.0]]
    """
    damped = H.double().flip(0, 1).contiguous()
    damped.diagonal().add_(percdamp * H.double().diagonal().mean())
    L, failed = torch.linalg.cholesky_ex(damped)
    if failed:
        raise ValueError(
            f"H ({len(H)}, {len(H)}) is not positive definite at percdamp={percdamp:g}: more tokens needed"
        )
    return L.T.flip(0, 1).contiguous()
