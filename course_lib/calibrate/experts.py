"""Experts one by one: the fused weights of a mixture, (experts, out, in), become linears that any method can round.

The linears are views of the fused weights: taken apart, a mixture needs no more memory.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class Expert(nn.Module):
    """down(act(gate(x)) * up(x)), a gated MLP."""

    def __init__(self, gate_up: Tensor, down: Tensor, act_fn: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        gate, up = gate_up.chunk(2)
        self.gate_proj, self.up_proj, self.down_proj = _linear(gate), _linear(up), _linear(down)
        self.act_fn = act_fn

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(self.act_fn(self.gate_proj(x)) * self.up_proj(x))


class Experts(nn.ModuleList):
    """What transformers' fused experts compute: y = Σ p_k · expert_k(x) over the experts that a token was sent to.

    hear_all    every expert also runs on the tokens of the others; what it makes of them is thrown away
    """

    hear_all = False

    def forward(self, hidden_states: Tensor, top_k_index: Tensor, top_k_weights: Tensor) -> Tensor:
        out = torch.zeros_like(hidden_states)  # (tokens, hidden)
        for i, expert in enumerate(self):
            token, place = torch.where(top_k_index == i)
            heard = expert(hidden_states) if self.hear_all else None
            if len(token):
                y = expert(hidden_states[token]) if heard is None else heard[token]
                out.index_add_(0, token, (y * top_k_weights[token, place, None]).to(out.dtype))
        return out


@contextmanager
def hearing_all(model: nn.Module, all_experts: bool = True) -> Iterator[None]:
    """Inside the `with`, every expert of `model` hears all tokens, if `all_experts`; the model computes the same."""
    apart = [module for module in model.modules() if isinstance(module, Experts)]
    for module in apart:
        module.hear_all = all_experts
    try:
        yield
    finally:
        for module in apart:
            module.hear_all = False


def unfused(model: nn.Module, keep: Callable[[str], bool] = lambda name: False) -> nn.Module:
    """`model` itself if it has no fused experts, else a copy whose experts are linears: "…experts.3.up_proj".

    keep  name of a fused module -> whether it stays as it is

    Taken apart are modules with gate_up_proj (experts, 2·inner, hidden), down_proj (experts, hidden, inner) and act_fn,
    as transformers 5 has them for Mixtral, Qwen3-MoE and others, if the linears then compute the same. Others (with
    biases, transposed, with clamps) stay, and whoever quantizes refuses them by name.
    """
    if not _fused(model, keep):
        return model
    result = copy.deepcopy(model)
    take_apart(result, keep)
    return result


def take_apart(
    model: nn.Module, keep: Callable[[str], bool] = lambda name: False, trusted: bool = False
) -> dict[str, nn.Module]:
    """As `unfused`, in `model` itself; returns name -> the fused module that was there.

    trusted    of a family known to compute the same, which is then not tried: weights may be on the meta device
    """
    before = {}
    with torch.no_grad():
        for name in _fused(model, keep):
            fused = model.get_submodule(name)
            pairs = zip(fused.gate_up_proj, fused.down_proj, strict=True)
            single = Experts(Expert(gate_up, down, fused.act_fn) for gate_up, down in pairs)
            if trusted or _agree(fused, single):
                before[name] = fused
                model.set_submodule(name, single.train(fused.training))
    return before


@contextmanager
def apart(model: nn.Module) -> Iterator[None]:
    """Inside the `with`, the fused experts of `model` are linears; then they are what they were."""
    before = take_apart(model)
    try:
        yield
    finally:
        for name, fused in before.items():
            model.set_submodule(name, fused)


def _fused(model: nn.Module, keep: Callable[[str], bool]) -> list[str]:
    return [name for name, module in model.named_modules() if _is_fused(module) and not keep(name)]


def _is_fused(module: nn.Module) -> bool:
    first, second = (getattr(module, name, None) for name in ("gate_up_proj", "down_proj"))
    if not (isinstance(first, nn.Parameter) and isinstance(second, nn.Parameter) and hasattr(module, "act_fn")):
        return False
    experts, hidden, inner = second.shape if second.dim() == 3 else (0, 0, 0)
    return experts > 0 and first.shape == (experts, 2 * inner, hidden)


def _agree(fused: nn.Module, apart: Experts) -> bool:
    """Whether both give the same for 8 tokens, two experts each."""
    down = fused.down_proj
    g = torch.Generator().manual_seed(0)
    x = torch.randn(8, down.shape[1], generator=g).to(down)
    chosen = torch.rand(8, len(apart), generator=g).topk(min(2, len(apart))).indices.to(down.device)
    share = torch.rand(chosen.shape, generator=g).to(down)
    wanted, got = fused(x, chosen, share).float(), apart(x, chosen, share).float()
    return bool((got - wanted).norm() <= 1e-2 * wanted.norm())


def _linear(w: Tensor) -> nn.Linear:
    linear = nn.Linear(*reversed(w.shape), bias=False, device="meta")
    linear.weight = nn.Parameter(w.detach(), requires_grad=False)
    return linear
