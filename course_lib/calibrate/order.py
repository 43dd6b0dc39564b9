"""In which order the linears of a block run, and which of them can be measured in one run."""

from __future__ import annotations

import re
from collections import Counter

from torch import Tensor, nn

from course_lib.calibrate.blocks import Call, run

HESSIAN_BYTES = 2**31  # of experts that are measured in one run of their block; beyond, it runs again
_EXPERT = re.compile(r"\.experts\.(\d+)\.")


def order_of(linears: dict[str, nn.Linear], block: nn.Module, call: Call) -> list[dict[str, nn.Linear]]:
    """The linears of a block in the order in which they first run, those with one and the same input together.

    A Llama block gives [q, k, v], [o], [gate, up], [down]. Linears that did not run come last.
    """
    groups, silent = _groups(linears, _heard(linears, block, call))
    return [*groups, silent] if silent else groups


def plan_of(
    linears: dict[str, nn.Linear], block: nn.Module, calls: list[Call]
) -> tuple[list[dict[str, nn.Linear]], set[str], dict[str, nn.Linear]]:
    """`order_of` the first call; the names of linears that one run calls more than once; those that the first left out.

    calls: one for each shape of a batch. The experts of a mixture hear nothing of each other: the gates and ups of all
    are one group, their downs another (several beyond HESSIAN_BYTES), those that the first call left out among them.
    """
    heard = [_heard(linears, block, call) for call in calls]
    counts = [Counter(name for name, _ in one) for one in heard]
    repeated = {name for count in counts for name, n in count.items() if n > 1}
    groups, silent = _together(*_groups(linears, heard[0]))
    return ([*groups, silent] if silent else groups), repeated, silent


def _groups(linears, heard) -> tuple[list[dict[str, nn.Linear]], dict[str, nn.Linear]]:
    """Groups of linears in the order heard, and those that were not."""
    groups: list[dict[str, nn.Linear]] = []
    known: set[str] = set()
    last = None
    for name, x in heard:
        if name in known:
            continue
        if x is not last:
            groups.append({})
        groups[-1][name], last = linears[name], x
        known.add(name)
    return groups, {name: linear for name, linear in linears.items() if name not in known}


def _together(groups, silent) -> tuple[list[dict[str, nn.Linear]], dict[str, nn.Linear]]:
    """The same with experts side by side, in the order of their numbers, in which they run; Hessians up to a limit."""
    joined: dict[str, list[dict[str, nn.Linear]]] = {}  # "….experts.gate_proj", a group's first -> its groups
    home: dict[str, str] = {}  # "….experts.up_proj" -> "….experts.gate_proj"
    for group in groups:
        roles = [_EXPERT.sub(".experts.", name) for name in group]
        home |= dict.fromkeys(roles, home.get(roles[0], roles[0]))
        mine = joined.setdefault(home[roles[0]], [{}])
        needed = {_number(item): 4 * item[1].in_features ** 2 for item in (mine[-1] | group).items()}  # one an expert
        if mine[-1] and sum(needed.values()) > HESSIAN_BYTES:
            mine.append({})
        mine[-1] |= group
    for name in [name for name in silent if _EXPERT.sub(".experts.", name) in home]:
        joined[home[_EXPERT.sub(".experts.", name)]][-1][name] = silent.pop(name)
    return [dict(sorted(group.items(), key=_number)) for mine in joined.values() for group in mine], silent


def _number(item: tuple[str, nn.Linear]) -> int:
    """The expert that a linear belongs to."""
    found = _EXPERT.search(item[0])
    return int(found[1]) if found else 0


def _heard(linears: dict[str, nn.Linear], block: nn.Module, call: Call) -> list[tuple[str, Tensor]]:
    """(name, input) of every call of a linear while the block runs."""
    heard: list[tuple[str, Tensor]] = []
    handles = [
        m.register_forward_pre_hook(lambda _, args, name=name: heard.append((name, args[0])))
        for name, m in linears.items()
    ]
    try:
        run(block, call)
    finally:
        for handle in handles:
            handle.remove()
    return heard
