"""The gradebook: nbgrader's own tables and readers on what we write, manual grades, lateness, seeds, whole writes."""

import json
from contextlib import closing
from datetime import datetime, timedelta

import pytest
from sqlalchemy import select
from traitlets.config import Config

from course_lib.files import repository
from course_lib.grading import entries, gradebook, results, source
from course_lib.grading.generate import Course, generate
from course_lib.grading.gradebook import RESULTS, Book
from course_lib.grading.results import Score
from course_lib.grading.submission import Submission

ROOT = repository()
FOLDER = next((ROOT / "solutions").glob("ps01-*"))
PS01 = source.load(FOLDER)


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    """A gradebook that knows the problem set."""
    folder = tmp_path_factory.mktemp("book")
    address = f"sqlite:///{folder}/gradebook.db"
    generate(Course(ROOT / "solutions"), PS01.name, folder / "release", address)
    return address


@pytest.fixture
def book(url):
    opened = Book(url, Config())
    yield opened
    opened.close()


def result(student, points=(4, 3, 2, 1, 0), written=True, status="graded"):
    """A result as the engine gives it."""
    scores = {q.id: Score(float(p)) for q, p in zip(PS01.questions, points, strict=True)}
    return results.entry(Submission(student), PS01, status, scores, []) | {"written": {"explain": written}}


def save(book, student, content="hash", **more):
    at = more.pop("at", None)
    book.save(PS01, student, result(student, **more), content, "measure", at)
    return book.book.find_submission(PS01.name, student)


def grades(book, student):
    found = book.book.find_submission_notebook(PS01.notebook, PS01.name, student).grades
    return {grade.name: (grade.auto_score, grade.manual_score, grade.needs_manual_grade) for grade in found}


def test_it_knows_the_set_and_notices_a_changed_one(book):
    assert book.knows(PS01)
    changed = source.parse({"cells": [c.raw for c in PS01.cells]}, PS01.name, PS01.notebook)
    assert book.knows(changed)
    test = next(c for c in changed.cells if c.grade_id == "q1-test")
    test.source += "\n# another test"
    assert not book.knows(changed)
    assert not book.knows(source.parse({"cells": []}, "ps99", "ps99"))


def test_scores_are_where_nbgrader_reads_them(book):
    submission = save(book, "anna")
    assert submission.score == 10 and submission.max_score == 25 and submission.needs_manual_grade
    assert grades(book, "anna")["q2-test"] == (3.0, None, False) and grades(book, "anna")["explain"] == (
        None,
        None,
        True,
    )
    assert save(book, "anna", written=False).needs_manual_grade is False
    assert grades(book, "anna")["explain"] == (0.0, None, False)
    comments = book.book.find_submission_notebook(PS01.notebook, PS01.name, "anna").comments
    assert [c.comment for c in comments if c.name == "explain"] == ["No response."]


def test_nbgraders_export_reads_it(book, tmp_path):
    from nbgrader.plugins import CsvExportPlugin

    save(book, "export", points=(4, 4, 4, 4, 4))
    plugin = CsvExportPlugin()
    plugin.to = str(tmp_path / "grades.csv")
    plugin.export(book.book)
    (line,) = [x for x in (tmp_path / "grades.csv").read_text().splitlines() if ",export," in x]
    assert line.endswith("20.0,0.0,20.0,25.0")


def test_a_persons_grades_survive_a_regrade(book):
    save(book, "berta")
    for grade in book.book.find_submission_notebook(PS01.notebook, PS01.name, "berta").grades:
        if grade.name == "explain":
            grade.manual_score, grade.needs_manual_grade = 3.5, False
        if grade.name == "q5-test":
            grade.manual_score, grade.extra_credit = 1.5, 0.5
    book.db.commit()
    submission = save(book, "berta", "other", points=(4, 4, 4, 4, 0))
    assert grades(book, "berta")["explain"] == (None, 3.5, False) and grades(book, "berta")["q5-test"][:2] == (0.0, 1.5)
    assert submission.score == 16 + 2 + 3.5 and not submission.needs_manual_grade


def test_what_a_person_does_between_two_results_counts(book, url):
    save(book, "ina")
    with closing(Book(url, Config())) as other:
        submission = other.book.find_submission(PS01.name, "ina")
        next(g for g in submission.notebooks[0].grades if g.name == "q1-test").manual_score = 1.5
        submission.assignment.duedate = datetime(2026, 5, 1)
        other.db.commit()
    assert save(book, "ben").assignment.duedate == datetime(2026, 5, 1)
    assert save(book, "ina", content="new").score == 7.5
    change = book.results(PS01.name)["ina"][2]["change"]
    assert (change["before"], change["after"]) == (7.5, 7.5)
    book.book.find_assignment(PS01.name).duedate = None
    book.db.commit()


def test_what_could_not_be_graded_is_marked_for_a_person_and_not_zero(book):
    bad = results.unreadable(Submission("carla"), PS01, "The file is empty.")
    bad.pop("notebook")
    book.save(PS01, "carla", bad, "hash", "measure")
    assert set(grades(book, "carla").values()) == {(None, None, True)}


def test_lateness_is_nbgraders_and_by_the_collectors_time(book, url):
    due = datetime(2026, 1, 2, 12)
    book.book.find_assignment(PS01.name).duedate = due
    book.db.commit()
    strict = Book(url, Config({"LateSubmissionPlugin": {"penalty_method": "zero"}}))
    assert save(strict, "dora", at=due + timedelta(hours=1)).late_submission_penalty == 10
    assert save(strict, "dora", at=due - timedelta(hours=1)).late_submission_penalty == 0
    strict.book.grant_extension(PS01.name, "dora", hours=2)
    assert save(strict, "dora", at=due + timedelta(hours=1)).late_submission_penalty == 0
    assert save(strict, "emil").late_submission_penalty == 0  # no time known
    strict.close()
    assert save(book, "fritz", at=due + timedelta(hours=1)).late_submission_penalty == 0  # the course's rule: none


def test_the_seed_is_kept_until_it_is_drawn_anew(book, url):
    first = book.seed(PS01.name)
    again = Book(url, Config())
    assert again.seed(PS01.name) == first == book.seed(PS01.name)
    second = again.seed(PS01.name, new=True)
    again.close()
    assert second != first and book.seed(PS01.name) == second and book.seed("ps02") not in (first, second)


def test_the_latest_result_counts_and_the_others_stay(book):
    save(book, "gerda", "one", points=(0, 0, 0, 0, 0))
    save(book, "gerda", "two", points=(4, 0, 0, 0, 0))
    content, measure, latest = book.results(PS01.name)["gerda"]
    assert (content, measure, latest["score"]) == ("two", "measure", 4)
    rows = book.db.execute(select(RESULTS).where(RESULTS.c.student == "gerda")).all()
    assert [json.loads(row.result)["score"] for row in rows] == [0, 4]


def test_a_result_is_written_whole_or_not_at_all(book, monkeypatch):
    save(book, "hans", "one", points=(1, 1, 1, 1, 1))

    def fail(_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(gradebook, "insert", fail)
        with pytest.raises(KeyboardInterrupt):
            save(book, "hans", "two", points=(4, 4, 4, 4, 4))
    assert book.results(PS01.name)["hans"][0] == "one"
    assert book.book.find_submission(PS01.name, "hans").score == 5


@pytest.mark.parametrize("status", ["graded", "failed"])
def test_a_first_result_is_the_rows_that_nbgraders_own_objects_write(book, monkeypatch, status):
    more = {"at": datetime(2026, 3, 1, 12), "status": status, "written": status == "graded"}
    quick = rows_of(save(book, f"quick-{status}", **more))
    monkeypatch.setattr(entries, "write_first", lambda *_: None)
    assert quick == rows_of(save(book, f"slow-{status}", **more)) and len(quick[2]) == 6
    changes = [json.loads(row.result)["change"] for row in book.db.execute(select(RESULTS).order_by(RESULTS.c.id))]
    assert changes[-1] == changes[-2]


def rows_of(submission):
    """What nbgrader's tables hold of a submission, ids aside."""

    def plain(row):
        columns = sorted(
            column.name for column in row.__table__.columns if column.name == "cell_id" or "id" not in column.name
        )
        return [(name, getattr(row, name)) for name in columns]

    (notebook,) = submission.notebooks
    by_cell = [sorted(map(plain, found), key=repr) for found in (notebook.grades, notebook.comments)]
    return plain(submission), plain(notebook), *by_cell


def test_a_write_that_fails_leaves_not_even_the_student(book, monkeypatch):
    def fail(*_):
        raise OSError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(entries, "_filled", fail)  # when the student and the submission are written already
        with pytest.raises(OSError):
            save(book, "late")
    assert "late" not in [student.id for student in book.book.students]
    assert save(book, "late").score == 10
