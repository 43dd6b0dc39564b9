"""ch02.zero_range: step and zero point for each group, also where the group has no range at all."""

import torch

from course_lib.checks import Case, Exercise, Wrong, law


def group_parameters(w, b):
    lo, hi = w.amin(1).clamp(max=0), w.amax(1).clamp(min=0)
    s = (hi - lo) / (2**b - 1)
    s = torch.where(s > 0, s, 1.0)
    z = torch.round(-lo / s)
    return s, z


def _ends(w):
    return w.amin(1).clamp(max=0), w.amax(1).clamp(min=0)


def _plain(lo, hi, b, mend=lambda s: s):
    s = mend((hi - lo) / (2**b - 1))
    return s, torch.clip(torch.round(-lo / s), 0, 2**b - 1)


def _or_one(s):
    return torch.where(s > 0, s, 1.0)


def _described(w, row):
    return "[" + ", ".join(f"{v:.3g}" for v in w[row].tolist()[:4]) + (", …]" if w.shape[1] > 4 else "]")


def _first(bad):
    return int(bad.nonzero()[0, 0]) if bad.any() else None


def _usable(got, w, b):
    row = _first(~(torch.isfinite(got[0]) & (got[0] > 0)))
    return row is None or f"The group {_described(w, row)} gets s = {got[0][row]:.4g}. One cannot divide by that."


def _codes(got, w, b):
    z, n = got[1], 2**b - 1
    row = _first(~((z >= 0) & (z <= n) & (z == z.round())))
    return row is None or f"The group {_described(w, row)} gets z = {z[row]:.4g}. It must be a whole number, 0 … {n}."


def _half_step(got, w, b):
    s, z = (t.double()[:, None] for t in got)
    back = s * (torch.clip(torch.round(w.double() / s) + z, 0, 2**b - 1) - z)
    error = (back - w).abs()
    row = _first((error > s / 2 * (1 + 1e-4)).any(1))
    if row is None:
        return True
    at = error[row].argmax()
    return (
        f"In the group {_described(w, row)} the number {w[row, at]:.4g} comes back as {back[row, at]:.4g}. "
        f"Half a step is {s[row, 0] / 2:.3g}."
    )


def _no_wider(got, w, b):
    lo, hi = _ends(w)
    enough = (hi - lo) / (2**b - 1)
    row = _first((enough > 0) & (got[0] > enough * 1.001))
    if row is None:
        return True
    return f"The group {_described(w, row)} gets s = {got[0][row]:.4g}, where {enough[row]:.4g} would do."


EXERCISE = Exercise(
    id="ch02.zero_range",
    title="A ruler for every group",
    spec="group_parameters(w, b) is (s, z), each (groups,): every row of w (groups, g) within s/2, zeros too.",
    kind="build",
    stub='''
def group_parameters(w, b):
    """w (groups, g): one step and one zero point for each row, two float32 tensors (groups,). Zeros stay zeros."""
    ...
''',
    reference=group_parameters,
    piece="group_parameters",
    cases=[
        Case("both signs", torch.tensor([[-1.0, 0.4, 2.0]]), 4),
        Case("0 between two marks", torch.tensor([[-0.7, 0.4, 2.0]]), 4),
        Case("0 a little above a mark", torch.tensor([[-1.0, 0.4, 2.0]]), 3),
        Case("zeros", torch.zeros(1, 3), 4),
        Case("a constant", torch.full((1, 3), 2.5), 4),
        Case("a negative constant", torch.full((1, 3), -2.5), 4),
        Case("very small numbers", torch.tensor([[1e-7, -2e-7, 1e-7]]), 4),
        Case("two groups that differ", torch.tensor([[-1.0, 0.5, 2.0], [0.01, 0.02, 0.03]]), 4),
        Case(
            "five groups",
            torch.tensor([[0.0, 0, 0, 0], [5, 5, 5, 5], [-1, -2, -3, -4], [10, 11, 12, 13], [-0.3, 0.1, 0, 0.2]]),
            8,
        ),
        Case("groups of one", torch.tensor([[3.0], [-0.2], [0.0]]), 2),
    ],
    properties=[
        law("a step that one can divide by", _usable, "The next thing that happens is w / s."),
        law("z is one of the codes", _codes, "z is stored in b bits."),
        law("every number comes back within s/2", _half_step, "Then nothing of the group clips."),
        law("no step is larger than its group needs", _no_wider, "That is what a ruler of one's own is for."),
    ],
    wrong=[
        Wrong(
            "the program of the incident, row by row",
            lambda w, b: _plain(w.amin(1), w.amax(1), b),
            "Two things are missing: the range of a row must hold 0, and a row of zeros needs a step as well.",
        ),
        Wrong(
            "no answer for zeros",
            lambda w, b: _plain(*_ends(w), b),
            "A group of zeros has no range: s = 0, and then 0 / 0. Give it any step above zero, such as 1.",
        ),
        Wrong(
            "a smallest step for all",
            lambda w, b: _plain(*_ends(w), b, lambda s: s.clamp(min=1e-5)),
            "clamp(min=…) or a maximum also hits groups of very small numbers: they all become 0. Mend s = 0 only.",
        ),
        Wrong(
            "a little added to every step",
            lambda w, b: _plain(*_ends(w), b, lambda s: s + 1e-8),
            "`+ 1e-8` lengthens every step, and groups of very small numbers feel it. Mend s = 0 only.",
        ),
        Wrong(
            "zero point not rounded",
            lambda w, b: (_plain(*_ends(w), b, _or_one)[0], -_ends(w)[0] / _plain(*_ends(w), b, _or_one)[0]),
            "z is stored as a code, and 0 must lie exactly on a mark. Round −lo/s to a whole number.",
        ),
        Wrong(
            "zero point before the step is mended",
            lambda w, b: (_plain(*_ends(w), b, _or_one)[0], _plain(*_ends(w), b)[1]),
            "z was worked out with s = 0, and 0 / 0 is nan. Mend s first, then divide by it.",
        ),
        Wrong(
            "zero point clamped",
            lambda w, b: _plain(w.amin(1), w.amax(1), b, _or_one),
            "A group that does not hold 0 needs the wider range; clamping z moves all its marks.",
        ),
        Wrong(
            "constants given the step 1",
            lambda w, b: _plain(*_ends(w), b, lambda s: torch.where(w.amax(1) > w.amin(1), s, 1.0)),
            "A constant that is not 0 has a range once 0 is in it. Ask whether s is 0, not whether hi = lo.",
        ),
        Wrong(
            "one ruler for all groups",
            lambda w, b: _plain(w.min().clamp(max=0).expand(len(w)), w.max().clamp(min=0).expand(len(w)), b, _or_one),
            "w.min() looks at the whole tensor. Take the smallest and largest of each row: amin(1), amax(1).",
        ),
        Wrong(
            "the columns instead of the rows",
            lambda w, b: _plain(w.amin(0).clamp(max=0), w.amax(0).clamp(min=0), b, _or_one),
            "amin(0) goes down the columns. A group is a row: reduce along axis 1.",
        ),
        Wrong(
            "the symmetric range",
            lambda w, b: _plain(-w.abs().amax(1), w.abs().amax(1), b, _or_one),
            "−max|w| … max|w| holds 0, but for one-sided groups it is twice as wide as it must be.",
        ),
        Wrong(
            "one group of zeros decides for all",
            lambda w, b: _plain(*_ends(w), b, lambda s: torch.ones_like(s) if (s == 0).any() else s),
            "One group of zeros gives all groups the step 1. `torch.where(s > 0, s, 1.0)` asks each of them.",
        ),
        Wrong(
            "one question for all groups",
            lambda w, b: _plain(*_ends(w), b, lambda s: 1.0 if s == 0 else s),
            "`if s == 0` asks one question for all groups. `torch.where(s > 0, s, 1.0)` asks each of them.",
        ),
    ],
    hints=[
        "Do for every row what your repaired grid did for one tensor. Which rows still end with s = 0?",
        "[[0, 0], [3, 3], [-1, 2]], b = 2: ranges 0…0, 0…3, −1…2, so s = [0 → 1, 1, 1] and z = [0, 0, 1].",
        "def group_parameters(w, b):\n    lo, hi = w.amin(1).clamp(____), w.____(1).clamp(____)\n"
        "    s = ____\n    s = torch.where(____, s, 1.0)\n    z = ____\n    return s, z",
    ],
    passed="This is a complete set of asymmetric parameters for any tensor: the bot will run on it below.",
)
