"""When an exercise comes again: Leitner's boxes, worked out from the log and the day, and nothing else.

    passed at the first try: box 3     after mistakes or hints: box 2     with the solution read: box 1
    when it is due: right and unaided, one box up; anything else, back to box 1
    box k waits INTERVALS[k − 1] days; between due days nothing counts, so that running a cell again changes nothing

Sebastian Leitner, "So lernt man lernen" (1972). Schemes that fit a curve to each card (SM-2, FSRS) need many graded
answers; an exercise is reviewed a handful of times, passed or not. Nor does the exact spacing seem to matter much:
Latimier, Peyre and Ramus (2021, doi:10.1007/s10648-020-09572-8) find spaced retrieval far better than massed
(g = 0.74), and growing gaps no better than equal ones (g = 0.03).
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import date, timedelta

from course_lib.checks import history
from course_lib.checks.verdict import FAIL, PASS

INTERVALS = (1, 3, 7, 21, 60)  # days that a box waits
MOST = 5  # reviews a day
HOW = {3: "at the first try", 2: "after mistakes or hints", 1: "with the solution read"}  # by the box it came into


@dataclass(frozen=True)
class Card:
    """One exercise that was passed, and the box that it lies in."""

    exercise: str
    passed: date  # on which day first
    first: int  # the box that it came into then
    box: int  # 1 … 5
    last: date  # when it came into its box
    reviews: tuple[date, ...] = ()  # the days whose review counted
    mistakes: tuple[str, ...] = ()  # the names of those made, each once

    @property
    def interval(self) -> int:
        """How many days its box waits."""
        return INTERVALS[self.box - 1]

    @property
    def due(self) -> date:
        """From which day on a review counts."""
        return self.last + timedelta(days=self.interval)

    def urgency(self, today: date) -> int:
        """Days since it fell due, the due day itself being 1; twice as much where a mistake has a name."""
        return (1 + (today - self.due).days) * (2 if self.mistakes else 1)


def cards(records: Iterable[dict], today: date) -> dict[str, Card]:
    """The card of every exercise passed by `today`, by its id; the order of the records does not matter.

    What is dated after today does not count yet: one of the two clocks was wrong.

    >>> passed = {"id": "1", "at": "2026-11-02T12:00:00+00:00", "event": "attempt", "exercise": "ch01.scale"}
    >>> cards([passed | {"state": "pass"}], date(2026, 11, 3))["ch01.scale"].due
    datetime.date(2026, 11, 9)
    """
    own: dict[str, list] = {}
    for event in history.events(records):
        if event.day <= today:
            own.setdefault(event.exercise, []).append(event)
    found = {exercise: _card(exercise, events) for exercise, events in own.items()}
    return {exercise: card for exercise, card in sorted(found.items()) if card is not None}


def _card(exercise: str, events: list) -> Card | None:
    """Walk through the events of one exercise; None while it was never passed."""
    card, first, names = None, 3, {}
    for event in events:
        if event.mistake and event.state == FAIL:
            names[event.mistake] = None
        if card is None:
            if event.kind == "attempt" and event.state == PASS:
                card = Card(exercise, event.day, first, first, event.day)
            elif event.kind == "solution":
                first = 1
            elif event.kind == "hint" or (event.kind == "attempt" and event.state == FAIL):
                first = min(first, 2)
        elif event.day >= card.due and _answers(event):
            card = _moved(card, event)
    return card and replace(card, mistakes=tuple(names))


def _answers(event) -> bool:
    """Does this say whether it is still known? An attempt in the chapter does not: that cell may just run again."""
    return event.kind in ("hint", "solution") or (event.kind == "review" and event.state in (PASS, FAIL))


def _moved(card: Card, event) -> Card:
    right = event.kind == "review" and event.state == PASS
    box = min(card.box + 1, len(INTERVALS)) if right else 1
    return replace(card, box=box, last=event.day, reviews=(*card.reviews, event.day))


def due(found: Iterable[Card], today: date) -> list[Card]:
    """Those that are due, the most urgent first."""
    return sorted((c for c in found if c.due <= today), key=lambda c: (-c.urgency(today), c.exercise))


def chosen(found: Iterable[Card], today: date) -> list[Card]:
    """Those to review today: at most MOST, less those that were."""
    found = list(found)
    done = sum(today in card.reviews for card in found)
    return due(found, today)[: max(0, MOST - done)]


def boxes(found: Iterable[Card], today: date) -> dict:
    """What a picture of the boxes takes: "marks", "intervals" in days, "told" in words, and "example".

    A mark is (box, days until due, chapter, how many), 0 days where it is due.
    """
    marks: dict[tuple, int] = {}
    for card in found:
        key = card.box, max(0, (card.due - today).days), card.exercise[2:4]
        marks[key] = marks.get(key, 0) + 1
    sizes = [sum(n for (box, *_), n in marks.items() if box == k + 1) for k in range(len(INTERVALS))]
    due = sum(n for (_, days, _), n in marks.items() if days == 0)
    told = ", ".join(f"{size} in box {k}" for k, size in enumerate(sizes, 1))
    told = f"Of {sum(sizes)} passed, {told}. {due} of them {'is' if due == 1 else 'are'} due."
    listed = [(*key, n) for key, n in sorted(marks.items())]
    return {"marks": listed, "intervals": INTERVALS, "told": told, "example": False}
