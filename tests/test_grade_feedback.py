"""Regrades that keep the old score, and the page that tells a student what was lost and why."""

import json

import pytest
from sqlalchemy import select
from traitlets.config import Config

from course_lib.files import repository
from course_lib.grading import history, results, source
from course_lib.grading.generate import Course, generate
from course_lib.grading.gradebook import RESULTS, Book
from course_lib.grading.results import Score
from course_lib.grading.submission import Submission

ROOT = repository()
PS01 = source.load(next((ROOT / "solutions").glob("ps01-*")))


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


def result(student, points=(4, 3, 2, 1, 0), status="graded", text="a"):
    """A result as the engine gives it."""
    scores = {q.id: Score(float(p)) for q, p in zip(PS01.questions, points, strict=True)}
    more = {"written": {"explain": True}, "texts": {"explain": text}}
    return results.entry(Submission(student), PS01, status, scores, []) | more


def save(book, student, content="one", measure="same", why="", **more):
    book.save(PS01, student, result(student, **more), content, measure, why=why)


def by_hand(book, student, points, name="explain", comment=None):
    """What the Formgrader writes when a teacher gives points and a comment."""
    notebook = book.book.find_submission_notebook(PS01.notebook, PS01.name, student)
    (grade,) = [grade for grade in notebook.grades if grade.name == name]
    grade.manual_score, grade.needs_manual_grade = points, False
    for found in notebook.comments:
        if comment and found.name == name:
            found.manual_comment = comment
    book.db.commit()


def unread(book, student):
    grades = book.book.find_submission_notebook(PS01.notebook, PS01.name, student).grades
    return {grade.name for grade in grades if grade.needs_manual_grade}


def test_the_old_score_the_new_one_and_the_reason_are_kept(book):
    save(book, "anna")
    assert history.changes(book.db, PS01.name, "anna") == []
    by_hand(book, "anna", 3.5)
    save(book, "anna", "two", points=(4, 4, 4, 4, 4), why="agreed by mail")
    save(book, "anna", "two", points=(4, 4, 4, 4, 4))
    save(book, "anna", "two", measure="new seed", points=(4, 4, 4, 4, 3))
    found = history.changes(book.db, PS01.name, "anna")
    assert [(c.before, c.after, c.why) for c in found] == [
        (13.5, 23.5, "agreed by mail"), (23.5, 23.5, ""), (23.5, 22.5, "")
    ]  # fmt: skip
    assert [c.cause.split()[0] for c in found] == ["another", "graded", "the"]
    assert [c.matters for c in found] == [True, False, True]
    assert '13.5 → 23.5     another notebook was handed in: "agreed by mail"' in history.table(found)
    assert {c.student for c in history.changes(book.db, PS01.name)} >= {"anna"}


def test_no_score_is_not_zero_in_the_history(book):
    bad = results.unreadable(Submission("bert"), PS01, "The file is empty.")
    book.save(PS01, "bert", bad, "one", "same")
    save(book, "bert", "two")
    (change,) = history.changes(book.db, PS01.name, "bert")
    assert (change.before, change.after) == (None, 10.0) and "no score → 10" in history.table([change])


def test_rows_from_before_there_was_a_history_are_read(book):
    save(book, "carl")
    save(book, "carl", points=(4, 4, 4, 4, 4))
    for row in book.db.execute(select(RESULTS).where(RESULTS.c.student == "carl")).all():
        old = json.loads(row.result)
        del old["change"]
        book.db.execute(RESULTS.update().where(RESULTS.c.id == row.id).values(result=json.dumps(old)))
    (change,) = history.changes(book.db, PS01.name, "carl")
    assert (change.before, change.after) == (10.0, 20.0)


def test_another_answer_keeps_its_points_and_is_marked_to_be_read_again(book):
    save(book, "dora")
    assert unread(book, "dora") == {"explain"}
    by_hand(book, "dora", 4.0)
    save(book, "dora")
    save(book, "dora", "two")
    assert unread(book, "dora") == set()
    save(book, "dora", "three", text="b")
    assert unread(book, "dora") == {"explain"} and book.book.find_submission(PS01.name, "dora").score == 14
    save(book, "dora", "three", text="b")  # a forced regrade does not forget it
    assert unread(book, "dora") == {"explain"}
    by_hand(book, "dora", 4.0)
    save(book, "dora", "three", text="b")
    assert unread(book, "dora") == set()
