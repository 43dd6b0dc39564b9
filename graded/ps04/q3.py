"""ps04.q3: an order that keeps groups together"""

import torch

from course_lib.checks import Case
from course_lib.grading import Mistake, agrees, question


def group_order(h, g):
    """Loudest group first, in it the loudest column first: order, its inverse, and each column's group, int64 (in,)."""
    blocks = h.reshape(-1, g)
    groups = torch.argsort(blocks.amax(dim=1), descending=True, stable=True)
    inside = torch.argsort(blocks, dim=1, descending=True, stable=True)
    order = (groups[:, None] * g + inside[groups]).flatten()
    back = torch.argsort(order)
    return {"order": order, "back": back, "g_idx": back // g}


def _ordered(h, g, top=lambda b: b.amax(dim=1), down=True, inside=True, stable=True):
    """The reference with another way to rank groups, or columns within them."""
    blocks = h.reshape(-1, g)
    ranks = top(blocks)
    n = len(ranks)
    groups = torch.argsort(ranks, descending=down, stable=True) if stable else _last_first(ranks)
    within = torch.argsort(blocks, dim=1, descending=down, stable=True)
    if not stable:
        within = torch.stack([_last_first(row) for row in blocks])
    if not inside:
        within = torch.arange(g).repeat(n, 1)
    order = (groups[:, None] * g + within[groups]).flatten()
    back = torch.argsort(order)
    return {"order": order, "back": back, "g_idx": back // g}


def _last_first(row):
    """Falling, and of equals the last first."""
    return torch.argsort(row, stable=True).flip(0)


def _sorted_over_all(h, g):
    order = torch.argsort(h, descending=True, stable=True)
    back = torch.argsort(order)
    return {"order": order, "back": back, "g_idx": back // g}


def _with(key, what):
    return lambda h, g: group_order(h, g) | {key: what(group_order(h, g), h, g)}


NAMES = ("inside a group", "the groups", "equals keep their order", "the inverse", "the group of each column")

WRONG = [
    Mistake(
        "sorted over all columns",
        _sorted_over_all,
        "That is act-order: groups fall apart. Keep the g neighbours of a group together.",
        loses=NAMES[1:],
    ),
    Mistake(
        "groups left in their places",
        lambda h, g: _ordered(h, g, top=lambda b: torch.zeros(len(b))),
        "The group with the loudest column comes first.",
        loses=NAMES[1:],
    ),
    Mistake(
        "columns left in their places",
        lambda h, g: _ordered(h, g, inside=False),
        "Inside a group the loudest column comes first.",
        loses=NAMES[:4],
    ),
    Mistake(
        "groups by their sum",
        lambda h, g: _ordered(h, g, top=lambda b: b.sum(dim=1)),
        "The loudest *column* of a group decides, not the sum.",
        loses=NAMES[1:],
    ),
    Mistake(
        "quietest first",
        lambda h, g: _ordered(h, g, down=False),
        "Falling, not rising: the loudest comes first, while many can still answer for it.",
        loses=NAMES,
    ),
    Mistake(
        "equals in reverse",
        lambda h, g: _ordered(h, g, stable=False),
        "Of equally loud ones the lower number comes first: sort with stable=True.",
        loses=NAMES[2:3],
    ),
    Mistake(
        "the order given as its own inverse",
        _with("back", lambda got, h, g: got["order"]),
        "back[j] says when column j is worked on: torch.argsort(order).",
        loses=NAMES[3:4],
    ),
    Mistake(
        "g_idx of neighbours",
        _with("g_idx", lambda got, h, g: torch.arange(len(h)) // g),
        "Groups are numbered in the order of work: the loudest group is group 0.",
        loses=NAMES[4:],
    ),
    Mistake(
        "the groups of columns in the order of work",
        _with("g_idx", lambda got, h, g: got["order"] // g),
        "order // g names a group of neighbours. g_idx[j] says when column j's group is worked on: back[j] // g.",
        loses=NAMES[4:],
    ),
    Mistake(
        "the order taken twice",
        _with("back", lambda got, h, g: got["order"][got["order"]]),
        "order[order] goes two steps on, not back: back[order] = arange, or torch.argsort(order).",
        loses=NAMES[3:4],
    ),
    Mistake(
        "places inside a group",
        _with("order", lambda got, h, g: got["order"] % g),
        "argsort of a group counts from 0 in each group: add g times the group's number.",
        loses=NAMES[1:3],
    ),
]


def exercise(seed):
    def case(name, offset, n, g):
        """Loudness without ties, in which the loudest columns and the largest sums lie in different groups."""
        for k in range(200):
            generator = torch.Generator().manual_seed(seed + offset + 7 * k)
            h = 0.1 + torch.rand(n, generator=generator)
            h[:: 2 * g] *= 3
            got, other = group_order(h, g), _ordered(h, g, top=lambda b: b.sum(dim=1))
            lists = [got["order"], torch.arange(n), _sorted_over_all(h, g)["order"], other["order"], got["back"]]
            apart = all(not torch.equal(a, b) for i, a in enumerate(lists) for b in lists[:i])
            ids = [got["g_idx"], torch.arange(n) // g, _sorted_over_all(h, g)["g_idx"], other["g_idx"]]
            if apart and all(not torch.equal(ids[0], b) for b in ids[1:]):
                return Case(name, h, g)
        raise AssertionError("no such loudness was drawn")

    def one(offset, n):
        generator = torch.Generator().manual_seed(seed + offset)
        h = torch.rand(n, generator=generator)
        h[0] = 0.0
        return h

    inside = [Case("one group of five", one(0, 5), 5), Case("one group of eight", one(1, 8), 8)]
    groups = [case("three groups of four", 2, 12, 4), case("four groups of two", 3, 8, 2), case("many", 4, 24, 4)]
    ties = [
        Case("equal groups", torch.tensor([1.0, 3.0, 3.0, 2.0, 3.0, 0.5]), 2),
        Case("equal columns", torch.tensor([2.0, 2.0, 2.0, 1.0, 5.0, 5.0, 5.0, 4.0]), 4),
        Case("equal groups of equals", torch.tensor([1.0, 1.0, 7.0, 7.0, 1.0, 1.0, 7.0, 7.0]), 2),
    ]
    return question(
        "ps04.q3",
        "An order that keeps groups together",
        "group_order(h, g): groups by their loudest column, columns by loudness within; order, inverse, groups.",
        group_order,
        properties=[
            agrees(NAMES[0], inside, "Falling loudness.", points=0.5, part="order"),
            agrees(NAMES[1], groups, "A group's loudest column decides.", points=1, part="order"),
            agrees(NAMES[2], ties, "Of equals the lower number first.", points=0.5, part="order"),
            agrees(NAMES[3], groups, "back[order[k]] = k.", points=1, part="back"),
            agrees(NAMES[4], groups, "g columns a group, in the order of work.", points=1, part="g_idx"),
        ],
        wrong=WRONG,
    )
