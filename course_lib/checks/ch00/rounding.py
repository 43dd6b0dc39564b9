"""ch00.rounding: every weight to the nearest whole number of steps, s·round(w/s)."""

import torch

from course_lib.checks import Case, Exercise, Wrong, equals_reference, law


def rounding(w, s):
    return s * torch.round(w / s)


def _whole_steps(got, w, s):
    steps = got / s
    return bool(((steps - steps.round()).abs() < 1e-3).all()) or "At least one result is no whole number of steps."


def _nearest(got, w, s):
    worst = ((got - w).abs() / s).max().item()
    return worst <= 0.5001 or f"One weight moved by {worst:.2f} steps. Its nearest mark is at most half a step away."


EXERCISE = Exercise(
    id="ch00.rounding",
    title="Round to the nearest step",
    spec="rounding(w, s) moves every weight in w to the nearest whole number of steps of size s.",
    kind="build",
    stub='''
def rounding(w, s):
    """Every weight of w, moved to the nearest whole number of steps s. Same shape as w."""
    ...
''',
    reference=rounding,
    piece="rounding",
    cases=[
        Case("one weight", torch.tensor([0.73]), 0.1),
        Case("nearer to the mark above", torch.tensor([0.78]), 0.1),
        Case("a coarser step", torch.tensor([0.73]), 0.5),
        Case("both signs", torch.tensor([0.15, -1.22, 2.40, -0.45]), 0.35),
        Case("nothing left but zero", torch.tensor([0.01, -0.02, 0.03]), 0.2),
        Case("a matrix, one step for each row", torch.tensor([[0.9, -0.3], [9.0, -3.2]]), torch.tensor([[0.4], [4.0]])),
    ],
    properties=[
        equals_reference(ulps=2, why="For each weight one whole number of steps is nearest."),
        law("a whole number of steps", _whole_steps, "Whole numbers get stored; s says what one of them is worth."),
        law("never further than half a step", _nearest, "The nearer of two marks is at most half a step away."),
    ],
    wrong=[
        Wrong(
            "the whole numbers, not the weights",
            lambda w, s: torch.round(w / s),
            "You counted the steps. Multiply by s to turn the count into a weight again.",
        ),
        Wrong(
            "Python's round",
            lambda w, s: s * round(w / s),
            "Python's `round` takes one number. `torch.round` takes a whole tensor of them.",
        ),
        Wrong(
            "cut off instead of rounded",
            lambda w, s: s * torch.trunc(w / s),
            "`int(…)` and `.int()` drop what follows the point: 7.9 becomes 7. `torch.round` takes the nearest number.",
        ),
        Wrong(
            "always rounded down",
            lambda w, s: s * torch.floor(w / s),
            "`floor` and `//` go down even from 7.9. `torch.round` takes the nearest whole number.",
        ),
        Wrong(
            "always rounded up",
            lambda w, s: s * torch.ceil(w / s),
            "`ceil` goes up even from 7.1. `torch.round` takes the nearest whole number.",
        ),
        Wrong(
            "a step of 0.1, whatever s is",
            lambda w, s: torch.round(w, decimals=1),
            "One decimal place is a step of 0.1. Here s says how long a step is. Count in steps of s first: w / s.",
        ),
        Wrong(
            "rounded the weight itself",
            lambda w, s: s * torch.round(w),
            "You rounded w, which counts in units of 1. Divide by s first, to count in steps.",
        ),
        Wrong(
            "multiplied and divided the wrong way round",
            lambda w, s: torch.round(w * s) / s,
            "“How many steps of size s fit into w?” is a division, w / s. Multiply on the way back.",
        ),
        Wrong(
            "divided on the way back, too",
            lambda w, s: torch.round(w / s) / s,
            "A weight that is q steps long is q · s. You divided by s a second time.",
        ),
        Wrong(
            "nothing rounded",
            lambda w, s: w * 1.0,
            "These are the weights as they came. Round the number of steps, w / s, before you go back.",
        ),
        Wrong(
            "the sign lost",
            lambda w, s: s * torch.round(w.abs() / s),
            "`abs` takes the sign off, and nothing brings it back. Steps are counted below zero as well as above.",
        ),
        Wrong(
            "no more than seven steps",
            lambda w, s: s * torch.clip(torch.round(w / s), -7, 7),
            "Seven steps are all that four bits can count: chapter 01. Here any whole number of steps is allowed.",
        ),
    ],
    hints=[
        "Three moves: count how many steps w is long, round that count, turn the count back into a weight.",
        "w = 0.73, s = 0.1: it is 7.3 steps long. The nearest whole number is 7. Seven steps are 7 · 0.1 = 0.7.",
        "def rounding(w, s):\n    return ____ * torch.round(____ / ____)",
    ],
    passed="This line is the heart of every integer quantizer. Run the next cell: the bot answers with your rounding.",
)
