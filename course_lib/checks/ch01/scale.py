"""ch01.scale: the step that puts the largest weight on the last mark, s = max|w| / qmax."""

import torch

from course_lib.checks import Case, Exercise, Wrong, equals_reference, law


def scale(w, b):
    qmax = 2 ** (b - 1) - 1
    top = w.abs().max()
    return top / qmax if top > 0 else torch.tensor(1.0)


def _top(w):
    return w.abs().max()


def _one_if_zero(step, w):
    return step if _top(w) > 0 else torch.tensor(1.0)


def _usable(got, w, b):
    if got == 0:
        return "Your step is 0, and nobody can divide by that."
    if got < 0:
        return f"Your step is {got.item():.4g}. A negative step turns the sign of every code around."
    return bool(torch.isfinite(got)) or f"Your step is {got.item():.4g}, which is no number to divide by."


def _last_mark(got, w, b):
    qmax, top = 2 ** (b - 1) - 1, _top(w).item()
    code = top / got.item() if got != 0 else float("nan")
    if top == 0 or abs(code - qmax) < 1e-3:
        return True
    return f"The largest weight, {top:.4g} in size, lands at code {code:.4g}. The last mark is {qmax}."


EXERCISE = Exercise(
    id="ch01.scale",
    title="The step from the largest weight",
    spec="scale(w, b) is the step that puts the largest |w| on the last mark, qmax = 2^(b−1) − 1; for all zeros, 1.",
    kind="build",
    stub='''
def scale(w, b):
    """The step s with which the largest |w| gets the code qmax. For a tensor of zeros, 1.0."""
    ...
''',
    reference=scale,
    piece="scale",
    cases=[
        Case("one weight", torch.tensor([0.7]), 4),
        Case("all zeros", torch.zeros(3), 4),
        Case("the four weights of the chapter", torch.tensor([0.15, -1.22, 2.40, -0.45]), 4),
        Case("the largest is negative", torch.tensor([0.3, -1.4, 0.2]), 4),
        Case("all negative", torch.tensor([-0.6, -0.3, -0.2]), 3),
        Case("some zeros", torch.tensor([0.0, -0.9, 0.0, 0.6]), 3),
        Case("nothing above zero", torch.tensor([0.0, -0.6]), 3),
        Case("they add up to zero", torch.tensor([0.6, -0.6]), 3),
        Case("tiny, but not zero", torch.tensor([2e-7, -1e-7]), 4),
        Case("two bits", torch.tensor([0.5, -0.25]), 2),
        Case("eight bits, a matrix", torch.tensor([[0.01, -0.02], [0.0254, 0.003]]), 8),
    ],
    properties=[
        law("a step that one can divide by", _usable, "The next thing that happens to s is w / s."),
        law("the largest weight lands on the last mark", _last_mark, "Then nothing clips and no mark is left over."),
        equals_reference(ulps=2, why="One division of two numbers, rounded once."),
    ],
    wrong=[
        Wrong(
            "the largest weight, not the largest in size",
            lambda w, b: _one_if_zero(w.max() / (2 ** (b - 1) - 1), w),
            "`w.max()` misses large negative weights. Take `w.abs().max()`.",
        ),
        Wrong(
            "the size of the maximum",
            lambda w, b: abs(w.max().item()) / (2 ** (b - 1) - 1) or 1.0,
            "`abs(w.max())` takes the largest weight first, and its size after. Sizes first: `w.abs().max()`.",
        ),
        Wrong(
            "no answer for zeros",
            lambda w, b: _top(w) / (2 ** (b - 1) - 1),
            "When every weight is 0, so is max|w|, and a step of about 0 is of no use. Return 1.0: all codes are 0.",
        ),
        Wrong(
            "one zero is enough",
            lambda w, b: _top(w) / (2 ** (b - 1) - 1) if (w != 0).all() else torch.tensor(1.0),
            "You return 1.0 as soon as one weight is 0. Only when all of them are, there is nothing to divide.",
        ),
        Wrong(
            "zeros told by their sum",
            lambda w, b: _top(w) / (2 ** (b - 1) - 1) if w.sum() != 0 else torch.tensor(1.0),
            "0.6 and −0.6 add up to 0, too, and so does their mean. All weights are 0 only if the largest |w| is.",
        ),
        Wrong(
            "zeros told by the largest weight",
            lambda w, b: _top(w) / (2 ** (b - 1) - 1) if w.max() != 0 else torch.tensor(1.0),
            "The largest of 0 and −0.6 is 0, but there is a weight to store. Ask whether the largest |w| is 0.",
        ),
        Wrong(
            "seven marks for every b",
            lambda w, b: _one_if_zero(_top(w) / 7, w),
            "7 is qmax for four bits. Compute it from b: `2 ** (b - 1) - 1`.",
        ),
        Wrong(
            "the step is the largest weight",
            lambda w, b: _one_if_zero(_top(w), w),
            "With a step as long as the largest weight, that weight is one step long. It should be qmax steps long.",
        ),
        Wrong(
            "^ is not a power in Python",
            lambda w, b: _one_if_zero(_top(w) / (2 ^ (b - 1) - 1), w),
            "In Python `^` compares bits, and 2 ^ 3 is 1. A power is written `**`: `2 ** (b - 1) - 1`.",
        ),
        Wrong(
            "qmax = 2^(b−1)",
            lambda w, b: _one_if_zero(_top(w) / 2 ** (b - 1), w),
            "Zero needs a code, too: with 4 bits the symmetric grid ends at 7, not at 8. qmax = 2^(b−1) − 1.",
        ),
        Wrong(
            "forgot the sign",
            lambda w, b: _one_if_zero(_top(w) / (2**b - 1), w),
            "2^b − 1 steps would have to cover both signs; from 0 to the last mark there are only 2^(b−1) − 1.",
        ),
        Wrong(
            "the range from −max to max over all codes",
            lambda w, b: _one_if_zero(2 * _top(w) / (2**b - 1), w),
            "That is GPTQ's full grid: 2^b marks, none of them at the largest weight. Ours has qmax marks a side.",
        ),
        Wrong(
            "the range from min to max",
            lambda w, b: _one_if_zero((w.max() - w.min()) / (2**b - 1), w),
            "(max − min)/(2^b − 1) is the step of chapter 02's asymmetric grid. Here zero is in the middle.",
        ),
        Wrong(
            "the mean instead of the maximum",
            lambda w, b: _one_if_zero(w.abs().mean() / (2 ** (b - 1) - 1), w),
            "With the mean size on the last mark, many weights lie beyond it and clip. Take the maximum.",
        ),
        Wrong(
            "upside down",
            lambda w, b: _one_if_zero((2 ** (b - 1) - 1) / _top(w), w),
            "That is the number of steps per unit, 1/s. The step itself is max|w| / qmax.",
        ),
        Wrong(
            "only whole steps",
            lambda w, b: _one_if_zero(_top(w) // (2 ** (b - 1) - 1), w),
            "`//` drops everything behind the point, and a step is rarely a whole number. Divide with `/`.",
        ),
    ],
    hints=[
        "The largest weight in size must get the code qmax: max|w| / s = qmax. Solve for s. And if every weight is 0?",
        "w = [0.3, −1.4, 0.2], b = 4: the largest size is 1.4, qmax is 7, so s = 1.4 / 7 = 0.2.",
        "def scale(w, b):\n    qmax = ____\n    top = w.____().max()\n    return ____ if top > 0 else ____",
    ],
    passed="Two pieces, scale and round_trip: together they are a complete quantizer for one tensor.",
)
