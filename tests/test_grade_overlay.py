"""`--source DIR`: a private folder laid over the course's sets, and numbers that differ from class to class."""

import json
import sqlite3
import subprocess
import sys
import zipfile
from contextlib import closing

import pytest
from test_release import cell

from course_lib.files import repository
from course_lib.grading import (
    check,
    cohort,
    cohort_rows,
    collect,
    export,
    feedback,
    insights,
    notebooks,
    overlay,
    release,
    source,
)
from course_lib.grading.generate import root_of

ROOT = repository()
PS01 = source.load(next((ROOT / "solutions").glob("ps01-*")))
KEY = {c.grade_id: notebooks.without_markers(c.source) for c in PS01.cells if c.solution and not c.grade}
SOLUTION = '''def spare_code(w, b):
    """The largest magnitude of w (n,) times {{factor}}; a Python float."""
    ### BEGIN SOLUTION
    the_private_secret_line = w.abs().max()
    return {{factor}} * the_private_secret_line.item()
    ### END SOLUTION'''
TEST = """import torch

from course_lib.grading import Checks, same

checks = Checks("q1", points=4)
with checks("a row of three"):
    same(spare_code(torch.tensor([1.0, -2.0, 0.5]), 4), 2.0 * {{factor}})
checks.result()
### BEGIN HIDDEN TESTS
from graded import ps01

ps01.score("q1", spare_code, factor={{factor}})
### END HIDDEN TESTS"""
Q1 = '''"""A private question."""

import torch

from course_lib.checks import Case
from course_lib.grading import Mistake, agrees, question


def exercise(seed, factor):
    def spare_code(w, b):
        """The largest magnitude of w, times the cohort's factor."""
        return factor * w.abs().max().item()

    rows = torch.randn(3, 8, generator=torch.Generator().manual_seed(seed))
    cases = [Case(f"row {n}", row, 4) for n, row in enumerate(rows)]
    forgot = Mistake("the factor forgotten", lambda w, b: w.abs().max().item(), "Multiply.", loses=("any row",))
    rows = agrees("any row", cases, "That is all.", points=4, rtol=1e-6)
    return question("ps01.q1", "Private", "…", spare_code, [rows], [forgot])
'''
HEAD = '''"""ps01 with a private q1."""

from course_lib.grading import scorer
from graded.ps01 import q1, q2, q3, q4, q5

MASKS = {"q3": ("course_lib.checks.ch01", "course_lib.checks.ch02")}


def build(seed, factor=2):
    return [q1.exercise(seed, factor), *(q.exercise(seed + 1000 * i) for i, q in enumerate((q2, q3, q4, q5)))]


score = scorer(build, 1)
'''
DECLARED = "[factor]\nlow = 2\nhigh = 99\ndefault = 2\n"
EXTRA = cell("markdown", "q1-more", "A hint for cohort {{factor}}.")


@pytest.fixture
def private(tmp_path):
    """A private folder that changes one question of ps01, and takes the written one away."""
    cells = [
        cell("markdown", "q1-text", "Multiply by {{factor}}."), EXTRA,
        cell("code", "q1", SOLUTION, grade_id="q1", solution=True),
        cell("code", "q1-test", TEST, grade_id="q1-test", grade=True, locked=True, points=4),
        cell("markdown", "explain", ""),
    ]  # fmt: skip
    home = tmp_path / "private"
    put(home / "solutions" / PS01.name / f"{PS01.notebook}.ipynb", json.dumps({"cells": cells}))
    put(home / "graded" / "ps01" / "q1.py", Q1)
    put(home / "graded" / "ps01" / "__init__.py", HEAD)
    put(home / "graded" / "ps01" / "cohort.toml", DECLARED)
    return home


def put(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def released(private, name=PS01.name):
    """{cell id: source} of what students of a private folder get."""
    made = notebooks.read(next((private / "exercises" / name).glob("*.ipynb")))
    return {raw["id"]: "".join(raw["source"]) for raw in made["cells"]}


def factor(text):
    """The number in "Multiply by 17."."""
    return int(text.split()[-1].rstrip("."))


# ---- release


def test_one_question_is_another_and_the_rest_is_the_courses(private, capsys):
    assert release.main(["ps01", "--source", str(private), "--cohort", "autumn"]) == 0, capsys.readouterr().err
    cells, public = released(private), {c.raw["id"]: source.released(c) for c in PS01.cells}
    number = factor(cells["q1-text"])
    assert f"cohort autumn: factor = {number}" in capsys.readouterr().out
    assert list(cells)[:6] == ["intro", "how", "setup", "q1-text", "q1-more", "q1"] and "explain" not in cells
    assert cells["q1-more"] == f"A hint for cohort {number}." and f"2.0 * {number}" in cells["q1-test"]
    theirs = {"q1-text", "q1-more", "q1", "q1-test"}
    assert {i: s for i, s in cells.items() if i not in theirs} == {
        i: s for i, s in public.items() if i not in theirs | {"explain"}
    }


def test_another_cohort_gets_other_numbers_until_something_is_graded(private, capsys):
    found = []
    for name in ("autumn", "spring", "autumn"):
        assert release.main(["ps01", "--source", str(private), "--cohort", name]) == 0
        found.append(factor(released(private)["q1-text"]))
    assert found[0] == found[2] != found[1]
    assert release.main(["ps01", "--source", str(private)]) == 0  # the cohort is known by now
    assert factor(released(private)["q1-text"]) == found[0]
    assert release.main(["--check", "ps01", "--source", str(private)]) == 0
    book = private / ".nbgrader" / "gradebook.db"
    with closing(sqlite3.connect(book)) as db:
        values = "insert into course_result values (1, ?, 'anna', 'h', 'm', '2026-01-01 00:00:00', '{}')"
        db.execute(values, [PS01.name])
        db.commit()
    put(private / "graded" / "ps01" / "cohort.toml", DECLARED.replace("99", "5000"))  # too late: this class has its own
    assert release.main(["ps01", "--source", str(private)]) == 0
    assert factor(released(private)["q1-text"]) == found[0]
    capsys.readouterr()
    assert release.main(["ps01", "--source", str(private), "--cohort", "spring"]) == 1
    assert "went out to cohort 'autumn'" in capsys.readouterr().err


def test_nothing_private_leaks(private, tmp_path, capsys):
    out = tmp_path / "course.zip"
    assert release.main(["ps01", "ps02", "--source", str(private), "--cohort", "autumn", "--bundle", str(out)]) == 0
    with zipfile.ZipFile(out) as packed:
        files = {name: packed.read(name) for name in packed.namelist()}
    inside = {name for name in files if "/exercises/" in name}
    assert {name.split("/")[2].split("-")[0] for name in inside} == {"ps01", "ps02"}  # the public one, too
    for data in [*files.values(), *(p.read_bytes() for p in (private / "exercises").rglob("*.ipynb"))]:
        assert b"the_private_secret_line" not in data and b"factor forgotten" not in data and b"{{factor}}" not in data
    assert not any("graded/" in name or "solutions/" in name for name in files)
    assert str(private).encode() not in b"".join(files.values())
    path = private / "solutions" / PS01.name / f"{PS01.notebook}.ipynb"
    leaky = SOLUTION.partition("    ### BEGIN")[2].partition("\n")[2].split("\n")[:2]
    broken = json.loads(path.read_text(encoding="utf-8"))
    broken["cells"][1]["source"] = "\n".join(leaky)
    put(path, json.dumps(broken))
    assert release.main(["ps01", "--source", str(private)]) == 1
    assert "has a line of the solution in cell 'q1-more'" in capsys.readouterr().err


def test_the_repository_is_as_it_was(private):
    ours = ROOT / "exercises" / PS01.name / f"{PS01.notebook}.ipynb"
    before = ours.read_bytes()
    assert release.main(["ps01", "--source", str(private)]) == 0
    assert ours.read_bytes() == before != next((private / "exercises").glob("ps01-*/*.ipynb")).read_bytes()


def test_a_set_of_ones_own_number_hides_the_courses(private):
    small = json.loads((private / "solutions" / PS01.name / f"{PS01.notebook}.ipynb").read_text(encoding="utf-8"))
    for name in ("ps02-mine", "exam-1"):
        put(private / "solutions" / name / "mine.ipynb", json.dumps(small | {"nbformat": 4, "nbformat_minor": 5}))
    found = overlay.opened(private).course.sets([])
    assert found == sorted(["exam-1", PS01.name, "ps02-mine", *public_sets()[2:]])


def public_sets():
    return sorted(path.name for path in (ROOT / "solutions").iterdir() if path.is_dir())


def test_nbgraders_own_pages_know_the_private_folder(private):
    course = overlay.opened(private).course
    assert overlay.opened(private / "solutions").course == course and course.root == private
    assert overlay.opened(ROOT).course == overlay.opened(None).course == overlay.opened(ROOT / "solutions").course
    assert [root_of(p) for p in (private, private / "solutions", ROOT, None)] == [private, private, ROOT, ROOT]


# ---- grade, from the release to the insights


@pytest.mark.sandbox
def test_a_class_is_graded_with_its_own_numbers(private, tmp_path, capsys):
    assert release.main(["ps01", "--source", str(private), "--cohort", "autumn"]) == 0
    number = factor(released(private)["q1-text"])
    right = f"def spare_code(w, b):\n    return {number} * w.abs().max().item()\n"
    answers = {"anna": right, "bert": right.replace(str(number), "1"), "carl": KEY["q1"]}
    for student, answer in answers.items():
        made = notebooks.read(private / "exercises" / PS01.name / f"{PS01.notebook}.ipynb")
        for raw in made["cells"]:
            raw["source"] = (KEY | {"q1": answer}).get(
                raw["metadata"].get("nbgrader", {}).get("grade_id"), raw["source"]
            )
        put(tmp_path / "in" / f"{student}.ipynb", json.dumps(made))
    assert check.main([str(tmp_path / "in" / "anna.ipynb"), "--source", str(private)]) == 0
    assert "5 of 5 questions" in capsys.readouterr().out
    assert collect.main(["ps01", str(tmp_path / "in"), "--source", str(private)]) == 0
    found = grade(tmp_path / "report.json", "--source", private)
    assert {s: e["score"] for s, e in found.items()} == {"anna": 20.0, "bert": 16.0, "carl": 16.0}
    assert insights.main(["ps01", "--source", str(private)]) == 0
    assert "1  the factor forgotten. Multiply." in capsys.readouterr().out
    assert feedback.main(["ps01", "--source", str(private)]) == 0
    page = next((private / ".nbgrader" / "feedback" / "bert").rglob("*.html")).read_text(encoding="utf-8")
    assert "the factor forgotten" in page and "the_private_secret_line" not in page
    assert export.main(["ps01", "--source", str(private), "--out", str(tmp_path / "grades.csv")]) == 0
    assert "anna" in (tmp_path / "grades.csv").read_text(encoding="utf-8-sig")
    recorded, graded = cohort_rows.recorded(f"sqlite:///{private}/.nbgrader/gradebook.db", PS01.name)
    assert recorded == ("autumn", {"factor": number}) and graded
    # another gradebook: the class's numbers come along, and the public set still is what it was
    other = ["--gradebook", f"sqlite:///{tmp_path}/other.db", "--submitted", private / ".nbgrader" / "submitted"]
    found = grade(tmp_path / "report.json", "--source", private, "--student", "anna", *other)
    assert found["anna"]["score"] == 20.0
    other[1] = f"sqlite:///{tmp_path}/public.db"
    found = grade(tmp_path / "report.json", "--student", "carl", *other)
    assert found["carl"]["score"] == 20.0 and found["carl"]["max_score"] == 20.0


def grade(report, *arguments):
    """{student: entry of the report} of `course grade ps01`."""
    command = [sys.executable, "-m", "course_lib", "grade", "ps01", "--json", report, *arguments]
    done = subprocess.run(list(map(str, command)), cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return {e["student"]: e for e in json.loads(report.read_text(encoding="utf-8"))["submissions"]}


# ---- what is refused, with one sentence each


DECLARATIONS = {
    "x = ": "is not TOML",
    "bits = 3": "[bits] needs a default",
    "[bits]\ndefault = 3": "either choices or low and high",
    "[bits]\ndefault = 3\nchoices = []": "needs choices that are a list",
    "[bits]\ndefault = 3\nlow = 5\nhigh = 4": "needs two whole numbers",
    "[factor]\ndefault = [1]\nlow = 2\nhigh = 4": "[factor] needs a default",
    "[bits]\ndefault = 3\nlow = 2\nhigh = 4": "asks for {{factor}}, which its cohort.toml does not declare",
}


@pytest.mark.parametrize("declared, why", DECLARATIONS.items(), ids=list(DECLARATIONS.values()))
def test_a_wrong_declaration_is_one_sentence(private, capsys, declared, why):
    put(private / "graded" / "ps01" / "cohort.toml", declared)
    assert release.main(["ps01", "--source", str(private)]) == 1
    said = capsys.readouterr().err
    assert why in said and said.count("\n") == 1


def test_other_wrong_calls_are_one_sentence(private, capsys):
    assert release.main(["ps01", "--cohort", "autumn"]) == 1
    (private / "solutions" / PS01.name / f"{PS01.notebook}.ipynb").rename(private / "solutions" / PS01.name / "x.ipynb")
    assert release.main(["--source", str(private)]) == 1
    said = capsys.readouterr().err.splitlines()
    assert "--cohort is for a private folder" in said[0] and "holds x.ipynb" in said[1] and len(said) == 2


# ---- the draw


def test_draws_are_spread_and_depend_on_nothing_but_the_names():
    declared = {"n": {"low": 1, "high": 4, "default": 1}, "m": {"choices": [3, 5, 6], "default": 3}}
    drawn = [cohort.draw(declared, "ps01", f"class {i}").values for i in range(2000)]
    for name, values in (("n", (1, 2, 3, 4)), ("m", (3, 5, 6))):
        counts = [sum(d[name] == v for d in drawn) for v in values]
        assert sum(counts) == 2000 and min(counts) > 2000 / len(values) * 0.85
    assert cohort.draw(declared, "ps01", "a") == cohort.draw(dict(reversed(declared.items())), "ps01", "a")
    assert {cohort.draw(declared, f"ps{i:02}", "a").values["n"] for i in range(40)} == {1, 2, 3, 4}
