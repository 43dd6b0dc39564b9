"""A made-up learner, for a picture of boxes where the log is empty: five weeks, a chapter every four days."""

from datetime import UTC, date, datetime, time, timedelta

from course_lib.checks import namespace, review_schedule
from course_lib.checks.review_schedule import Card
from course_lib.checks.verdict import FAIL, PASS

DAYS, STEP = 35, 4  # since the first chapter; between two chapters
WEEKEND = 2  # of seven days without a review


def records(today: date) -> list[dict]:
    """Their log up to today: every third exercise goes wrong once, every fourth review fails."""
    first, log = today - timedelta(days=DAYS), []

    def add(exercise: str, event: str, **fields):
        at = datetime.combine(on, time(12, 0, len(log) % 60), UTC)
        log.append({"id": f"{len(log):06}", "at": at.isoformat(), "event": event, "exercise": exercise, **fields})

    for n in range(DAYS + 1):
        on = first + timedelta(days=n)
        found = review_schedule.cards(log, on).values() if n % 7 >= WEEKEND else ()
        for k, card in enumerate(review_schedule.chosen(found, on)):
            add(card.exercise, "review", state=FAIL if (n + k) % 4 == 0 else PASS)
        chapter = n // STEP
        for k, exercise in enumerate(namespace.every() if n % STEP == 0 else ()):
            if exercise.chapter == f"ch{chapter:02d}":
                if k % 3 == 0:
                    add(exercise.id, "attempt", state=FAIL, mistake=exercise.wrong[0].name)
                add(exercise.id, "attempt", state=PASS)
    return log


def cards(today: date) -> list[Card]:
    """Their cards."""
    return list(review_schedule.cards(records(today), today).values())
