"""What flows through a model: listen to the outputs of its modules, or change them on their way."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from course_lib.calibrate.targets import matches
from course_lib.qtensor import quantize
from course_lib.scheme import Scheme


@contextmanager
def changed(model: nn.Module, ending: str, change: Callable[[Tensor, str], Tensor]) -> Iterator[nn.Module]:
    """Inside the `with`, the output x of every module whose name ends in `ending` is `change(x, name)`.

    `ending` is the end of a dotted name ("act_fn", "mlp.down_proj") or a regular expression for all of it. The model
    is as before when the block ends. ValueError if no module has such a name.

    >>> pair = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
    >>> with changed(pair, "1", lambda x, name: 0 * x):
    ...     pair(torch.ones(1, 2)).tolist()
    [[0.0, 0.0]]
    """
    modules = {name: module for name, module in model.named_modules() if name and matches(ending, name)}
    if not modules:
        raise ValueError(f"ending must be the end of a module's name, such as 'act_fn'; none ends in {ending!r}")
    handles = [m.register_forward_hook(lambda _, __, x, name=name: change(x, name)) for name, m in modules.items()]
    try:
        yield model
    finally:
        for handle in handles:
            handle.remove()


def record(model: nn.Module, tokenizer, texts: Iterable[str], ending: str) -> dict[str, Tensor]:
    """Name -> outputs x (tokens, features) of every module whose name ends in `ending`, over all texts."""
    seen: dict[str, list[Tensor]] = {}

    def keep(x: Tensor, name: str) -> Tensor:
        seen.setdefault(name, []).append(x.detach().reshape(-1, x.shape[-1]).float())
        return x

    with changed(model, ending, keep), torch.inference_mode():
        for text in texts:
            model(torch.tensor([tokenizer(text)["input_ids"]]))
    return {name: torch.cat(parts) for name, parts in seen.items()}


def static(seen: dict[str, Tensor], scheme: Scheme, observer=None) -> Callable[[Tensor, str], Tensor]:
    """A change for `changed`: rounds x on one grid a module, found once on what `record` has seen and then kept.

    `observer` chooses the range of each grid, as in `quantize`. ValueError unless one scale serves all of x.
    """
    if scheme.block != (-1, -1):
        raise ValueError(f'scheme must have one scale for all, as Scheme.int(8, group="tensor") has, got {scheme.name}')
    grids = {name: quantize(x, scheme, observer) for name, x in seen.items()}

    def change(x: Tensor, name: str) -> Tensor:
        step, zero = grids[name].step, grids[name].zero_point  # (1, 1)
        return scheme.codec.round_trip(x, step, zero).to(x.dtype)

    return change
