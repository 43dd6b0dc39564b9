"""ch02.clamped: the program of the incident, whose zero point is clamped, to be repaired."""

import math

import torch

from course_lib.checks import Case, Exercise, Wrong, equals_reference, law


def grid(w, b):
    lo, hi = w.min().clamp(max=0), w.max().clamp(min=0)
    s = (hi - lo) / (2**b - 1)
    z = torch.clip(torch.round(-lo / s), 0, 2**b - 1)
    return s, z


def _clamped(w, b):
    lo, hi = w.min(), w.max()
    s = (hi - lo) / (2**b - 1)
    z = torch.clip(torch.round(-lo / s), 0, 2**b - 1)
    return s, z


def _over(range_of, clip=True):
    """A variant of the program: its range, and whether z is clipped."""

    def variant(w, b):
        n = 2**b - 1
        lo, hi = range_of(w)
        s = (hi - lo) / n
        z = torch.round(-lo / s)
        return s, torch.clip(z, 0, n) if clip else z

    return variant


def _with_zero(w):
    return w.min().clamp(max=0), w.max().clamp(min=0)


def _z_is_a_code(got, w, b):
    z = got[1].item()
    if not math.isfinite(z):
        return f"z = {z}: somewhere you divided by a step of 0."
    if z != round(z):
        return f"z = {z:.4g} is not a whole number."
    return 0 <= z <= 2**b - 1 or f"z = {z:.0f} is not one of the codes 0 … {2**b - 1}: it cannot be stored in {b} bits."


def _half_step(got, w, b):
    s, z = (t.double() for t in got)
    if not (torch.isfinite(s) and s > 0):
        return f"The step must be above zero, yours is {s:.4g}."
    if not torch.isfinite(z):
        return f"z = {z:.4g} is not a number of steps."
    back = s * (torch.clip(torch.round(w.double() / s) + z, 0, 2**b - 1) - z)
    error = (back - w).abs()
    at = error.argmax()
    if error[at] <= s / 2 * (1 + 1e-4):
        return True
    return f"{w[at]:.4g} comes back as {back[at]:.4g}. That is off by {error[at]:.4g}; half a step is {s / 2:.4g}."


def _no_wider(got, w, b):
    lo, hi = _with_zero(w)
    enough = ((hi - lo) / (2**b - 1)).item()
    s = got[0].item()
    return (
        s <= enough * (1 + 1e-5) or f"Your step is {s:.4g}. A range that just holds 0 and all of w needs {enough:.4g}."
    )


EXERCISE = Exercise(
    id="ch02.clamped",
    title="Repair the clamped zero point",
    spec="grid(w, b) is (s, z) with z among the codes, and every number of w comes back within s/2.",
    kind="repair",
    stub='''
def grid(w, b):
    """(s, z) of an asymmetric grid for any w that is not all zeros, as two tensors without axes."""
    lo, hi = w.min(), w.max()
    s = (hi - lo) / (2**b - 1)
    z = torch.clip(torch.round(-lo / s), 0, 2**b - 1)
    return s, z
''',
    reference=grid,
    cases=[
        Case("both signs: this works already", torch.tensor([-1.0, 0.4, 2.0]), 4),
        Case("both signs, 0 between two marks", torch.tensor([-0.7, 0.4, 2.0]), 4),
        Case("both signs, 0 a little above a mark", torch.tensor([-1.0, 0.4, 2.0]), 3),
        Case("all positive", torch.tensor([2.0, 2.4, 3.0]), 4),
        Case("all negative", torch.tensor([-3.0, -2.4, -2.0]), 4),
        Case("down to zero", torch.tensor([0.0, 1.2, 1.8, 2.6, 3.0]), 4),
        Case("up to zero", torch.tensor([-0.7, -0.3, 0.0]), 3),
        Case("narrow and far out", torch.tensor([10.0, 10.1, 10.2]), 8),
        Case("two bits", torch.tensor([0.5, 1.0, 1.5]), 2),
    ],
    properties=[
        law("z is one of the codes", _z_is_a_code, "z is stored in b bits, beside the codes."),
        law("every number comes back within s/2", _half_step, "Then nothing of w lies beyond the first or last mark."),
        law("the range is no wider than needed", _no_wider, "Every bit of range is paid with a larger step."),
        equals_reference(ulps=4, why="One difference, one quotient, then a whole number."),
    ],
    wrong=[
        Wrong(
            "the program as it was",
            _clamped,
            "If 0 is not inside lo … hi, −lo/s is not a code, and the clip moves all marks. Widen the range first.",
        ),
        Wrong(
            "zero point not rounded",
            lambda w, b: (_over(_with_zero)(w, b)[0], -_with_zero(w)[0] / _over(_with_zero)(w, b)[0]),
            "The range is right. But z is stored as a code: round −lo/s to a whole number, as the program did.",
        ),
        Wrong(
            "the clip removed",
            _over(lambda w: (w.min(), w.max()), clip=False),
            "Now z may be any whole number. But it is stored in b bits like the codes: widen the range to hold 0.",
        ),
        Wrong(
            "only all-positive numbers repaired",
            _over(lambda w: (w.min().clamp(max=0), w.max())),
            "All-negative numbers have the same trouble at the other end: hi must not be below 0.",
        ),
        Wrong(
            "only all-negative numbers repaired",
            _over(lambda w: (w.min(), w.max().clamp(min=0))),
            "All-positive numbers have the same trouble at the other end: lo must not be above 0.",
        ),
        Wrong(
            "clamped the wrong way round",
            _over(lambda w: (w.min().clamp(min=0), w.max().clamp(max=0))),
            "clamp(min=0) lets nothing *below* 0 through. lo must not be *above* 0: clamp(max=0). For hi the reverse.",
        ),
        Wrong(
            "as wide on both sides",
            _over(lambda w: (-w.abs().max(), w.abs().max())),
            "That holds 0, but it is the symmetric range again: half of it is empty for one-sided numbers.",
        ),
        Wrong(
            "always from zero",
            _over(lambda w: (torch.tensor(0.0), w.max().clamp(min=1e-6))),
            "A range from 0 up has no room for negative numbers. Take lo as it is where it lies below 0.",
        ),
    ],
    hints=[
        "Which numbers can the marks reach at all? They start at s·(0 − z), and z is at least 0.",
        "w = [4, 5], b = 3: clamped, s = 1/7, z = 0: the marks end at 1. From 0 to 5: s = 5/7, 5 is code 7.",
        "    lo, hi = w.min().clamp(____), w.max().clamp(____)\n    s = (hi - lo) / (2**b - 1)\n"
        "    z = torch.round(____)",
    ],
    passed="A zero point needs no clamp when the range holds 0. If a clamp ever acts, something is wrong before it.",
)
