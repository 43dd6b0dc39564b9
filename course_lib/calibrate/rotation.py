"""Rotation: mix neighbouring numbers by an orthogonal matrix before they are rounded, so that none stands out.

    x wᵀ = (x R) (w R)ᵀ    for every R with R Rᵀ = I

Sources: Ashkboos et al., "QuaRot" (2024); Egiazarian et al., "MR-GPTQ" (2025) for narrow blocks under FP4.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from course_lib.calibrate.smoothquant import check_norm
from course_lib.calibrate.targets import DEFAULT_SKIP, linears_of
from course_lib.models.outliers import readers


def hadamard(n: int, seed: int | None = None) -> Tensor:
    """Orthogonal R (n, n) float32: Sylvester's Hadamard matrix over √n; with a seed, its rows get random signs.

        H_1 = [1],   H_2n = [[H_n, H_n], [H_n, -H_n]],   R = diag(±1) H_n / √n

    Every entry is ±1/√n, so that one loud number is spread evenly over all n. ValueError unless n is a power of two.

    >>> (hadamard(4) * 2).tolist()
    [[1.0, 1.0, 1.0, 1.0], [1.0, -1.0, 1.0, -1.0], [1.0, 1.0, -1.0, -1.0], [1.0, -1.0, -1.0, 1.0]]
    """
    if not isinstance(n, int) or isinstance(n, bool) or n < 1 or n & (n - 1):
        raise ValueError(f"n must be a power of two, such as 16 or 32, got {n!r}")
    H = torch.ones(1, 1, dtype=torch.float64)
    while len(H) < n:
        H = torch.cat([torch.cat([H, H], 1), torch.cat([H, -H], 1)])
    if seed is not None:
        bits = torch.randint(0, 2, (n, 1), generator=torch.Generator().manual_seed(seed))
        H = H * (1 - 2 * bits)
    return (H / n**0.5).float()


def rotate(x: Tensor, R: Tensor) -> Tensor:
    """Each run of len(R) numbers along the last axis of x (..., features), times R: a block-diagonal rotation.

    ValueError where R is no square matrix or its size does not divide the features. `rotate(y, R.T)` is the way back.

    >>> rotate(torch.tensor([[2.0, 0.0, 0.0, 0.0]]), hadamard(2)).tolist()  # 2 becomes two times √2
    [[1.4142135381698608, 1.4142135381698608, 0.0, 0.0]]
    """
    if R.dim() != 2 or R.shape[0] != R.shape[1]:
        raise ValueError(f"R must be a square matrix, got shape {tuple(R.shape)}")
    if x.dim() == 0 or x.shape[-1] % len(R):
        raise ValueError(f"R of size {len(R)} must divide the last axis of x, got shape {tuple(x.shape)}")
    return (x.unflatten(-1, (-1, len(R))) @ R.to(x)).flatten(-2)


class Rotation(nn.Module):
    """Multiplies what flows through it: `rotate(x, R)`. R is no parameter; kernels know it by its n and its signs."""

    R: Tensor

    def __init__(self, R: Tensor) -> None:
        super().__init__()
        self.register_buffer("R", R)

    def forward(self, x: Tensor) -> Tensor:
        return rotate(x, self.R)


def rotate_inputs(model: nn.Module, n: int, seed: int | None = 0, skip: Iterable[str] = DEFAULT_SKIP) -> nn.Module:
    """A copy of `model` that computes the same, in which linears read rotated inputs with rotated weights.

    Each linear named by `linears_of(model, skip)` becomes Sequential(Rotation(R), linear) with w R in place of w and
    R = hadamard(n, seed) along blocks of n channels. `quantize_model` then rounds in the rotated space, on both sides
    where `activations` are given. The rotation runs before every linear: n·log2(n) additions a block.

    ValueError names a linear whose input n does not divide.
    """
    R, names = hadamard(n, seed), linears_of(model, skip)
    for name, linear in names.items():
        if linear.in_features % n:
            raise ValueError(f"n = {n} must divide the {linear.in_features} inputs of {name}")
    result = copy.deepcopy(model)
    for name in names:
        parent, _, leaf = name.rpartition(".")
        linear = result.get_submodule(name)
        linear.weight = nn.Parameter(rotate(linear.weight.detach().float(), R).to(linear.weight), requires_grad=False)
        setattr(result.get_submodule(parent), leaf, nn.Sequential(Rotation(R.to(linear.weight)), linear))
    return result


@torch.no_grad()
def rotate_residual(model: nn.Module, seed: int | None = 0) -> nn.Module:
    """A copy of a Llama-like `model` whose residual stream is rotated as a whole, at no cost while it runs (QuaRot).

        E ← E R;   w ← w diag(g) R behind a norm of gains g, g ← 1;   w ← Rᵀ w where a block writes back (o, down)

    An RMSNorm without gains commutes with R, so the logits stay. A tied head gets a weight of its own.
    TypeError for models that are not Llama-like; ValueError where the hidden size is no power of two.
    """
    if not hasattr(getattr(model, "model", None), "layers"):
        raise TypeError(f"model must be Llama-like, with model.layers, got {type(model).__name__}")
    R = hadamard(model.config.hidden_size, seed)
    result = copy.deepcopy(model)
    inner, head = result.model, result.lm_head
    head.weight = nn.Parameter(head.weight.detach().clone(), requires_grad=False)
    result.config.tie_word_embeddings = False
    pairs = [pair for layer in inner.layers for pair in readers(layer)] + [(inner.norm, (head,))]
    for norm, linears in pairs:
        check_norm(norm, "a norm of the model")
        for linear in linears:
            linear.weight.copy_((linear.weight.float() * norm.weight.float()) @ R)
        norm.weight.fill_(1)
    inner.embed_tokens.weight.copy_(inner.embed_tokens.weight.float() @ R)
    for layer in inner.layers:
        for linear in (layer.self_attn.o_proj, layer.mlp.down_proj):
            linear.weight.copy_(R.T @ linear.weight.float())
            if linear.bias is not None:
                linear.bias.copy_(linear.bias.float() @ R)
    return result
