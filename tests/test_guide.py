"""The teacher's guide: its ten commands, run as they stand on a course of their own with a class of three."""

import csv
import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from course_lib.files import repository
from course_lib.grading import cohort, notebooks, source

ROOT = repository()
TEACHING = ROOT / "teaching"
GUIDE = (TEACHING / "README.md").read_text(encoding="utf-8")
PS01 = source.load(next((ROOT / "solutions").glob("ps01-*")))
KEY = {c.grade_id: notebooks.without_markers(c.source) for c in PS01.cells if c.solution and not c.grade}
HALF = "def spare_code(w, b):\n    s = w[w.abs().argmax()].item() / -(2 ** (b - 1)) or 1.0\n"
HALF += "    return torch.round(w / s).to(torch.int8), s\n"  # not clipped
ROSTER = """id,first_name,last_name,email,lms_user_id
anna,Anna,Lee,anna@example.edu,101
bert,Bert,Ito,bert@example.edu,102
carl,Carl,Orr,carl@example.edu,103
"""
DOWNLOADS = {
    "Anna Lee_11": KEY | {"explain": "Clipping pays at three bits."},
    "Bert Ito_12": KEY | {"q1": HALF},
    "Carl Orr_13": {},
}


def blocks(language):
    """The guide's blocks of one language."""
    return re.findall(rf"^```{language}\n(.*?)^```", GUIDE, re.M | re.S)


COMMANDS = blocks("sh")[0].splitlines()


def hand_in(folder, answers):
    notebook = notebooks.read(ROOT / "exercises" / PS01.name / f"{PS01.notebook}.ipynb")
    for raw in notebook["cells"]:
        raw["source"] = answers.get(raw["metadata"].get("nbgrader", {}).get("grade_id"), raw["source"])
    folder.mkdir(parents=True)
    (folder / "my homework.ipynb").write_text(json.dumps(notebook), encoding="utf-8")


class Teacher:
    """A copy of the course, and a shell in it."""

    def __init__(self, home):
        self.home = home
        for name in ("course_lib", "solutions", "graded", "exercises"):
            shutil.copytree(ROOT / name, home / name, ignore=shutil.ignore_patterns("__pycache__", ".*"))
        shutil.copy(ROOT / "nbgrader_config.py", home)
        (home / "roster.csv").write_text(ROSTER, encoding="utf-8")
        for student, answers in DOWNLOADS.items():
            hand_in(home / "downloads" / f"{student}_assignsubmission_file", answers)
        (home / "bin").mkdir()
        (home / "bin" / "course").write_text(
            f'#!/bin/sh\nexec "{sys.executable}" -m course_lib "$@"\n', encoding="utf-8"
        )
        (home / "bin" / "course").chmod(0o755)
        path = [home / "bin", Path(sys.executable).parent, os.environ["PATH"]]
        self.env = {**os.environ, "PATH": os.pathsep.join(map(str, path)), "PYTHONPATH": str(home)}

    def run(self, command):
        done = subprocess.run(command, shell=True, cwd=self.home, env=self.env, capture_output=True, text=True)
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr[-3000:]}"
        return done.stdout

    def python(self, code):
        done = subprocess.run([sys.executable, "-c", code], cwd=self.home, env=self.env, capture_output=True, text=True)
        assert done.returncode == 0, f"{code}\n{done.stderr[-3000:]}"
        return done.stdout

    def ask(self, question):
        """One row of the gradebook."""
        with closing(sqlite3.connect(self.home / ".nbgrader" / "gradebook.db")) as book:
            return book.execute(question).fetchone()


READ = """
from nbgrader.api import Gradebook
with Gradebook("sqlite:///.nbgrader/gradebook.db") as book:
    grade = book.find_grade("explain", "{notebook}", "{name}", "anna")
    grade.manual_score, grade.needs_manual_grade = 3, False
    book.db.commit()
"""


def test_there_are_ten_commands():
    assert len(COMMANDS) == 10 and all(line.split()[0] in ("course", "nbgrader") for line in COMMANDS)


@pytest.mark.sandbox
@pytest.mark.long
def test_the_ten_commands_from_the_release_to_the_grades(tmp_path):
    teacher, said = Teacher(tmp_path / "course"), {}
    for command in COMMANDS:
        if "feedback" in command:  # the guide says: now read the written answers
            read = READ.format(notebook=PS01.notebook, name=PS01.name)
            teacher.python(read)
        said[command.split()[1]] = teacher.run(command)
    assert "3 students, 3 on the roster" in said["collect"]
    assert re.search(r"anna +4 +4 +4 +4 +4 +20/20", said["grade"]) and re.search(r"bert +2 ", said["grade"])
    assert "1  not clipped." in said["insights"] and (teacher.home / "ps01.png").stat().st_size > 10_000
    assert (teacher.home / "course.zip").stat().st_size > 1e6
    pages = {path.parts[-3]: path.read_text(encoding="utf-8") for path in teacher.home.rglob("feedback/*/*/*.html")}
    assert (
        set(pages) == {"anna", "bert", "carl"} and "not clipped" in pages["bert"] and "not clipped" not in pages["anna"]
    )
    with open(teacher.home / "ps01-moodle.csv", encoding="utf-8-sig", newline="") as file:
        rows = [list(row.values()) for row in csv.DictReader(file)]
    scores = {"anna@example.edu": 23.0, "bert@example.edu": 18.0, "carl@example.edu": 0.0}
    assert {
        mail: score for mail, score in scores.items() if any(mail in r and str(score) in map(number, r) for r in rows)
    } == scores
    assert teacher.ask("select duedate from assignment")[0].startswith("2026-12-07 22:59")  # Berlin, in UTC
    extend, see = blocks("python")
    teacher.python(extend)
    assert teacher.ask("select count(*) from submitted_assignment where extension is not null") == (1,)
    said = teacher.python(see).splitlines()
    assert said[2].startswith("False the other end is clipped Failure(") and "inputs={'w': tensor(" in said[2]


def number(text):
    """A cell of a CSV file as a number's text, for 18 and 18.0 alike."""
    try:
        return str(float(text))
    except ValueError:
        return text


def test_the_cohorts_example_is_one():
    declared = cohort.read(blocks("toml")[0], "the guide")
    assert list(declared) == ["bits", "group"] and cohort.draw(declared, "ps01", "").values == {"bits": 4, "group": 8}


def test_links_lead_somewhere():
    for page in TEACHING.glob("*.md"):
        text = page.read_text(encoding="utf-8")
        anchors = {
            re.sub(r"[^\w -]", "", line).strip().lower().replace(" ", "-")
            for line in re.findall(r"^#+ (.*)$", text, re.M)
        }
        for target in re.findall(r"\]\(([^)]+)\)", text):
            path, _, anchor = target.partition("#")
            if not target.startswith("http"):
                assert not path or (TEACHING / path).exists(), f"{page.name}: {target}"
                assert path or anchor in anchors, f"{page.name}: {target}"
