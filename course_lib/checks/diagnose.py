"""Name the likely mistake: the known wrong answer that behaves as this one does, everywhere or wherever it is wrong."""

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch

from course_lib.checks import compare, run
from course_lib.checks.runner import Runner

SECONDS = 5.0  # that a known wrong answer may take on all cases, and that the search for a part may take in all


class Diagnosis(NamedTuple):
    """A `Wrong`, and how many of the cases in which the answer fails it explains; str() is what a learner reads."""

    wrong: object
    explains: int
    failing: int

    @property
    def whole(self) -> bool:
        """Whether nothing else is wrong with the values."""
        return self.explains == self.failing

    def __str__(self) -> str:
        named = f"{self.wrong.name}. {self.wrong.diagnosis}"
        if self.whole:
            return f"Likely mistake: {named}"
        return (f"Perhaps in part: {named} (It explains {self.explains} of the {self.failing} cases that fail, not the"
                " rest: there is a second mistake, or another one that looks like it.)")  # fmt: skip


class Two(NamedTuple):
    """Two mistakes that together explain every case in which the answer fails."""

    wrong: object
    second: object

    @property
    def whole(self) -> bool:
        """Never: neither of the two explains all."""
        return False

    def __str__(self) -> str:
        first, second = (f"{each.name}. {each.diagnosis}" for each in self)
        return f"Perhaps two mistakes at once: {first} And: {second}"


def diagnose(exercise, runner: Runner, shown: str = "") -> "Diagnosis | Two | None":
    """The first `Wrong` that behaves as the answer does on every case; else two, or one that explains a part.

    shown    the name of the case that the learner sees as the counter-example

    Two mistakes at once behave like neither. A mistake is likely made where the answer does as it does in every result,
    or entry of a result, in which it differs from the reference. (Not surely: of single changes to the references that
    were named in part, about half were others.) Two such that leave nothing unexplained are named together. Else one
    is, if the case that is shown and at least half of those in which the answer fails are its.
    Where one mistake spoils what the other does, one is named that explains three such cases and a third of them,
    unless what they have in common says little, as a word or a small number does.
    """
    if runner.clock.left() <= 0:
        return None
    others = []
    for wrong in exercise.wrong:
        if wrong.like is not None:
            if _is_like(wrong, runner):
                return Diagnosis(wrong, 1, 1)
            continue
        other = Runner(exercise, wrong.answer, run.Clock(SECONDS))
        if all(_same(runner, other, case) for case in runner.cases):
            return Diagnosis(wrong, 1, 1)
        others.append((wrong, other))
    if not exercise.takes_function:
        return None
    clock = run.Clock(SECONDS)
    return _two(runner, others, clock) or _part(runner, others, shown, clock)


def _two(runner: Runner, others: list[tuple[object, Runner]], clock) -> Two | None:
    failing = {entry for case in runner.cases for entry in _entries(runner, runner, case) if not entry.right}
    failing, made = {entry.name for entry in failing}, []
    for wrong, other in others:
        if clock.left() <= 0:
            return None
        explained = _explained(runner, other)
        made += [(wrong, explained)] if explained and explained != failing else []
    pairs = [(len(x & y), a, b) for k, (b, y) in enumerate(made) for a, x in made[:k] if x | y == failing]
    return Two(*min(pairs, key=lambda pair: pair[0])[1:]) if pairs else None


def _explained(runner: Runner, other: Runner) -> set:
    """The names of the entries in which a known wrong answer is wrong, if the answer is so in all; else none."""
    found = set()
    for case in runner.cases:
        for entry in _entries(runner, other, case):
            if not entry.right:
                if not entry.same:
                    return set()
                found.add(entry.name)
    return found


class _Entry(NamedTuple):
    """One entry of a result: whether another answer has there what the reference has, and what the answer has."""

    name: tuple
    right: bool
    same: bool


def _entries(runner: Runner, other: Runner, case) -> Iterator[_Entry]:
    """What another answer does on a case, entry by entry where both give dicts or tuples of the right form."""
    mine, theirs, expected = runner.outcome(case), other.outcome(case), runner.expected(case)
    values = [_fitted(outcome.value, expected) if outcome.kind == "value" else None for outcome in (mine, theirs)]
    keys = list(expected) if isinstance(expected, dict) else range(len(expected)) if isinstance(expected, tuple) else []
    if not keys or any(type(v) is not type(expected) or len(v) != len(expected) for v in values):
        yield _Entry((case.name, None), _right(runner, other, case), _same(runner, other, case, touched=False))
        return
    near = runner.exercise.alike
    for key in keys:
        a, b, e = (v[key] for v in (*values, expected))
        yield _Entry((case.name, key), _near(b, e, e, near), _near(a, b, e, near))


def _part(runner: Runner, others: list[tuple[object, Runner]], shown: str, clock) -> Diagnosis | None:
    failing = [case for case in runner.cases if not _right(runner, runner, case)]
    first = [case for case in failing if case.name == shown][:1]
    best, most, loose, found = None, max(0, len(failing) - 1) // 2, None, max(2, (len(failing) - 1) // 3)
    for wrong, other in others:
        if clock.left() <= 0:
            break
        if all(_same(runner, other, case, touched=False) for case in first):
            differs = [case for case in runner.cases if not _right(runner, other, case)]
            made = [case for case in differs if _same(runner, other, case, touched=False)]
            if len(made) == len(differs) > most:
                best, most = Diagnosis(wrong, len(made), len(failing)), len(made)
            if first and len(made) > found and all(_telling(runner.outcome(case)) for case in first):
                loose, found = Diagnosis(wrong, len(made), len(failing)), len(made)
    return best or loose


def _telling(outcome: run.Outcome) -> bool:
    """Whether two answers hardly have this in common by chance: some number in it is not whole, or not small."""
    return outcome.kind == "value" and any(n != int(n) or abs(n) >= 100 for n in _numbers(outcome.value))


def _numbers(value) -> list[float]:
    if isinstance(value, torch.Tensor):
        value = [] if value.is_complex() else value.double().flatten()[:100].tolist()
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        return [n for item in value for n in _numbers(item)]
    return [value] if isinstance(value, (int, float)) and math.isfinite(value) else []


def _right(runner: Runner, other: Runner, case) -> bool:
    """Whether the other answer does here as the reference does."""
    outcome, expected = other.outcome(case), runner.expected(case)
    return outcome.kind == "value" and _near(outcome.value, expected, expected, runner.exercise.alike)


def _same(runner: Runner, other: Runner, case, touched: bool = True) -> bool:
    """Whether two answers do the same; `touched`: change the same of their inputs, too."""
    a, b = runner.outcome(case), other.outcome(case)
    if a.kind != b.kind or a.error_type != b.error_type or touched and a.mutated != b.mutated:
        return False
    return a.kind != "value" or _near(a.value, b.value, runner.expected(case), runner.exercise.alike)


def _near(x, y, expected, near: compare.Tolerance) -> bool:
    x, y = _fitted(x, expected), _fitted(y, expected)
    try:
        return compare.difference(compare.fit(x, y), y, near) is None
    except compare.Mismatch:
        return False


def _fitted(value, expected):
    try:
        return compare.fit(value, expected)
    except compare.Mismatch:
        return value


def _is_like(wrong, runner: Runner) -> bool:
    """Whether an answer that is a value, of the form that was asked, makes a mistake."""
    try:
        return bool(wrong.like(runner.case(runner.cases[0])))
    except Exception:  # Failed, or a shape that the mistake does not have
        return False
