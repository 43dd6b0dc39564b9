"""A model's own tensors: by name, tied ones once, and as a checkpoint stores those that are not quantized."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def untied(model: nn.Module) -> dict[str, Tensor]:
    """Name -> parameter or buffer, as in `state_dict`; of tensors that are one and the same, the first name only.

    >>> pair = nn.ModuleDict({"embed": nn.Embedding(3, 2), "head": nn.Linear(2, 3, bias=False)})
    >>> pair["head"].weight = pair["embed"].weight
    >>> list(untied(pair))
    ['embed.weight']
    """
    first: dict[int, str] = {}
    state = model.state_dict(keep_vars=True)
    return {name: tensor for name, tensor in state.items() if first.setdefault(id(tensor), name) == name}


def stored(name: str, tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """A tensor that stays as it is, on the CPU: whole numbers as they are, others in dtype; ValueError if too large.

    >>> stored("norm.weight", torch.tensor([1.0, 2.5]), torch.float16)
    tensor([1.0000, 2.5000], dtype=torch.float16)
    """
    small = tensor.detach().cpu()
    small = (small.to(dtype) if small.is_floating_point() else small).contiguous()
    if not torch.isfinite(small).all():
        raise ValueError(f"{name}: its largest value, {tensor.abs().max().item():.4g}, does not fit {dtype}")
    return small
