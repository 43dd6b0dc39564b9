"""A model's own tensors by name, tied ones once."""

from __future__ import annotations

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
