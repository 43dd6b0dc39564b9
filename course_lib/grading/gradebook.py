"""nbgrader's gradebook as we write it: its tables for its own steps, and two of ours for seeds and results."""

import contextlib
import json
import os
import secrets
import sys
import warnings
from datetime import datetime, timezone
from pathlib import Path

import sqlalchemy
from sqlalchemy import BigInteger, Column, DateTime, Integer, MetaData, String, Table, Text, func, insert, select
from sqlalchemy.exc import SAWarning

from course_lib.grading import entries, quick
from course_lib.grading.source import Assignment

OURS = MetaData()
SEEDS = Table(
    "course_seed", OURS, Column("id", Integer, primary_key=True), Column("assignment", String(128), nullable=False),
    Column("seed", BigInteger, nullable=False), Column("drawn_at", DateTime, nullable=False),
)  # fmt: skip
RESULTS = Table(  # never changed, only added to: the latest row of a student counts, the others are the history
    "course_result", OURS, Column("id", Integer, primary_key=True), Column("assignment", String(128), nullable=False),
    Column("student", String(128), nullable=False), Column("hash", String(64), nullable=False),
    Column("measure", String(64), nullable=False), Column("graded_at", DateTime, nullable=False),
    Column("result", Text, nullable=False),
)  # fmt: skip


def now() -> datetime:
    """The time in UTC, as nbgrader stores it."""
    return datetime.now(timezone.utc).replace(tzinfo=None)


class Book:
    """An open gradebook; one writer at a time."""

    def __init__(self, url: str, config):
        quick.nbgrader()
        from nbgrader.api import Gradebook

        os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])  # alembic
        warnings.filterwarnings("ignore", category=SAWarning, module="nbgrader")  # nbgrader's, with this SQLAlchemy
        self.config = config
        self.book = Gradebook(url)
        self.db = self.book.db
        self.kept = ()  # what save need not read again
        OURS.create_all(self.book.engine)

    def close(self) -> None:
        self.book.close()

    def knows(self, assignment: Assignment) -> bool:
        """Whether the gradebook has the assignment's cells as they are now."""
        from nbgrader.api import MissingEntry

        try:
            notebook = self.book.find_notebook(assignment.notebook, assignment.name)
        except MissingEntry:
            return False
        graded = {cell.name: cell.max_score for cell in notebook.grade_cells}
        sources = {cell.name: cell.source for cell in notebook.source_cells}
        wanted = {q.test.id: q.test.points for q in assignment.questions}
        wanted |= {w.id: float(w.points) for w in assignment.written}
        tests = {cell.grade_id: cell.source for cell in assignment.cells if cell.grade and not cell.solution}
        return graded == wanted and all(sources.get(name) == source for name, source in tests.items())

    def seed(self, assignment: str, new: bool = False) -> int:
        """The assignment's secret seed: drawn once and kept, or drawn again."""
        latest = select(SEEDS.c.seed).where(SEEDS.c.assignment == assignment).order_by(SEEDS.c.id.desc())
        seed = self.db.execute(latest).scalars().first()
        if seed is None or new:
            seed = secrets.randbelow(2**31)
            self.db.execute(insert(SEEDS).values(assignment=assignment, seed=seed, drawn_at=now()))
            self.db.commit()
        return seed

    def results(self, assignment: str) -> dict[str, tuple[str, str, dict]]:
        """{student: (hash, measure, result)}, the latest of each who is in the class: our rows outlive who leaves."""
        from nbgrader.api import SubmittedAssignment

        handed_in = self.db.query(SubmittedAssignment.student_id)
        here = {student for (student,) in handed_in.filter(SubmittedAssignment.assignment.has(name=assignment))}
        return {student: row for student, row in _latest(self.db, assignment).items() if student in here}

    def save(
        self, assignment: Assignment, student: str, result: dict, content: str, measure: str, at=None, why: str = ""
    ) -> None:
        """Write one result: nbgrader's rows and ours in one transaction, so that it is there whole or not at all.

        The row also keeps what the score was and became, a person's points and lateness included, and `why`.
        """
        try:
            row = self._row(assignment.name)
            earlier = _latest(self.db, assignment.name, student).get(student, (None, None, None))[2]
            new = None if earlier else entries.write_first(self, row, student, result, at)
            before, after = new or self._again(assignment, student, result, at, earlier or {})
            kept = {key: value for key, value in result.items() if key != "notebook"}
            kept["change"] = {"before": before, "after": None if result["score"] is None else after, "why": why}
            self.db.execute(
                insert(RESULTS).values(
                    assignment=assignment.name, student=student, hash=content, measure=measure, graded_at=now(),
                    result=json.dumps(kept),
                )
            )  # fmt: skip
            self._commit(row)
        except BaseException:
            self.db.rollback()
            raise

    def _row(self, name: str):
        """nbgrader's row of an assignment."""
        known = self.kept[:1]
        return known[0] if known and known[0].name == name else self.book.find_assignment(name)

    def _again(self, assignment: Assignment, student: str, result: dict, at, earlier: dict) -> tuple:
        """Write a result with nbgrader's own objects; the points before, if there were any, and now."""
        submission = self._submission(assignment.name, student, at)
        before = total(self.db, submission) if earlier.get("score") is not None else None
        with self.db.no_autoflush:  # a new one's scores are then inserted with it
            notebook = next(one for one in submission.notebooks if one.notebook.name == assignment.notebook)
            entries.fill(notebook, result, earlier.get("texts", {}))
        self.db.flush()
        assign_penalty(self.db, self.config, submission)
        self.db.flush()
        return before, total(self.db, submission)

    def _submission(self, assignment: str, student: str, at):
        """nbgrader's row of a submission, and its student's; what is new is not written yet."""
        times = {"timestamp": at} if at else {}
        with self._commits_put_off():
            self.book.update_or_create_student(student)
            return self.book.update_or_create_submission(assignment, student, **times)

    @contextlib.contextmanager
    def _commits_put_off(self):
        """Within, what nbgrader commits becomes part of our transaction; a commit waits for the disk."""
        self.db.commit = lambda: None
        try:
            yield
        finally:
            del self.db.commit

    def _commit(self, assignment) -> None:
        """Commit and forget all about students, whom a person may grade meanwhile, but not the set's cells."""
        from nbgrader.api import BaseCell

        self.kept = assignment, *assignment.notebooks  # the session's own references are weak
        self.db().expire_on_commit = False
        try:
            self.db.commit()
        finally:
            self.db().expire_on_commit = True
        for one in list(self.db):
            if one in self.kept:
                self.db.expire(one, ["submissions", *["duedate"] * (one is assignment)])
            elif not isinstance(one, BaseCell):
                self.db.expire(one)

    def settle(self, assignment: str) -> None:
        """Take off what lateness costs by now: a person's points or an extension may have come after the grading."""
        settle(self.book, self.config, assignment)


def latest(db, assignment: str, student: str | None = None) -> dict[str, tuple[str, str, dict]]:
    """{student: (hash, measure, result)}, the latest of all or of one; none in a gradebook that is only nbgrader's."""
    there = sqlalchemy.inspect(db.get_bind()).has_table(RESULTS.name)
    return _latest(db, assignment, student) if there else {}


def _latest(db, assignment: str, student: str | None = None) -> dict[str, tuple[str, str, dict]]:
    last = select(func.max(RESULTS.c.id)).where(RESULTS.c.assignment == assignment).group_by(RESULTS.c.student)
    last = last if student is None else last.where(RESULTS.c.student == student)
    rows = db.execute(select(RESULTS).where(RESULTS.c.id.in_(last))).all()
    return {row.student: (row.hash, row.measure, json.loads(row.result)) for row in rows}


@contextlib.contextmanager
def opened(url: str, config):
    """A Book that is there already, closed in the end. Errors: ValueError for a file that is not there."""
    path = Path(url.removeprefix("sqlite:///"))
    if url.startswith("sqlite:///") and not path.is_file():
        raise ValueError(f"There is no gradebook {path}; `course grade` makes it.")
    book = Book(url, config)
    try:
        yield book
    finally:
        book.close()


def total(db, submission) -> float:
    """A submission's points as `nbgrader export` counts them: a person's included, less what lateness costs."""
    db.refresh(submission, ["score", "late_submission_penalty"])
    return max(0.0, submission.score - submission.late_submission_penalty)


def settle(gradebook, config, assignment: str) -> None:
    """The same for nbgrader's Gradebook."""
    for submission in gradebook.assignment_submissions(assignment):
        assign_penalty(gradebook.db, config, submission)
    gradebook.db.commit()


def assign_penalty(db, config, submission) -> None:
    """What nbgrader's plugin takes off for lateness, as its own autograde would do it."""
    due = submission.assignment.duedate is not None  # nbgrader stumbles over an extension of no date
    late = submission.total_seconds_late if due else 0
    for notebook in submission.notebooks:
        penalty = _penalty(db, config, submission, notebook, late) if late > 0 else None
        if notebook.late_submission_penalty != penalty:
            notebook.late_submission_penalty = penalty


def _penalty(db, config, submission, notebook, late: float) -> float | None:
    from nbgrader.preprocessors import AssignLatePenalties  # and with it nbconvert, which takes a third of a second

    rule = AssignLatePenalties(config=config)
    rule.init_plugin()
    db.refresh(notebook, ["score"])
    penalty = rule.plugin_inst.late_submission_penalty(submission.student.id, notebook.score, late)
    return penalty if penalty is None else rule._check_late_penalty(notebook, penalty)
