"""ch01.pick_step: from an error that one can live with to a step and the fewest bits."""

import math

import torch

from course_lib.checks import Case, Exercise, Wrong, law


def pick_step(top, target):
    s = 2 * target
    b = 2
    while s * (2 ** (b - 1) - 1) + s / 2 < top:
        b += 1
    return s, b


def _bits_to_reach(marks):
    """The fewest bits whose last mark is at least `marks` steps out."""
    return max(2, math.ceil(math.log2(marks + 1) + 1))


def _max_abs(top, target):
    """The fewest bits whose max-abs step, top / qmax, is at most twice the target."""
    b = _bits_to_reach(top / (2 * target))
    return top / (2 ** (b - 1) - 1), b


def _within(got, top, target):
    s, b = got
    if not (math.isfinite(s) and s > 0):
        return f"The step must be above zero, yours is {s:.4g}."
    if not 2 <= b <= 32:
        return f"The number of bits must be from 2 to 32, yours is {b}."
    w = torch.linspace(-top, top, 20001, dtype=torch.float64)
    qmax = 2 ** (b - 1) - 1
    restored = s * torch.clip(torch.round(w / s), -qmax, qmax)
    error = (restored - w).abs()
    if error.max() <= target * (1 + 1e-6):
        return True
    at = error.argmax()
    return (
        f"With your s = {s:.4g} and b = {b} the weight {w[at]:.4g} comes back as {restored[at]:.4g}. "
        f"That is off by {error[at]:.4g}; allowed is {target:.4g}."
    )


def _fewest(got, top, target):
    fewest = pick_step(top, target)[1]
    return got[1] <= fewest or f"You spend {got[1]} bits on every weight. {fewest} are enough."


EXERCISE = Exercise(
    id="ch01.pick_step",
    title="Buy just enough bits",
    spec="pick_step(top, target) is (s, b): weights in [−top, top] return within target, with the fewest bits b ≥ 2.",
    kind="design",
    stub='''
def pick_step(top, target):
    """(s, b) so that every weight from -top to top comes back within target, with as few bits b as possible."""
    ...
''',
    reference=pick_step,
    piece="pick_step",
    cases=[
        Case("the four weights of the chapter", 2.4, 0.172),
        Case("two bits will do", 0.05, 0.02),
        Case("all weights may become zero", 0.05, 0.06),
        Case("in reach of the last mark, but barely", 0.0596, 0.02),
        Case("just out of reach of the last mark", 3.0, 0.21),
        Case("one mark more than four bits have", 1.6, 0.1),
        Case("one percent", 1.0, 0.0098),
        Case("fine work", 1.0, 0.0041),
        Case("more than eight bits", 100.0, 0.3),
    ],
    properties=[
        law("every weight comes back within the target", _within, "That is what was ordered."),
        law("no more bits than needed", _fewest, "A bit on each of 70 billion weights is 8.75 GB."),
    ],
    wrong=[
        Wrong(
            "the step as small as the target",
            lambda top, target: (1.0 * target, _bits_to_reach(top / target - 0.5)),
            "The worst error is half a step. So the step may be twice the target, and that saves a bit.",
        ),
        Wrong(
            "always eight bits",
            lambda top, target: (top / 127, 8),
            "Eight bits are more than some targets need and fewer than others do. Let target decide.",
        ),
        Wrong(
            "always four bits",
            lambda top, target: (top / 7, 4),
            "Four bits give one fixed step, top / 7, whatever the target is. Let target decide.",
        ),
        Wrong(
            "no bit for the sign",
            lambda top, target: (2.0 * target, max(2, math.ceil(math.log2(top / (2 * target) + 0.5)))),
            "You counted the marks on one side only. Negative weights need marks, too, and that costs one bit.",
        ),
        Wrong(
            "the last mark must reach top itself",
            lambda top, target: (2.0 * target, _bits_to_reach(top / (2 * target))),
            "The last mark also serves the half step beyond it: it may end short of top by target. It can save a bit.",
        ),
        Wrong(
            "the largest weight on the last mark",
            lambda top, target: _max_abs(top, target),
            "Max-abs puts top itself on the last mark. It may lie half a step beyond, and that can save a bit.",
        ),
        Wrong(
            "eight marks on each side",
            lambda top, target: (2.0 * target, max(2, math.ceil(math.log2(top / (2 * target) - 0.5) + 1))),
            "You let q go up to 2^(b−1). The symmetric grid stops at 2^(b−1) − 1, one mark earlier.",
        ),
        Wrong(
            "bits before the step",
            lambda top, target: pick_step(top, target)[::-1],
            "The step comes first, then the bits: return s, b.",
        ),
    ],
    hints=[
        "Which step makes half a step exactly the target? Then: how far does the ruler reach with b bits?",
        "top = 1, target = 0.1: s = 0.2. Three bits: the last mark is 3 · 0.2 = 0.6, good up to 0.7, too short. "
        "Four bits: 7 · 0.2 = 1.4. So (0.2, 4).",
        "def pick_step(top, target):\n    s, b = ____, 2\n    while ____ < top:\n        b += 1\n    return s, b",
    ],
    passed="An error budget becomes a step, a step becomes a number of bits, and bits are what you pay for.",
)
