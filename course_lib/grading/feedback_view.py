"""What a feedback page tells one student, taken from the gradebook and the graded notebook."""

import json
import re
from dataclasses import dataclass, field
from pathlib import Path

from course_lib.grading import history
from course_lib.grading.autograded import harmless, letters
from course_lib.grading.gradebook import Book, latest, total
from course_lib.grading.source import Assignment, released

LOST = re.compile(
    r"lost (?P<points>[\d.]+): (?P<name>.+?) \((?P<how>(?:not run|the result|Your function)[^()]*)\)\. ?(?P<why>.*)"
)
MISTAKE = re.compile(r"Likely mistake: (?P<name>.+?)\. (?P<words>.*)")
CHECK = re.compile(r"^  (?P<state>holds|not yet) +(?P<words>\S.*(?:\n {13}\S.*)*)", re.M)  # as visible.Checks says it


@dataclass
class Item:
    """One question: its points (None: a person has yet to give them), and what was said about the answer."""

    id: str
    title: str
    points: float | None
    of: float
    is_code: bool = True
    by_hand: bool = False  # a person has given the points
    lost: list[dict] = field(default_factory=list)  # points, name, how, why
    mistakes: list[dict] = field(default_factory=list)  # name, words
    said: list[str] = field(default_factory=list)  # every other reason
    checks: list[dict] = field(default_factory=list)  # the visible ones: state, words
    answer: str = ""
    comment: str = ""

    @property
    def is_full(self) -> bool:
        return self.points is not None and self.points >= self.of


@dataclass
class View:
    """A student's page."""

    title: str
    name: str
    student: str
    points: float | None
    of: float
    penalty: float
    status: str
    notes: list[str]
    items: list[Item]
    changes: list[history.Change]

    @property
    def waits(self) -> bool:
        """Whether a person has yet to give points."""
        return self.points is not None and any(item.points is None for item in self.items)


def view(book: Book, assignment: Assignment, student: str, notebook: Path) -> View:
    """A student's page. Errors: ValueError for somebody without a grade."""
    found = latest(book.db, assignment.name, student).get(student)
    if found is None:
        raise ValueError(
            f"{student} has no grade for {assignment.name} yet; run `course grade {assignment.short}` first."
        )
    result = found[2]
    submission = book.book.find_submission(assignment.name, student)
    by_cell = {grade.name: grade for nb in submission.notebooks for grade in nb.grades}
    comments = {c.name: c.comment or "" for nb in submission.notebooks for c in nb.comments}
    cells = _cells(notebook)
    items = [_question(q, result, by_cell[q.test.id], cells, assignment) for q in assignment.questions]
    items += [_written(w, by_cell[w.id], cells, assignment) for w in assignment.written]
    for item in items:
        item.comment = comments.get(item.id, "")
    person, changed = submission.student, history.changes(book.db, assignment.name, student)
    unscored = result["score"] is None and all(item.points is None for item in items)
    return View(
        title=title(assignment), name=" ".join(filter(None, [person.first_name, person.last_name])),
        student=student, points=None if unscored else total(book.db, submission), of=submission.max_score,
        penalty=submission.late_submission_penalty, status=result["status"],
        notes=list(map(harmless, result["notes"])), items=items,
        changes=[change for change in changed if change.matters],
    )  # fmt: skip


def _cells(notebook: Path) -> dict[str, tuple[str, str]]:
    """{grade id: (source, what was printed)} of the graded notebook; none where it is not there.

    Whoever opens it in JupyterLab and saves it turns its texts into lists of lines.
    """
    if not notebook.is_file():
        return {}
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    marked = [cell for cell in cells if "nbgrader" in cell["metadata"]]
    return {
        cell["metadata"]["nbgrader"]["grade_id"]:
        ("".join(cell["source"]), "".join("".join(o.get("text", "")) for o in cell.get("outputs", [])))
        for cell in marked
    }  # fmt: skip


def _question(question, result: dict, grade, cells: dict, assignment: Assignment) -> Item:
    reasons = next(q["reasons"] for q in result["questions"] if q["id"] == question.id)
    item = Item(question.id, _headings(assignment, question.id)[-1], _points(grade), grade.max_score)
    item.by_hand = grade.manual_score is not None
    for reason in map(harmless, reasons):
        lost, mistake = LOST.fullmatch(reason), MISTAKE.fullmatch(reason)
        if lost:
            item.lost.append(lost.groupdict())
        elif mistake:
            item.mistakes.append(mistake.groupdict())
        else:
            item.said.append(reason)
    source, said = cells.get(question.id, ("", ""))[0], cells.get(question.test.id, ("", ""))[1]
    item.answer = "" if source.split() == question.stub.split() else source
    item.checks = [{"state": c["state"], "words": " ".join(c["words"].split())} for c in CHECK.finditer(said)]
    return item


def _written(answer, grade, cells: dict, assignment: Assignment) -> Item:
    heading = _headings(assignment, answer.id)[-1]
    item = Item(answer.id, heading, _points(grade), grade.max_score, is_code=answer.is_code)
    item.by_hand = grade.manual_score is not None
    source = letters(cells.get(answer.id, ("", ""))[0])
    item.answer = "" if source.split() == answer.stub.split() else source
    return item


def _points(grade) -> float | None:
    return None if grade.manual_score is None and grade.auto_score is None else grade.score


def _headings(assignment: Assignment, until: str | None = None) -> list[str]:
    """The headings of the set, up to a cell."""
    found = []
    for cell in assignment.cells:
        if until and cell.grade_id == until:
            break
        if not cell.is_code and not cell.grade_id:
            found += re.findall(r"^#+ +(.+?)\s*$", released(cell), re.M)
    return found or [assignment.name]


def title(assignment: Assignment) -> str:
    """The set's own heading."""
    return _headings(assignment)[0]
