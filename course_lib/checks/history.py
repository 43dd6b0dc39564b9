"""What the log says about each exercise: attempts, passed or not, hints taken, solution seen."""

from dataclasses import dataclass

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
        standing.hints = max(standing.hints, record.get("hint", 0))
    elif record["event"] == "solution":
        standing.seen = standing.seen or not standing.passed
    elif record.get("state") in (PASS, FAIL):
        standing.attempts += 1
        standing.passed = standing.passed or record["state"] == PASS


def standing(exercise_id: str) -> Standing:
    """The standing of one exercise."""
    return standings().get(exercise_id, Standing())
