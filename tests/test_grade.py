"""`course grade` from end to end: a class graded by the command, nbgrader's feedback on it."""

import contextlib
import json
import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from course_lib.files import repository
from course_lib.grading import notebooks, source
from tests.registered import gradebook

ROOT = repository()
FOLDER = next((ROOT / "solutions").glob("ps01-*"))
PS01 = source.load(FOLDER)
QUESTIONS = ("q1", "q2", "q3", "q4", "q5")
REFERENCE = {c.grade_id: notebooks.without_markers(c.source) for c in PS01.cells if c.solution and not c.grade}
pytestmark = pytest.mark.sandbox

HALF = "def spare_code(w, b):\n    s = w[w.abs().argmax()].item() / -(2 ** (b - 1)) or 1.0\n"
HALF += "    return torch.round(w / s).to(torch.int8), s\n"  # not clipped
LEAKY = "def split_error(w, s, b):\n    raise ValueError(str(w.tolist()))\n"


def hand_in(submitted, student, answers=REFERENCE):
    """A submission made from the released notebook."""
    notebook = notebooks.read(ROOT / "exercises" / PS01.name / f"{PS01.notebook}.ipynb")
    for raw in notebook["cells"]:
        raw["source"] = answers.get(raw["metadata"].get("nbgrader", {}).get("grade_id"), raw["source"])
    folder = submitted / student / PS01.name
    folder.mkdir(parents=True)
    (folder / f"{PS01.notebook}.ipynb").write_text(json.dumps(notebook), encoding="utf-8")


@pytest.fixture(scope="module")
def registered(tmp_path_factory):
    return gradebook(tmp_path_factory)


class Class:
    """A folder with submissions and a gradebook, and the command on it."""

    def __init__(self, path, registered):
        self.path, self.submitted, self.report = path, path / "submitted", path / "report.json"
        self.book = path / "gradebook.db"
        shutil.copy(registered, self.book)

    def start(self, *more):
        command = [sys.executable, "-m", "course_lib", "grade", "ps01", "--submitted", self.submitted]
        command += ["--gradebook", f"sqlite:///{self.book}", "--json", self.report, *more]
        return subprocess.Popen(
            list(map(str, command)), cwd=ROOT, env={**os.environ, "COURSE_TIME_LIMIT": "3"}, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def grade(self, *more):
        """Run the command to its end; {student: entry of the report}."""
        process = self.start(*more)
        self.said, self.complaints = process.communicate()
        self.status = process.returncode
        assert self.report.exists(), self.complaints
        found = json.loads(self.report.read_text(encoding="utf-8"))["submissions"]
        return {entry["student"]: entry for entry in found}

    def rows(self):
        """{student: how often a result was written}."""
        with contextlib.closing(sqlite3.connect(self.book)) as book:
            try:
                return dict(book.execute("select student, count(*) from course_result group by student"))
            except sqlite3.OperationalError:  # not there yet, or just being written
                return {}


@pytest.fixture(scope="module")
def graded(tmp_path_factory, registered):
    """A class of five, graded with two workers."""
    course = Class(tmp_path_factory.mktemp("class"), registered)
    hand_in(course.submitted, "anna", REFERENCE | {"explain": "<script>alert(1)</script>\n\n**so**"})
    hand_in(course.submitted, "bert", REFERENCE | {"q1": HALF, "q2": "while True:\n    pass", "q3": LEAKY})
    hand_in(course.submitted, "carl", {})
    hand_in(course.submitted, "dora")
    (course.submitted / "dora" / PS01.name / f"{PS01.notebook}.ipynb").write_text('{"cells": [')
    hand_in(course.submitted, "<b>emil", {"q5": REFERENCE["q5"]})
    course.found = course.grade("--workers", "2")
    return course


def points(entry):
    return {q["id"]: q["score"] for q in entry["questions"]}


def test_the_report(graded):
    found = graded.found
    assert list(found) == ["<b>emil", "anna", "bert", "carl", "dora"]
    assert [e["status"] for e in found.values()] == ["graded", "needs_manual", "graded", "graded", "unreadable"]
    assert [e["score"] for e in found.values()] == [4.0, 20.0, 10.0, 0.0, None]
    assert {(e["max_score"], e["assignment"]) for e in found.values()} == {(20.0, PS01.name)}
    assert points(found["anna"]) == dict.fromkeys(QUESTIONS, 4.0) | {"explain": None}
    assert points(found["bert"]) == {"q1": 2.0, "q2": 0.0, "q3": 0.0, "q4": 4.0, "q5": 4.0, "explain": None}
    assert set(points(found["dora"]).values()) == {None}


def test_reasons_name_the_property_and_the_mistake_and_no_hidden_case(graded):
    reasons = {q["id"]: q["reasons"] for q in graded.found["bert"]["questions"]}
    assert "lost 1: the other end is clipped" in reasons["q1"][0] and len(reasons["q1"]) == 3
    assert "Likely mistake: not clipped." in reasons["q1"][2]
    assert reasons["q2"] == ["Your cell did not end in time."]
    assert "raised ValueError" in reasons["q3"][0] and "[" not in " ".join(reasons["q3"])
    assert all("Not attempted" in q["reasons"][0] for q in graded.found["carl"]["questions"][:5])


def test_table_and_exit_status(graded):
    assert graded.status == 3 and "20/20" in graded.said and "not readable, so not graded" in graded.said
    assert "JSON is damaged" in graded.said and "Traceback" not in graded.complaints


def test_the_gradebook_has_every_student_once(graded):
    assert len(graded.rows()) == 5 and set(graded.rows().values()) == {1}
    emil = next(name for name in graded.rows() if "emil" in name)
    assert "<" not in emil and emil in " ".join(graded.found["<b>emil"]["notes"])
    for student in graded.rows():
        assert len(list((graded.path / "autograded" / student).rglob("*.ipynb"))) == 1


def test_nbgraders_feedback_shows_reasons_and_no_hidden_test(graded):
    config = {"root": graded.path, "db_url": f"sqlite:///{graded.book}"}
    options = [f"--CourseDirectory.{name}={value}" for name, value in config.items()]
    command = [sys.executable, "-m", "nbgrader", "generate_feedback", PS01.name, *options]
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"  # nbgrader calls alembic by name
    done = subprocess.run(command, cwd=graded.path, env={**os.environ, "PATH": path}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    pages = {p.parts[-3]: p.read_text(encoding="utf-8") for p in (graded.path / "feedback").rglob("*.html")}
    assert set(pages) == set(graded.rows())
    assert "Likely mistake: not clipped." in pages["bert"] and "Your function raised ValueError" in pages["bert"]
    for text in pages.values():
        for secret in ("graded import", "ps01.score", str(ROOT), str(graded.path), "<script>alert", sys.base_prefix):
            assert secret not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in pages["anna"]
