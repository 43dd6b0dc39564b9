"""What becomes of one submission: points with reasons, and its entry in the report."""

from dataclasses import dataclass, field

from course_lib.grading import autograded
from course_lib.grading.source import Assignment
from course_lib.grading.submission import Submission


@dataclass
class Score:
    """A question's points, the reasons for those that were lost, and what the visible half has printed."""

    points: float
    reasons: list[str] = field(default_factory=list)
    visible: str = ""


def entry(handed_in: Submission, assignment: Assignment, status: str, scores: dict[str, Score], notes: list) -> dict:
    """A submission's entry in the report."""
    questions = [
        {"id": q.id, "score": scores[q.id].points if q.id in scores else None, "max_score": q.test.points,
         "reasons": scores[q.id].reasons if q.id in scores else []}
        for q in assignment.questions
    ]  # fmt: skip
    questions += [{"id": w.id, "score": None, "max_score": float(w.points), "reasons": []} for w in assignment.written]
    other = handed_in.account != handed_in.student
    notes = [*notes, *([f"In the gradebook this student is called {handed_in.account!r}."] if other else [])]
    total = sum(s.points for s in scores.values()) if scores else None
    return {
        "student": handed_in.student, "assignment": assignment.name, "status": status, "score": total,
        "max_score": assignment.max_score, "questions": questions, "notes": notes,
    }  # fmt: skip


def unreadable(handed_in: Submission, assignment: Assignment, problem: str, status: str = "unreadable") -> dict:
    """The entry of a submission that could not be graded: no score, which is not the same as zero."""
    notes = [*handed_in.repairs, *handed_in.notes, problem]
    result = entry(handed_in, assignment, status, {}, notes)
    result["written"] = {w.id: True for w in assignment.written}
    result["notebook"] = autograded.build(assignment, None, {}, notes)
    return result
