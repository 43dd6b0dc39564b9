"""What a few 16-bit directions are worth: W ≈ Ŵ + A·B, with A·B the best matrix of rank r for what rounding lost."""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.calibrate.linear import QuantLinear
from course_lib.calibrate.pipeline import quantize_model, quantized
from course_lib.calibrate.stats import Stats
from course_lib.calibrate.targets import linears_of
from course_lib.scheme import Scheme


def low_rank(error: Tensor, H: Tensor | None, rank: int) -> tuple[Tensor, Tensor]:
    """A (out, r) and B (r, in) whose product is nearest to error E (out, in): least tr((E - AB) H (E - AB)ᵀ).

    With any S for which S Sᵀ = H the trace is ‖ES - ABS‖², and by Eckart & Young (1936) no matrix of rank r is nearer
    to ES than its truncated SVD, U_r Σ_r V_rᵀ = U_r U_rᵀ E S. AB = U_r U_rᵀ E reaches it, whether S has an inverse or
    not. The columns of U_r are the leading eigenvectors of E S Sᵀ Eᵀ = E H Eᵀ, so that neither S nor S⁻¹ is needed:

        E H Eᵀ = U Λ Uᵀ,   A = U_r,   B = U_rᵀ E,   what remains is Σ λ_i over i > r

    E H Eᵀ is what the outputs' errors do together: A holds the r directions of the output in which they are largest.
    H None stands for the identity, and AB is then E's truncated SVD (ZeroQuant-V2, 2023). A diagonal H is LQER's
    (Zhang et al., 2024), the whole one EoRA's (Liu et al., 2024). float32, computed in float64.
    A's columns have length 1.
    Cost: out · in · (out + in) multiply-adds and an eigenvalue problem of size out.
    ValueError for shapes that do not fit, NaN, and a rank outside 0 … min(out, in).

    >>> E = torch.tensor([[3.0, 0.0], [0.0, 2.0]])
    >>> A, B = low_rank(E, None, 1)
    >>> (A @ B).abs().tolist()                                    # keeps the larger error
    [[3.0, 0.0], [0.0, 0.0]]
    >>> A, B = low_rank(E, torch.tensor([[1.0, 0.0], [0.0, 9.0]]), 1)
    >>> (A @ B).abs().tolist()                                    # keeps the one that is heard: 2 · √9 > 3 · √1
    [[0.0, 0.0], [0.0, 2.0]]
    """
    E, H = _checked(error, H, rank)
    C = E @ E.T if H is None else E @ H @ E.T
    U = torch.linalg.eigh((C + C.T) / 2).eigenvectors.flip(1)[:, :rank]  # eigenvalues rise, so the last come first
    return U.float().contiguous(), (U.T @ E).float()


def low_rank_bytes(shape: tuple[int, int], rank: int) -> int:
    """Bytes of A and B in 16 bits for a weight (out, in): 2 r (out + in).

    >>> low_rank_bytes((4096, 4096), 32) * 8 / 4096**2                             # bits a weight
    0.25
    """
    return 2 * rank * sum(shape)


class Corrected(nn.Module):
    """y = base(x) + (x Bᵀ) Aᵀ: a quantized linear, and beside it two thin ones whose inputs are never rounded.

    base  QuantLinear (out, in), with its bias and the Scheme of its inputs
    A, B  (out, r) and (r, in), rounded to float16, in which they are stored; parameters, so that byte counts see them
    """

    def __init__(self, base: QuantLinear, A: Tensor, B: Tensor) -> None:
        super().__init__()
        if A.dim() != 2 or B.dim() != 2 or (len(A), B.shape[1]) != (base.out_features, base.in_features):
            raise ValueError(f"A and B must be ({base.out_features}, r) and (r, {base.in_features}), as base has them,"
                             f" got {tuple(A.shape)} and {tuple(B.shape)}")  # fmt: skip
        self.base, self.in_features, self.out_features = base, base.in_features, base.out_features
        self.A, self.B = (nn.Parameter(t.half().to(base.dtype), requires_grad=False) for t in (A, B))

    def forward(self, x: Tensor) -> Tensor:  # (..., in) -> (..., out)
        return self.base(x) + F.linear(F.linear(x, self.B), self.A)


def correct(model: nn.Module, rounded: nn.Module, rank: int, stats: dict[str, Stats] | None = None) -> nn.Module:
    """A copy of `rounded` in which every QuantLinear is Corrected towards the weight that it has in `model`.

    stats  what `collect(model, …)` returns: each linear's error is weighed by its H; None weighs nothing (plain SVD)
    `rounded` is quantize_model's copy of `model`, by any method that leaves the other parameters as they are.
    ValueError where it does not (AWQ's scales hide in norms), for a linear without stats, and a rank that is too high.
    """
    qtensors = quantized(rounded)
    _same_model(model, rounded, len(qtensors))
    with torch.no_grad():
        pairs = {name: _for(name, model.get_submodule(name).weight.float() - q.dequantize(), stats, rank)
                 for name, q in qtensors.items()}  # fmt: skip
    return _corrected(copy.deepcopy(rounded), pairs)


def absorb(model: nn.Module, scheme: Scheme, rank: int, activations: Scheme | None = None) -> nn.Module:
    """A copy of `model` whose linears are A·B + Q(W - A·B), with A·B the best of rank r for W itself, taken out first.

    What is left has smaller numbers and so smaller steps; and what A·B computes, it computes with inputs that are not
    rounded. SVDQuant (Li et al., 2024) does this after `smoothquant` has moved the loud channels into the weights.
    """
    rest, pairs = copy.deepcopy(model), {}
    with torch.no_grad():
        for name in linears_of(model):
            weight = rest.get_submodule(name).weight
            pairs[name] = A, B = _for(name, weight.float(), None, rank)
            weight.sub_(A.half().float() @ B.half().float())
    return _corrected(quantize_model(rest, scheme, activations=activations, progress=False), pairs)


def _for(name: str, error: Tensor, stats: dict[str, Stats] | None, rank: int) -> tuple[Tensor, Tensor]:
    H = None
    if stats is not None:
        if name not in stats or stats[name].H is None:
            raise ValueError(f"stats must hold H of every linear, and {name} has none: see collect(model, …)")
        H = stats[name].H
    try:
        return low_rank(error, H, rank)
    except ValueError as failure:
        raise ValueError(f"{name}: {failure}") from failure


def _corrected(model: nn.Module, pairs: dict[str, tuple[Tensor, Tensor]]) -> nn.Module:
    """The model itself, each named QuantLinear with its A and B beside it."""
    for name, (A, B) in pairs.items():
        parent, _, leaf = name.rpartition(".")
        setattr(model.get_submodule(parent), leaf, Corrected(model.get_submodule(name), A, B))
    return model


def _same_model(model: nn.Module, rounded: nn.Module, layers: int) -> None:
    if not layers:
        raise ValueError("rounded must have QuantLinear modules, as quantize_model's copy has")
    own = dict(model.named_parameters())
    for name, parameter in rounded.named_parameters():
        if name not in own or not torch.equal(own[name], parameter):
            raise ValueError(f"rounded must differ from model in its QuantLinears only, and {name} differs: methods"
                             " that rescale, as AWQ does, leave no error to correct")  # fmt: skip


def _checked(error, H, rank) -> tuple[Tensor, Tensor | None]:
    """E and H in float64, or one sentence."""
    if not isinstance(error, Tensor) or error.dim() != 2 or not error.is_floating_point():
        raise ValueError(f"error must be a floating-point matrix (out, in), got {_said(error)}")
    columns = error.shape[1]
    if H is not None and (not isinstance(H, Tensor) or H.shape != (columns, columns)):
        raise ValueError(f"H must be None or of shape ({columns}, {columns}), error's columns, got {_said(H)}")
    if isinstance(rank, bool) or not isinstance(rank, int) or not 0 <= rank <= min(error.shape):
        raise ValueError(f"rank must be a whole number from 0 to {min(error.shape)}, got {rank!r}")
    for name, t in (("error", error), ("H", H)):
        if t is not None and not torch.isfinite(t).all():
            raise ValueError(f"{name} must be finite, got NaN or infinity")
    return error.detach().double(), None if H is None else H.detach().double()


def _said(value) -> str:
    return f"{value.dtype} of shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
