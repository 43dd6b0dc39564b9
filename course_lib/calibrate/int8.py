"""Multiplying in whole numbers: codes times codes in 32-bit integers, and the scales once, at the end."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from course_lib.calibrate.linear import QuantLinear
from course_lib.qtensor import QTensor

THRESHOLD = 6.0  # LLM.int8's: an input as large as this makes its channel an outlier


def int_matmul(qx: Tensor, qw: Tensor, zx: Tensor | int = 0, zw: Tensor | int = 0) -> Tensor:
    """Σ_j (qx - zx)(qw - zw) for codes qx (tokens, in) and qw (out, in): int32 (tokens, out), exact.

    Hardware multiplies the codes as they are stored and corrects afterwards (Jacob et al., 2018, equation 7):
    Σ qx·qw - zx·Σ qw - zw·Σ qx + in·zx·zw. zx is a number or one a token (tokens, 1), zw a number or one an output
    (out, 1). Products of 8-bit codes fit into int32 for up to 33,000 channels.

    >>> int_matmul(torch.tensor([[10, 20]]), torch.tensor([[3, 1]]), zx=8).tolist()     # 2·3 + 12·1
    [[18]]
    """
    qx, qw = qx.to(torch.int32), qw.to(torch.int32)
    zx = torch.as_tensor(zx, dtype=torch.int32)
    zw = torch.as_tensor(zw, dtype=torch.int32)
    if qx.dim() != 2 or qw.dim() != 2 or qx.shape[1] != qw.shape[1]:
        raise ValueError(f"codes must be (tokens, in) and (out, in), got {tuple(qx.shape)} and {tuple(qw.shape)}")
    sum_x, sum_w = (q.sum(dim=1, dtype=torch.int32) for q in (qx, qw))  # (tokens,), (out,)
    zw = zw.reshape(1, -1) if zw.dim() else zw
    return qx @ qw.T - zx * sum_w - zw * sum_x[:, None] + qx.shape[1] * zx * zw


def int_linear(x: QTensor, w: QTensor) -> Tensor:
    """y (tokens, out) float32 = s_x · s_w · int_matmul: a linear whose multiplications are all in whole numbers.

    x has one scale, or one a token; w has one, or one an output. Both may have zero points. A scale that changes
    along the channels would stand inside the sum, so ValueError for groups.
    """
    for what, q in (("x", x), ("w", w)):
        if q.scheme.block[1] != -1 or q.codes.dim() != 2 or not q.scheme.format.startswith("int"):
            raise ValueError(f"{what} must hold integer codes with one scale a row, or one in all, got {q.scheme.name}")
        if q.scheme.zero_dtype is not None:
            raise ValueError(f"{what} must have whole zero points to be multiplied in integers, got {q.scheme.name}")
    zeros = (0 if q.zero_point is None else q.zero_point for q in (x, w))
    return int_matmul(x.codes, w.codes, *zeros).float() * x.step * w.step.T


def llm_int8(x: Tensor, w: QTensor, threshold: float = THRESHOLD) -> Tensor:
    """y (tokens, out) after LLM.int8: channels of x (tokens, in) that reach `threshold` anywhere stay in float.

    All other channels are rounded to 8 bits, one scale a token, and multiplied in whole numbers; w holds int8 codes
    with one scale an output, and the float part uses its decoded columns, as in bitsandbytes. A token's scale is the
    largest of its inputs below the threshold. Dettmers et al., "LLM.int8()" (2022), section 3.
    """
    loud = x.abs() >= threshold
    split = loud.any(dim=0)  # (in,): whole channels, so that both parts stay ordinary matrix products
    s = torch.where(loud, 0, x).abs().amax(dim=1, keepdim=True) / 127
    codes = torch.round(x / torch.where(s > 0, s, torch.inf)).clamp(-127, 127)
    codes = torch.where(split, 0, codes).to(torch.int8)
    whole = int_matmul(codes, w.codes).float() * s * w.step.T
    return whole + x[:, split] @ w.dequantize()[:, split].T


class SplitLinear(QuantLinear):
    """A QuantLinear of int8 weights that treats its inputs as llm_int8 does."""

    def forward(self, x: Tensor) -> Tensor:  # (..., in) -> (..., out)
        y = llm_int8(x.reshape(-1, x.shape[-1]).float(), self.qtensor).reshape(*x.shape[:-1], -1).to(x.dtype)
        return y if self.bias is None else y + self.bias


def with_outlier_split(model: nn.Module) -> nn.Module:
    """A copy of a model of int8 QuantLinears (one scale an output) in which every one of them splits its inputs."""
    result = copy.deepcopy(model)
    linears = {name: part for name, part in result.named_modules() if type(part) is QuantLinear}
    if not linears or any(part.qtensor.scheme.format != "int8" for part in linears.values()):
        raise ValueError("model must have int8 linears: quantize_model(model, Scheme.int(8)) makes them")
    for name, part in linears.items():
        parent, _, leaf = name.rpartition(".")
        setattr(result.get_submodule(parent), leaf, SplitLinear(part.qtensor, part.bias, dtype=part.dtype))
    return result
