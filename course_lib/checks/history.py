"""What the log says about each exercise: attempts, passed or not, hints taken, solution seen, mistakes by name.

A review is a record of its own kind, "review": it changes no standing, and versions that do not know it skip it.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import NamedTuple

from course_lib.checks import store
from course_lib.checks.verdict import FAIL, NOT_ATTEMPTED, PASS


@dataclass
class Standing:
    """Where a learner stands with one exercise. `seen` counts only a solution read before the first pass."""

    attempts: int = 0
    passed: bool = False
    hints: int = 0
    seen: bool = False
    last: str = ""  # ISO time of the last event

    @property
    def state(self) -> str:
        """One of "passed", "passed, solution seen", "not yet", "solution seen", "not attempted"."""
        if self.passed:
            return "passed, solution seen" if self.seen else "passed"
        if self.seen:
            return "solution seen"
        return "not yet" if self.attempts else NOT_ATTEMPTED


def standings() -> dict[str, Standing]:
    """The standing of every exercise that the log mentions."""
    found: dict[str, Standing] = {}
    for record in sorted(store.records(), key=lambda r: r["at"]):
        exercise = record.get("exercise")
        if isinstance(exercise, str) and record["event"] in ("attempt", "hint", "solution"):
            _add(found.setdefault(exercise, Standing()), record)
    return found


def _add(standing: Standing, record: dict) -> None:
    standing.last = record["at"]
    if record["event"] == "hint":
        number = record.get("hint")
        standing.hints = max(standing.hints, number if isinstance(number, int) else 0)
    elif record["event"] == "solution":
        standing.seen = standing.seen or not standing.passed
    elif record.get("state") in (PASS, FAIL):
        standing.attempts += 1
        standing.passed = standing.passed or record["state"] == PASS


def standing(exercise_id: str) -> Standing:
    """The standing of one exercise."""
    return standings().get(exercise_id, Standing())


def next_hint(exercise_id: str) -> int:
    """The number of the hint that comes next; for an exercise that was passed, a review, only today's are counted."""
    known = standing(exercise_id)
    if not known.passed:
        return known.hints + 1
    today = date.today()
    return 1 + sum(e.kind == "hint" and e.exercise == exercise_id and e.day == today for e in events(store.records()))


class Event(NamedTuple):
    """One dated thing that happened to an exercise: an attempt, a review, a hint or a solution read."""

    at: datetime
    id: str
    kind: str
    exercise: str
    state: str
    mistake: str
    day: date  # on the learner's calendar


def events(records: Iterable[dict]) -> list[Event]:
    """The events of a log by their time; records that say nothing about an exercise are skipped.

    >>> events([{"id": "1", "at": "no date", "event": "attempt", "exercise": "ch01.scale"}])
    []
    """
    return sorted(filter(None, map(_event, records)), key=lambda e: (e.at, e.id))


def _event(record) -> Event | None:
    if not store.is_record(record) or record["event"] not in ("attempt", "review", "hint", "solution"):
        return None
    said = [record.get(key) for key in ("exercise", "state", "mistake")]
    exercise, state, mistake = (value if isinstance(value, str) else "" for value in said)
    try:
        at = datetime.fromisoformat(record["at"])
        at = at if at.tzinfo else at.replace(tzinfo=UTC)
        day = at.astimezone().date()
    except (ValueError, OverflowError, OSError):
        return None
    return Event(at, record["id"], record["event"], exercise, state, mistake, day) if exercise else None


class Mistake(NamedTuple):
    """A mistake by its name, how often it was made, and the exercises where."""

    name: str
    times: int
    exercises: tuple[str, ...]


def mistakes(records: Iterable[dict], least: int = 2) -> list[Mistake]:
    """The named mistakes made at least so often, the most frequent first.

    Who runs the same cell twice has made its mistake once: the same again on the same exercise and day does not count.
    """
    made: dict[str, list[str]] = {}
    last: dict[str, tuple] = {}
    for event in events(records):
        if event.kind not in ("attempt", "review") or event.state not in (PASS, FAIL):
            continue
        mistake = event.mistake if event.state == FAIL else ""
        if mistake and last.get(event.exercise) != (mistake, event.day):
            made.setdefault(mistake, []).append(event.exercise)
        last[event.exercise] = (mistake, event.day)
    found = [Mistake(name, len(where), tuple(dict.fromkeys(where))) for name, where in made.items()]
    return sorted((m for m in found if m.times >= least), key=lambda m: (-m.times, m.name))
