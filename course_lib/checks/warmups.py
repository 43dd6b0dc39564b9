"""Warm-ups: three questions with fresh numbers, from one, two, and four or more chapters back.

A chapter's questions are functions `rng -> Question` in the tuple QUESTIONS of its module `chNN/warmup.py`. The numbers
depend on the learner and the day, so that they are new tomorrow and the same when a cell runs twice.
"""

import importlib
import importlib.util
import math
import random
from dataclasses import dataclass
from datetime import date

from course_lib.checks import namespace, render, reviews, store
from course_lib.checks.shorten import number


@dataclass(frozen=True)
class Question:
    """A question with one number as its answer, and the sentence that explains it."""

    text: str
    answer: float
    because: str
    unit: str = ""
    atol: float = 1e-6  # how far off still counts as right


def questions(chapter: str) -> tuple:
    """The question functions of a chapter; empty when it has none."""
    name = f"course_lib.checks.{chapter}"
    if chapter not in namespace.chapters() or not hasattr(importlib.import_module(name), "__path__"):
        return ()
    if importlib.util.find_spec(f"{name}.warmup") is None:
        return ()
    return importlib.import_module(f"{name}.warmup").QUESTIONS


class Warmup(render.Shown):
    """Three questions; `answer(a, b, c)` checks them. None leaves a question open."""

    def __init__(self, chapter: str, asked: list[tuple[str, str, Question]], notes: tuple | list = ()):
        self.chapter, self.asked, self.notes = chapter, asked, list(notes)

    def answer(self, *answers):
        """Check up to three numbers, one sentence each. Errors: TypeError when there are more."""
        if len(answers) > len(self.asked):
            raise TypeError(f"there are {len(self.asked)} questions, got {len(answers)} answers")
        answers += (None,) * (len(self.asked) - len(answers))
        marks = [_mark(q, a) for (_, _, q), a in zip(self.asked, answers, strict=True)]
        notes = []
        if any(right is not None for right, _ in marks):
            right = [r for r, _ in marks]
            notes = _save(chapter=self.chapter, asked=[name for name, _, _ in self.asked], right=right)
        return render.show(Marked(self, marks, notes))

    def lines(self) -> list[str]:
        """The questions, one a line."""
        return [f"({back}) {q.text}" for _, back, q in self.asked]

    def html(self) -> str:
        items = "".join(f"<li>{render.spans(line)}</li>" for line in self.lines())
        inside = f"<strong>{self._title()}</strong><ol>{items}</ol>{''.join(map(render.paragraph, self.notes))}"
        return render.box(self._title(), render.BARS["card"], inside)

    def text(self) -> str:
        return "\n".join([self._title()] + [f"  {i}. {line}" for i, line in enumerate(self.lines(), 1)] + self.notes)

    def _title(self) -> str:
        return f"Warm-up for chapter {self.chapter[2:]}"


class Marked(render.Shown):
    """What came of a warm-up. `right` is True, False or None (not attempted) for each question."""

    def __init__(self, warm: Warmup, marks: list[tuple], notes: list[str]):
        self.right = [right for right, _ in marks]
        self._sentences, self._notes = [said for _, said in marks], notes

    def html(self) -> str:
        items = "".join(f"<li>{render.spans(said)}</li>" for said in self._sentences)
        notes = "".join(map(render.paragraph, self._notes))
        return render.box("Your answers", render.BARS["card"], f"<strong>Your answers</strong><ol>{items}</ol>{notes}")

    def text(self) -> str:
        return "\n".join([f"  {i}. {said}" for i, said in enumerate(self._sentences, 1)] + self._notes)


def warmup(chapter: str) -> Warmup:
    """Show three questions for a chapter, as in `w = warmup("ch02")`, then `w.answer(0.5, None, None)`.

    Errors: ValueError when the chapter has nothing before it to ask about.
    """
    if not (isinstance(chapter, str) and chapter.startswith("ch") and chapter[2:].isdigit()):
        raise ValueError(f"chapter must be a name such as 'ch02', got {chapter!r}")
    rng = random.Random(f"{_learner()} {_today()} {chapter}")
    asked = _choose(int(chapter[2:]), rng)
    if not asked:
        raise ValueError(f"there is nothing to warm up before {chapter}: warm-ups begin with ch02")
    return render.show(Warmup(chapter, asked, reviews.reminder()))


def _choose(here: int, rng: random.Random) -> list[tuple[str, str, Question]]:
    """(name, how far back, question) for three different question functions; others where a chapter has none."""
    pool = [(back, f) for back in range(1, here + 1) for f in questions(f"ch{here - back:02d}")]
    chosen: list[tuple[int, object]] = []
    for wanted in (lambda back: back == 1, lambda back: back == 2, lambda back: back >= 4):
        left = [item for item in pool if item not in chosen]
        fitting = [item for item in left if wanted(item[0])] or left
        if fitting:
            chosen.append(rng.choice(fitting))
    return [(f"ch{here - back:02d}.{f.__name__}", _ago(back), f(rng)) for back, f in chosen]


def _ago(back: int) -> str:
    return f"{back} chapter{'s' * (back > 1)} back"


def _mark(question: Question, answer) -> tuple[bool | None, str]:
    if answer is None or answer is Ellipsis:
        return None, "Not attempted."
    try:
        value = float(answer)
    except (TypeError, ValueError, RuntimeError):
        return False, f"A number is asked for here, not {type(answer).__name__}."
    right = number(float(question.answer)).removesuffix(".0")
    unit = f" {question.unit}" if question.unit else ""
    if math.isfinite(value) and abs(value - question.answer) <= question.atol + 1e-6 * abs(question.answer):
        return True, f"Right: {right}{unit}."
    return False, f"Not {number(value, right)}. {question.because} So it is {right}{unit}."


def _learner() -> str:
    """A number that stays with the learner; it is drawn on the first warm-up."""
    known = store.records("learner")
    if known:
        return str(known[0].get("seed"))
    try:
        return str(store.append("learner", seed=random.SystemRandom().randrange(2**32))["seed"])
    except store.StoreError:
        return "0"


def _today() -> str:
    return date.today().isoformat()


def _save(**fields) -> list[str]:
    try:
        store.append("warmup", day=_today(), **fields)
        return []
    except store.StoreError as err:
        return [f"Note: {err}."]
