"""What has become of a student's score: each grading in the gradebook's own table, the first one included."""

import json
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select

from course_lib.grading.gradebook import RESULTS


@dataclass(frozen=True)
class Change:
    """One grading: when (UTC), the score before and after, what had changed, and the teacher's reason."""

    student: str
    at: datetime
    before: float | None
    after: float | None
    cause: str
    why: str

    @property
    def matters(self) -> bool:
        """Whether there is something to tell: another score, or a reason."""
        return self.before != self.after or bool(self.why)


def changes(db, assignment: str, student: str | None = None) -> list[Change]:
    """The gradings of an assignment after a student's first one, in their order; of all students or of one."""
    rows = select(RESULTS).where(RESULTS.c.assignment == assignment).order_by(RESULTS.c.id)
    earlier, found = {}, []
    for row in db.execute(rows if student is None else rows.where(RESULTS.c.student == student)):
        if row.student in earlier:
            found.append(_change(earlier[row.student], row))
        earlier[row.student] = row
    return found


def _change(old, new) -> Change:
    cause = "graded again"
    if old.hash != new.hash:
        cause = "another notebook was handed in"
    elif old.measure != new.measure:
        cause = "the tests or their hidden numbers have changed"
    result = json.loads(new.result)
    said = result.get("change", {"before": json.loads(old.result)["score"], "after": result["score"], "why": ""})
    return Change(new.student, new.graded_at, said["before"], said["after"], cause, said["why"])


def points(score: float | None) -> str:
    """A score in words: two decimals at most.

    >>> points(12.5), points(1 / 3), points(None)
    ('12.5', '0.33', 'no score')
    """
    return "no score" if score is None else f"{round(score, 2):g}"


def table(found: list[Change]) -> str:
    """The changes, a line each, for the teacher."""
    width = max((len(change.student) for change in found), default=0)
    lines = []
    for change in found:
        why = f'{change.cause}: "{change.why}"' if change.why else change.cause
        scores = f"{points(change.before)} → {points(change.after)}"
        lines.append(f"{change.student:{width}}  {change.at:%Y-%m-%d %H:%M} UTC  {scores:14}  {why}")
    return "\n".join(lines)
