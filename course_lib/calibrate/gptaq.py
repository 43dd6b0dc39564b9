"""GPTAQ: GPTQ that also makes up for what the layers before have done to this layer's inputs."""

from __future__ import annotations

import torch
from torch import Tensor

from course_lib.calibrate.babai import by_weight
from course_lib.calibrate.gptq import inverse_factor, prepared
from course_lib.calibrate.stats import hessian
from course_lib.qtensor import QTensor, quantize
from course_lib.scheme import Scheme


def gptaq(w: Tensor, x: Tensor, x_hat: Tensor, scheme: Scheme, percdamp: float = 0.01, alpha: float = 0.25) -> QTensor:
    """Quantize w (out, in) so that ŵ on the inputs x_hat it will really get is near w on the inputs x it was made for.

    x, x_hat (tokens, in) are the layer's inputs in the 16-bit and in the partly quantized model. GPTQ minimizes
    ‖(w - ŵ) x_hat‖²; this minimizes ‖w·x - ŵ·x_hat‖². When column i is rounded, the columns j > i also take over what
    it would have added on x - x_hat:

        w_j ← w_j - U_ij · e + w_i · P_ij        P = alpha · triu(C Uᵀ, 1) U        C = 2/n · (x - x_hat)ᵀ x_hat

    with H, e and U as in `gptq` (Li et al., "GPTAQ", 2025, arXiv 2504.02692; alpha 0.25 as in the authors' code, 1 is
    the formula of the paper; 0 is GPTQ). Grids are found on w beforehand. Cost: GPTQ's, and one more product of in³.
    ValueError for inputs that do not fit each other, and what `gptq` refuses.
    """
    if x.shape != x_hat.shape or x.dim() != 2:
        raise ValueError(f"x and x_hat must have one shape (tokens, in), got {tuple(x.shape)} and {tuple(x_hat.shape)}")
    x, x_hat = x.float(), x_hat.float()
    w, H = prepared(w, hessian(x_hat), scheme, percdamp, block_size=1)
    U, C = inverse_factor(H, percdamp), 2 / len(x) * (x - x_hat).T @ x_hat
    P = alpha * (C @ U.T).triu(diagonal=1) @ U
    grids = quantize(w, scheme)
    step, zero = (by_weight(t, w.shape) for t in (grids.step, grids.zero_point))
    codes = torch.zeros_like(grids.codes)
    for i in range(w.shape[1]):
        z, now = None if zero is None else zero[:, i], w[:, i].clone()
        codes[:, i] = scheme.codec.encode(now, step[:, i], z)
        e = (now - scheme.codec.decode(codes[:, i], step[:, i], z)) / U[i, i]
        w[:, i + 1 :] += now[:, None] * P[i, i + 1 :] - e[:, None] * U[i, i + 1 :]
    return QTensor(codes, grids.scale, grids.zero_point, scheme, tuple(w.shape), tensor_scale=grids.tensor_scale)
