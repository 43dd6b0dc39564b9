"""`review()` says what is due; `review.ch06.hessian(my_function)` checks an old exercise as a review.

A review is saved as a record "review": it moves the exercise's box (`review_schedule`), and nothing else. What was
passed stays passed, and the learner's pieces stay as they are.
"""

import importlib.util
from datetime import date

from course_lib.checks import history, judge, namespace, render, review_sample, review_schedule, store
from course_lib.checks.review_schedule import INTERVALS, MOST, Card
from course_lib.checks.verdict import NOT_ATTEMPTED

SOON = ((1, "tomorrow"), (7, "within a week"), (21, "within three weeks"), (60, "later"))


def known(today: date | None = None) -> dict[str, Card]:
    """The learner's cards, those of the course's exercises that can be checked here."""
    found = review_schedule.cards(store.records(), today or date.today())
    if not found:
        return {}
    kernels = importlib.util.find_spec("triton") is not None
    able = [e.id for e in namespace.every() if kernels or not e.launch]
    return {id: found[id] for id in able if id in found}


def chosen(today: date | None = None) -> list[Card]:
    """What to review today, the most urgent first."""
    today = today or date.today()
    return review_schedule.chosen(known(today).values(), today)


def reminder() -> list[str]:
    """One sentence where something is due today, none otherwise."""
    count = len(chosen())
    return [f"{_exercises(count)} due for review: `course review`."] if count else []


class Due(render.Shown):
    """What is due today, and how much comes back when."""

    def __init__(self, today: date | None = None):
        self.today = today or date.today()
        self.cards = list(known(self.today).values())
        self.chosen = review_schedule.chosen(self.cards, self.today)

    def title(self) -> str:
        if not self.cards:
            return "Nothing to review yet: what you pass comes back after one to seven days."
        done = sum(self.today in card.reviews for card in self.cards)
        if not self.chosen:
            return f"Done for today: {done} reviewed." if done else "Nothing to review today."
        return f"{_exercises(len(self.chosen))} due for review today."

    def rows(self) -> list[tuple[str, str, str]]:
        """Exercise, title, since when."""
        return [(c.exercise, namespace.find(c.exercise).title, _since(c, self.today)) for c in self.chosen]

    def rest(self) -> list[str]:
        """What is left for other days, in a sentence each."""
        lines = []
        left = len(review_schedule.due(self.cards, self.today)) - len(self.chosen)
        if left:
            lines.append(f"{left} more {'is' if left == 1 else 'are'} due: {MOST} a day are enough.")
        counts, before = [], 0
        for days, name in SOON:
            number = sum(before < (c.due - self.today).days <= days for c in self.cards)
            counts += [f"{number} {name}"] if number else []
            before = days
        return [*lines, *([f"To come: {', '.join(counts)}."] if counts else [])]

    def text(self) -> str:
        rows = [f"  {id:22}{title:36}{since}" for id, title, since in self.rows()]
        return "\n".join([self.title(), *rows, *self.rest(), *self._how()])

    def html(self) -> str:
        cells = ("".join(f"<td {render.CELL}>{render.escape(v)}</td>" for v in row) for row in self.rows())
        body = "".join(f'<tr style="background:none">{each}</tr>' for each in cells)
        style = f"border-collapse:collapse; color:{render.INK}"
        table = f'<table style="{style}"><tbody>{body}</tbody></table>' if body else ""
        inside = f"<strong>{render.escape(self.title())}</strong>{table}"
        lines = "".join(map(render.paragraph, [*self.rest(), *self._how()]))
        return render.box("Reviews", render.BARS["card"], inside + lines)

    def _how(self) -> list[str]:
        return ["In a terminal, `course review` writes them into work/review.ipynb."] if self.chosen else []


class Mistakes(render.Sheet):
    """The mistakes that the learner made on two occasions or more, by name."""

    MOST = 12  # lines

    def __init__(self):
        self.found = history.mistakes(store.records())
        more = len(self.found) - self.MOST
        self.notes = [f"And {more} more."] if more > 0 else []

    def title(self) -> str:
        return "Mistakes that you made twice or more" if self.found else "No mistake came back so far."

    def rows(self) -> list[tuple[str, str]]:
        """(the name, how often and in which exercises)."""
        return [(m.name, f"{m.times} times: {', '.join(m.exercises)}") for m in self.found[: self.MOST]]


class Again:
    """One exercise as a review: call it with an answer; `hint()` and `solution()` are the exercise's own."""

    def __init__(self, exercise):
        self.exercise = exercise
        self.hint, self.solution = exercise.hint, exercise.solution

    def __call__(self, answer=...):
        """Check an answer, show the result, move the box; returns the Result."""
        result = render.Result(self.exercise, judge.judge(self.exercise, answer))
        if result.state != NOT_ATTEMPTED:
            result.notes += _count(result)
        return render.show(result)

    def __repr__(self):
        return repr(self.exercise)


def _count(result) -> list[str]:
    """Save a review; returns what it means for the exercise's box."""
    id = result.exercise.id
    before = review_schedule.cards(store.records(), date.today()).get(id)
    if before is None:
        return [f"It lies in no box yet, so this does not count: pass it once with `{result.exercise.check_line}`."]
    try:
        fields = dict(state=result.state, property=result.failed_property, mistake=result.mistake)
        store.append("review", exercise=id, **fields)
    except store.StoreError as err:
        return [f"Note: {err}."]
    today = date.today()
    return [told(before, review_schedule.cards(store.records(), today)[id], today)]


def told(before: Card, after: Card, today: date) -> str:
    """What a review did to a card."""
    when = f"in {_days(after.interval)}, on {day(after.due)}"
    if after.reviews == before.reviews:
        why = "The day's first answer counts" if today in after.reviews else "It was not due, so this changes nothing"
        return f"{why}: box {after.box} of {len(INTERVALS)}, next on {day(after.due)}."
    if after.box > 1:
        return f"Box {after.box} of {len(INTERVALS)}: it comes again {when}."
    return f"Back to box 1: it comes again {when}."


class _Chapter:
    """The exercises of one chapter as attributes."""

    def __init__(self, chapter):
        self._chapter = chapter

    def __getattr__(self, name: str) -> Again:
        return Again(getattr(self._chapter, name))

    def __dir__(self):
        return dir(self._chapter)

    def __repr__(self):
        return repr(self._chapter)


class _Review:
    """`review()` shows what is due; its attributes are the chapters; `boxes()` and `mistakes()` are chapter 15's."""

    def __call__(self) -> Due:
        """Show what is due today, and how much comes back when."""
        return render.show(Due())

    def mistakes(self) -> Mistakes:
        """Show the mistakes made twice or more."""
        return render.show(Mistakes())

    def boxes(self) -> dict:
        """The boxes as `viz.plots.ch15.boxes` draws them; those of a made-up learner where nothing was passed yet."""
        today = date.today()
        mine = known(today)
        if mine:
            return review_schedule.boxes(mine.values(), today)
        made_up = review_schedule.boxes(review_sample.cards(today), today)
        return made_up | {"example": True, "told": f"An example: {made_up['told']}"}

    def __getattr__(self, name: str) -> _Chapter:
        return _Chapter(getattr(namespace.check, name))

    def __dir__(self):
        return [*namespace.chapters(), "boxes", "mistakes"]

    def __repr__(self):
        return Due().text()


review = _Review()


def day(of: date) -> str:
    """A date in words, as in "3 November 2026"."""
    return f"{of.day} {of:%B %Y}"


def _days(count: int) -> str:
    return "1 day" if count == 1 else f"{count} days"


def _exercises(count: int) -> str:
    return "1 exercise is" if count == 1 else f"{count} exercises are"


def _since(card: Card, today: date) -> str:
    late = (today - card.due).days
    return f"box {card.box}, due today" if late == 0 else f"box {card.box}, due for {_days(late)}"
