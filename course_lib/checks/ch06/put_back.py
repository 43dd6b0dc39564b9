"""ch06.put_back: after act-order every code goes back to its column, and g_idx says whose scale it has."""

import torch

from course_lib.checks import Case, Exercise, Wrong, equals_reference, law
from course_lib.checks.inputs import int8


def put_back(q, order, g):
    back = torch.argsort(order)  # back[j]: when column j was worked on
    return q[:, back], (back // g).to(torch.int32)


def _places(order, g):
    return (torch.arange(len(order)) // g).to(torch.int32)


def _as_it_was(q, order, g):
    return q[:, order], _places(order, g)


def _codes_home(got, q, order, g):
    codes = got[0]
    for k, column in enumerate(order.tolist()):
        if not torch.equal(codes[:, column], q[:, k]):
            return (
                f"Column {column} of w was worked on as number {k}, so its codes {q[:, k].tolist()} belong into column "
                f"{column}. There you have {codes[:, column].tolist()}."
            )
    return True


def _group_of_each(got, q, order, g):
    g_idx = got[1]
    for k, column in enumerate(order.tolist()):
        if int(g_idx[column]) != k // g:
            return (
                f"Column {column} of w was worked on as number {k}, in group {k} // {g} = {k // g}. "
                f"Your g_idx[{column}] is {int(g_idx[column])}."
            )
    return True


def _many(seed, rows, cols):
    return torch.randint(-7, 8, (rows, cols), generator=torch.Generator().manual_seed(seed), dtype=torch.int8)


def _dice(seed, n):
    return torch.randperm(n, generator=torch.Generator().manual_seed(seed))


EXERCISE = Exercise(
    id="ch06.put_back",
    title="Back to their places",
    spec="put_back(q, order, g): q's columns, worked on in this order, back in w's order; and each column's group.",
    kind="repair",
    stub='''
def put_back(q, order, g):
    """q[:, k] are the codes of w's column order[k] -> (codes in w's order, g_idx (cols,) int32: the group of each)."""
    g_idx = torch.arange(len(order)) // g
    return q[:, order], g_idx.to(torch.int32)
''',
    reference=put_back,
    piece="put_back",
    cases=[
        Case("in order", int8([5, 6, 7, 1]), torch.tensor([0, 1, 2, 3]), 2),
        Case("the halves swapped", int8([5, 6, 7, 1]), torch.tensor([2, 3, 0, 1]), 2),
        Case("backwards", int8([5, 6, 7, 1]), torch.tensor([3, 2, 1, 0]), 2),
        Case("a round of three", int8([5, 6, 7]), torch.tensor([1, 2, 0]), 1),
        Case("loudest first", int8([5, 6, 7, 1], [-2, 0, 3, 4]), torch.tensor([2, 0, 3, 1]), 2),
        Case("one group for all", int8([5, 6, 7, 1]), torch.tensor([1, 2, 3, 0]), 4),
        Case("eight columns", _many(0, 3, 8), _dice(0, 8), 4),
        Case("twelve columns", _many(1, 2, 12), _dice(1, 12), 4),
    ],
    properties=[
        law("codes are back where they belong", _codes_home, "order[k] is the column that was worked on as number k."),
        law("g_idx is the group of each column", _group_of_each, "Groups were made while working: g at a time."),
        equals_reference(why="Whole numbers, moved about."),
    ],
    wrong=[
        Wrong(
            "as it was",
            _as_it_was,
            "q[:, order] mixes the columns a second time instead of undoing it, and g_idx is that of an order which "
            "nobody worked in.",
        ),
        Wrong(
            "g_idx forgotten",
            lambda q, order, g: (q[:, torch.argsort(order)], _places(order, g)),
            "The codes are right. But arange // g says that neighbours share a scale, and here the columns worked on "
            "one after the other do. A file like this loads without an error, and the bot talks nonsense.",
        ),
        Wrong(
            "codes mixed twice",
            lambda q, order, g: (q[:, order], put_back(q, order, g)[1]),
            "The codes need the *inverse* order, torch.argsort(order): q[:, order] mixes them again.",
        ),
        Wrong(
            "codes left in the order of work",
            lambda q, order, g: (q, put_back(q, order, g)[1]),
            "g_idx is right. The codes still lie in the order of work: put them back with the inverse order.",
        ),
        Wrong(
            "g_idx from order, not from its inverse",
            lambda q, order, g: (q[:, torch.argsort(order)], (order // g).to(torch.int32)),
            "order[k] // g asks which neighbours column number k had in w. You need *when* column j was worked on: "
            "torch.argsort(order)[j] // g.",
        ),
        Wrong(
            "all in the order of work",
            lambda q, order, g: (q, _places(order, g)),
            "This is how GPTQ worked, not how the layer reads: its inputs come in w's order.",
        ),
        Wrong(
            "places instead of groups",
            lambda q, order, g: (q[:, torch.argsort(order)], torch.argsort(order).to(torch.int32)),
            "You return when each column was worked on. Its group is that, divided by g.",
        ),
    ],
    hints=[
        "Take order = [1, 2, 0] and write under each column of w when it was worked on. Which torch function turns "
        "order into that list?",
        "order = [2, 0, 3, 1], g = 2: columns 2 and 0 were group 0, columns 3 and 1 group 1, so g_idx = [0, 1, 0, 1]. "
        "When was each worked on? [1, 3, 0, 2], and torch.argsort(order) says so.",
        "def put_back(q, order, g):\n    back = torch.____(order)\n    return q[:, ____], (____ // g).to(torch.int32)",
    ],
    passed="A file with act-order stores this list, 4 bytes a column. Chapter 04's g_idx was the same thing.",
)
