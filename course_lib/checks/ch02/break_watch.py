"""ch02.break_watch: a range over several batches, kept by a program that remembers only the widest."""

import torch

from course_lib.checks import Wrong
from course_lib.checks.breaks import break_exercise, matrix
from course_lib.checks.inputs import float32
from course_lib.checks.shorten import number


def watch(batches):
    """(lo, hi) of a static ruler, from batches (rows). Promise: 0 and every number seen lie within lo … hi."""
    lo = hi = torch.tensor(0.0)
    for x in batches:
        a, b = x.min().clamp(max=0), x.max().clamp(min=0)
        if b - a > hi - lo:  # this batch needs a longer ruler
            lo, hi = a, b
    return lo, hi


def right(batches):
    """The same, keeping the outermost end on either side."""
    return batches.min().clamp(max=0), batches.max().clamp(min=0)


def trial(program, batches):
    """(kept?, the range, and the number that is furthest outside)."""
    lo, hi = program(batches)
    outside = torch.maximum(lo - batches, batches - hi)
    told = f"the range is {number(lo.item())} … {number(hi.item())}"
    if outside.max() <= 0:
        return True, told
    return False, f"{told}, and {number(batches.flatten()[outside.argmax()].item())} lies outside"


def legal(batches):
    """True, or what is wrong with the batches."""
    return matrix(batches, "batches", "a row for each batch", "its numbers")


def _one_sided(batches):
    return bool((batches >= 0).all() or (batches <= 0).all())


def _in_one_row(batches):
    ends = batches.min(), batches.max()
    return any((row.min(), row.max()) == ends for row in batches)


EXERCISE = break_exercise(
    id="ch02.break_watch",
    title="Break it: the range of many batches",
    spec="batches: the fewest numbers, a row for each batch, one of which the program leaves outside its range.",
    program=watch,
    right=right,
    trial=trial,
    legal=legal,
    name="batches",
    asked="float32, a row for each batch: as few numbers as you can",
    answer="torch.tensor([[-1.0], [2.0]])  # the second batch needs the longer ruler, and -1 is forgotten",
    wrong=[
        Wrong(
            "one batch",
            float32([-1.0, 2.0]),
            "The range of a single batch holds all of it. Something can only be forgotten when another batch follows, "
            "so give the numbers a row each.",
            like=lambda batches: len(batches) == 1,
        ),
        Wrong(
            "zeros",
            float32([0.0], [0.0]),
            "The range is 0 … 0, and zeros lie within it. (A step of 0 is another program's worry.)",
            like=lambda batches: not batches.any(),
        ),
        Wrong(
            "all on one side of zero",
            float32([1.0], [3.0]),
            "These ranges all have 0 for one end, so the longest one holds the others. That is what the author "
            "tried: after a ReLU no number is below 0.",
            like=_one_sided,
        ),
        Wrong(
            "a batch that holds all others",
            float32([-1.0, 3.0], [2.0, 0.5]),
            "Both ends lie in the same batch. It is the longest, so it is kept whole. Let them come from two batches.",
            like=_in_one_row,
        ),
        Wrong(
            "not in rows",
            torch.tensor([-1.0, 2.0]),
            "The program takes one batch after the other, and each is a row: `[[…], […]]`.",
            like=lambda batches: batches.dim() != 2,
        ),
        Wrong(
            "infinite numbers, or nan",
            float32([-1.0], [float("inf")]),
            "No ruler reaches infinity, and nan lies nowhere. The fault also shows with small, ordinary numbers.",
            like=lambda batches: not batches.isfinite().all(),
        ),
        Wrong(
            "more than it takes",
            float32([-1.0, 0.5], [0.0, 3.0]),
            "This breaks it. Which numbers does it still break without?",
        ),
    ],
    hints=[
        "The program keeps the range of one batch, the longest. When does the longest not hold the others?",
        "Lengths only: batch 1 reaches from −4 to 1, so the range is −4 … 1, length 5. Batch 2 reaches from −2 to 2, "
        "length 4: it is not longer, so 2 stays outside. Can two batches of one number each do the same?",
        "batches = torch.tensor([[____], [____]])  # the signs?",
    ],
    passed="A range of several batches is the least of all minima and the largest of all maxima, each on its own.",
)
