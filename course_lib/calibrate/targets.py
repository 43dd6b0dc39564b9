"""Which linears of a model get quantized, and one clear sentence where something cannot be."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from torch import nn

from course_lib.calibrate.linear import QuantLinear
from course_lib.qtensor import block_size
from course_lib.scheme import Scheme

DEFAULT_SKIP = ("lm_head",)


def linears_of(model: nn.Module, skip: Iterable[str] = DEFAULT_SKIP) -> dict[str, nn.Linear]:
    """Name -> module of every nn.Linear that no entry of `skip` names, in the order of the forward definition.

    >>> pair = nn.ModuleDict({"up": nn.Linear(4, 8), "down": nn.Linear(8, 4)})
    >>> list(linears_of(pair, skip=["down"]))
    ['up']
    """
    skip = (skip,) if isinstance(skip, str) else tuple(skip)
    names = [name for name, _ in model.named_modules() if name]
    unused = [entry for entry in skip if not any(matches(entry, name) for name in names)]
    if unused and skip != DEFAULT_SKIP:  # a model without a head is no mistake
        raise ValueError(f"skip names {unused[0]!r}, which matches no module; modules are named like {names[-1]!r}")
    _refuse_fused_experts(model, skip)
    left_out = skips(skip)
    found = {
        name: module
        for name, module in model.named_modules()
        if name and isinstance(module, nn.Linear) and not left_out(name)
    }
    if not found:
        done = any(isinstance(module, QuantLinear) for module in model.modules())
        why = "they are quantized already" if done else f"{type(model).__name__} has none outside skip={skip}"
        raise ValueError(f"model must have nn.Linear modules to quantize: {why}")
    return found


def skips(skip: Iterable[str]) -> Callable[[str], bool]:
    """Name -> whether an entry of `skip` names it."""
    entries = (skip,) if isinstance(skip, str) else tuple(skip)
    return lambda name: any(matches(entry, name) for entry in entries)


def check_activations(scheme: Scheme | None, linears: dict[str, nn.Linear]) -> None:
    """Complain before the work starts, not at the first forward pass."""
    if scheme is None:
        return
    if not isinstance(scheme, Scheme):
        raise TypeError(f"activations must be a Scheme or None, got {type(scheme).__name__}")
    if scheme.block[0] not in (1, -1):
        raise ValueError(
            f"activations must have blocks of one token (1, …) or of all tokens (-1, …), got {scheme.block}"
        )
    for name, linear in linears.items():
        try:
            block_size((1, linear.in_features), scheme.block)
        except ValueError as error:
            raise ValueError(f"activations of {name}: {error}") from error


def check_fit(scheme: Scheme, linears: dict[str, nn.Linear]) -> None:
    """Complain before the work starts where a scheme's blocks do not divide a weight."""
    for name, linear in linears.items():
        try:
            block_size(linear.weight.shape, scheme.block)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from error


def matches(entry: str, name: str) -> bool:
    """Whether `entry` names a module: its dotted name, the end of it, or a regular expression for all of it."""
    return name == entry or name.endswith("." + entry) or re.fullmatch(entry, name) is not None


def _refuse_fused_experts(model: nn.Module, skip: tuple[str, ...]) -> None:
    left_out = skips(skip)
    for name, module in model.named_modules():
        if isinstance(module, nn.modules.conv._ConvNd) or left_out(name):
            continue
        for leaf, weight in module.named_parameters(recurse=False):
            if weight.dim() == 3:
                raise ValueError(
                    f"{name}.{leaf} holds fused expert weights of shape {tuple(weight.shape)}, which cannot be"
                    f" quantized here: add {name.rpartition('.')[2]!r} to skip to leave them at 16 bits"
                )
