"""The grades of a class as rows: for spreadsheets, Canvas and Moodle.

Canvas (its GradebookImporter, 2026) wants "Student" first and "ID" second, "SIS User ID" and "SIS Login ID" after them,
then "Section", then a column called "Title (id)" for each assignment that it knows, and takes a row that begins with
"Points Possible" for the assignments' own points. It looks for a student by Canvas id, SIS id, login, and name.

Moodle (gradeimport_csv, 5.x) lets the teacher map the columns. Where a row names no user it takes the one of the row
before, and a user that it does not know ends the whole import, so such rows must not be written.
"""

import csv
import html
import io
from dataclasses import dataclass
from datetime import datetime

from course_lib.grading.gradebook import latest
from course_lib.grading.history import points

FORMULA = "=+-@\t\r＝＋－＠"  # what makes a spreadsheet calculate a cell (OWASP, "CSV injection")

MOODLE = {"email": "Email address", "username": "Username"}  # what to choose in its field "Map from"


@dataclass(frozen=True)
class Line:
    """One student's grade. score: what counts, or None where there is none; late: what was taken off for lateness."""

    student: str
    first: str
    last: str
    email: str
    lms: str  # the number that the learning management system gave the student, if the roster has it
    handed_in: datetime | None
    raw: float | None
    late: float
    score: float | None
    of: float
    questions: tuple[tuple[str, float | None, float], ...]  # (name, points, of)
    is_final: bool
    state: str

    @property
    def name(self) -> str:
        """Last name first, as both systems sort; the id where there is no name."""
        return ", ".join(filter(None, [self.last, self.first])) or self.student


def lines(gradebook, assignment: str) -> list[Line]:
    """Everybody in nbgrader's gradebook, by id; who has handed in nothing has no score, which is not zero."""
    found = latest(gradebook.db, assignment)
    handed_in = {s.student.id: s for s in gradebook.assignment_submissions(assignment)}
    most = gradebook.find_assignment(assignment).max_score
    return [
        _line(one, handed_in.get(one.id), found.get(one.id, (None, None, {}))[2], most)
        for one in sorted(gradebook.students, key=lambda student: student.id)
    ]


def _line(person, submission, result: dict, most: float) -> Line:
    grades = [grade for notebook in submission.notebooks for grade in notebook.grades] if submission else []
    grades.sort(key=lambda grade: (grade.cell_type != "code", len(grade.name), grade.name))
    questions = tuple((grade.name.removesuffix("-test"), _given(grade), grade.max_score) for grade in grades)
    none = all(score is None for _, score, _ in questions)
    late = submission.late_submission_penalty if submission else 0.0
    raw = None if none else submission.score
    is_final = not none and not submission.needs_manual_grade
    state = result.get("status", "not graded") if submission else "not handed in"
    texts = (person.first_name, person.last_name, person.email, person.lms_user_id)
    return Line(
        person.id, *(" ".join((text or "").split()) for text in texts), submission.timestamp if submission else None,
        raw, late, None if none else max(0.0, raw - late), most, questions, is_final,
        "graded" if is_final and state == "needs_manual" else state,
    )  # fmt: skip


def _given(grade) -> float | None:
    return None if grade.auto_score is None and grade.manual_score is None else grade.score


def safe(text: str) -> str:
    """A cell of text that no spreadsheet takes for a formula.

    >>> safe("=HYPERLINK(1)"), safe(" +49 30"), safe("O'Neill")
    ("'=HYPERLINK(1)", "' +49 30", "O'Neill")
    """
    return f"'{text}" if text.lstrip(" \n")[:1] in FORMULA and text.strip(" \n") else text


def plain(found: list[Line], assignment: str) -> list[list[str]]:
    """Everything, for a spreadsheet or a program."""
    names = max((line.questions for line in found), key=len, default=())
    header = ["assignment", "student", "last_name", "first_name", "email", "handed_in_utc", "status", "final",
              *(name for name, _, _ in names), "raw_score", "late_penalty", "score", "max_score"]  # fmt: skip
    rows = [header]
    for line in found:
        given = {name: score for name, score, _ in line.questions}
        at = f"{line.handed_in:%Y-%m-%d %H:%M:%S}" if line.handed_in else ""
        text = [safe(t) for t in (assignment, line.student, line.last, line.first, line.email)]
        scores = [given.get(name) for name, _, _ in names]
        rows.append([
            *text, at, line.state, "yes" if line.is_final else "no", *map(number, scores), number(line.raw),
            number(line.late), number(line.score), number(line.of),
        ])  # fmt: skip
    return rows


def canvas(found: list[Line], column: str) -> list[list[str]]:
    """Rows for Canvas's Gradebook, Import; who has no score is left out, and keeps what Canvas has."""
    of = number(found[0].of) if found else ""
    rows = [["Student", "ID", "SIS User ID", "SIS Login ID", "Section", safe(column)],
            ["    Points Possible", "", "", "", "", of]]  # fmt: skip
    for line in found:
        if line.score is not None:
            id, sis = (line.lms, "") if line.lms.isdecimal() else ("", line.lms)
            rows.append([safe(line.name), id, safe(sis), safe(line.student), "", number(line.score)])
    return rows


def moodle(found: list[Line], column: str, by: str = "email") -> list[list[str]]:
    """Rows for Moodle's Grades, Import, CSV file; only who has a score and can be found by `by` (email or username)."""
    rows = [[MOODLE[by], safe(column), safe(f"{column} (Feedback)")]]
    for line in found:
        if line.score is not None and identity(line, by):
            told = [f"{name}: {'–' if score is None else points(score)} of {points(of)}"
                    for name, score, of in line.questions]  # fmt: skip
            told += [f"late: −{points(line.late)}"] if line.late else []
            rows.append([identity(line, by), number(line.score), safe(html.escape("; ".join(told), quote=False))])
    return rows


def identity(line: Line, by: str) -> str:
    """What Moodle finds a student by; nothing where that is missing, or would have to be changed to be safe."""
    text = line.student if by == "username" else line.email
    return text if safe(text) == text and ("@" in text or by == "username") else ""


def number(value: float | None) -> str:
    """A number as both systems read it; an empty cell for none.

    >>> number(12.0), number(1 / 3), number(None)
    ('12', '0.3333', '')
    """
    return "" if value is None else f"{round(value, 4):.12g}"


def write(rows: list[list[str]], bom: bool = False) -> bytes:
    """The rows as CSV in UTF-8; with a byte-order mark Excel reads the letters beyond English right."""
    sink = io.StringIO()
    csv.writer(sink).writerows(rows)
    return sink.getvalue().encode("utf-8-sig" if bom else "utf-8")
