"""Scores and comments of one submission as nbgrader's gradebook has them."""

from types import SimpleNamespace

from sqlalchemy import and_, insert, select


def fill(notebook, result: dict, texts: dict) -> None:
    """Scores and comments of one submitted notebook."""
    cells = notebook.notebook
    names = {c.id: c.name for c in (*cells.grade_cells, *cells.solution_cells, *cells.task_cells)}
    _grades(notebook, names, result, texts)
    _comments(notebook, names, result)


def _grades(notebook, names: dict, result: dict, texts: dict) -> None:
    """The automatic scores. A person's score stays; what nobody has scored yet is marked for a person.

    So is a written answer that is no longer the one of `texts`, which the person has read; its points stay.
    """
    scores = {f"{q['id']}-test": q["score"] for q in result["questions"]}
    for grade in notebook.grades:
        name = names[grade.cell_id]
        if name in result["written"]:
            touched = result["written"][name]
            new = result.get("texts", {}).get(name)
            changed = texts.get(name, new) != new
            grade.auto_score = None if touched else 0.0
            unread = touched if grade.manual_score is None else grade.needs_manual_grade or changed
            grade.needs_manual_grade = unread
        else:
            grade.auto_score = scores.get(name)
            grade.needs_manual_grade = grade.auto_score is None and grade.manual_score is None


def _comments(notebook, names: dict, result: dict) -> None:
    for comment in notebook.comments:
        name = names[comment.cell_id]
        if name in result["written"]:
            comment.auto_comment = None if result["written"][name] else "No response."


def write_first(book, row, student: str, result: dict, at) -> tuple[None, float] | None:
    """Write a student's first result of a set with plain INSERTs: nbgrader's objects take three times as long.

    row: nbgrader's Assignment. Returns (no points before, the points now), or None with nothing written for who has
    handed in before or is late, for several notebooks in one set, and where JupyterHub keeps the list of students.
    """
    from nbgrader.api import Student, SubmittedAssignment
    from nbgrader.utils import parse_utc

    at = parse_utc(at)
    late = at is not None and row.duedate is not None and at > row.duedate
    if late or len(row.notebooks) != 1 or book.book.authenticator:
        return None
    theirs = and_(SubmittedAssignment.student_id == Student.id, SubmittedAssignment.assignment_id == row.id)
    ask = select(Student.id, SubmittedAssignment.id).outerjoin(SubmittedAssignment, theirs)
    known = book.db.execute(ask.where(Student.id == student)).first()
    if known and known[1]:
        return None
    if not known:
        _insert(book, Student, id=student)
    grades = _insert_all(book, row, student, result, at)
    return None, max(0.0, sum(grade.auto_score or 0.0 for grade in grades))


def _insert_all(book, row, student: str, result: dict, at) -> list:
    """The rows of one submission; its grades."""
    from nbgrader.api import Comment, Grade, SubmittedAssignment, SubmittedNotebook, new_uuid

    cells, submission, notebook = row.notebooks[0], new_uuid(), new_uuid()
    grades = [_empty(cell, notebook) for cell in (*cells.grade_cells, *cells.task_cells)]
    comments = [_empty(cell, notebook) for cell in (*cells.solution_cells, *cells.task_cells)]
    fill(SimpleNamespace(notebook=cells, grades=grades, comments=comments), result, {})
    _insert(book, SubmittedAssignment, id=submission, assignment_id=row.id, student_id=student, timestamp=at)
    _insert(book, SubmittedNotebook, id=notebook, assignment_id=submission, notebook_id=cells.id)
    _insert(book, Grade, *(_filled(grade, "auto_score", "needs_manual_grade") for grade in grades))
    _insert(book, Comment, *(_filled(comment, "auto_comment") for comment in comments))
    return grades


def _empty(cell, notebook: str) -> SimpleNamespace:
    """A grade or a comment as nbgrader begins it."""
    new = {"auto_score": None, "manual_score": None, "needs_manual_grade": True, "auto_comment": None}
    return SimpleNamespace(cell_id=cell.id, notebook_id=notebook, **new)


def _filled(entry: SimpleNamespace, *names: str) -> dict:
    return {name: getattr(entry, name) for name in ("cell_id", "notebook_id", *names)}


def _insert(book, kind, *rows: dict, **row) -> None:
    if rows or row:
        book.db.execute(insert(kind.__table__), list(rows) or row)
