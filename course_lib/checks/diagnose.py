"""Name the likely mistake: the known wrong answer that behaves as this one does, everywhere or wherever it is wrong."""

from typing import NamedTuple

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
        return (f"Perhaps in part: {named} (It explains {self.explains} of the {self.failing} cases that fail;"
                " in the rest something else is wrong.)")  # fmt: skip


def diagnose(exercise, runner: Runner, shown: str = "") -> Diagnosis | None:
    """The first `Wrong` that behaves as the answer does on every case; else the one that explains most of its failures.

    shown    the name of the case that the learner sees as the counter-example

    Two mistakes at once behave like neither. One of them is named where the answer does as it does in every case in
    which it differs from the reference, the shown case among them, and where these are at least half of the cases in
    which the answer fails. Of several the one that differs in most cases is taken.
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
    return _part(runner, others, shown) if exercise.takes_function else None


def _part(runner: Runner, others: list[tuple[object, Runner]], shown: str) -> Diagnosis | None:
    failing = [case for case in runner.cases if not _right(runner, runner, case)]
    first = [case for case in failing if case.name == shown][:1]
    best, most, clock = None, max(0, len(failing) - 1) // 2, run.Clock(SECONDS)
    for wrong, other in others:
        if clock.left() <= 0:
            break
        if all(_same(runner, other, case, touched=False) for case in first):
            differs = [case for case in runner.cases if not _right(runner, other, case)]
            if len(differs) > most and all(_same(runner, other, case, touched=False) for case in differs):
                best, most = Diagnosis(wrong, len(differs), len(failing)), len(differs)
    return best


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
