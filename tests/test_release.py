"""`course release`: what students get is what the sources say, and nothing of what they must not get."""

import ast
import json
import re
import shutil
import sqlite3
import zipfile
from pathlib import Path

import pytest

from course_lib.files import repository
from course_lib.grading import bundle, leaks, notebooks, release
from course_lib.grading.generate import Course, ReleaseError
from graded import ps01, ps02, ps03, ps04, ps05, ps06, ps07, ps08, ps09, ps10

ROOT = repository()
REFERENCE = """def double_scale(w, b):
    \"\"\"Twice the scale of w.\"\"\"
    ### BEGIN SOLUTION
    largest_magnitude = w.abs().max()
    steps_on_one_side = 2 ** (b - 1) - 1
    return 2 * largest_magnitude / steps_on_one_side
    ### END SOLUTION"""
TEST = """from course_lib.grading import Checks

checks = Checks("q1", points=3)
checks.result()
### BEGIN HIDDEN TESTS
from graded import ps77

ps77.score("q1", double_scale)
### END HIDDEN TESTS"""


def cell(kind, id, source, **graded):
    """A cell of a source notebook."""
    made = {"cell_type": kind, "id": id, "metadata": {}, "source": source}
    if graded:
        made["metadata"]["nbgrader"] = {"grade": False, "solution": False, "locked": False, "task": False,
                                        "schema_version": 3, **graded}  # fmt: skip
    return made | ({"outputs": [], "execution_count": None} if kind == "code" else {})


def source_notebook():
    """A small source notebook with one question and one written answer."""
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    written = "### BEGIN SOLUTION\nBecause the step doubles, so the error grows fourfold.\n### END SOLUTION"
    return {
        "cells": [
            cell("markdown", "text", "# Scales\n\nWrite it."),
            cell("code", "q1", REFERENCE, grade_id="q1", solution=True),
            cell("code", "q1-test", TEST, grade_id="q1-test", grade=True, locked=True, points=3),
            cell("markdown", "why", written, grade_id="why", grade=True, solution=True, points=2),
        ],
        "metadata": {"kernelspec": kernel, "widgets": {"state": "left over"}},
        "nbformat": 4,
        "nbformat_minor": 5,
    }


def write(notebook, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(notebook), encoding="utf-8")


@pytest.fixture
def course(tmp_path):
    """A teacher's own course folder with one problem set."""
    write(source_notebook(), tmp_path / "mine" / "solutions" / "ps77-small" / "ps77-small.ipynb")
    return Course(tmp_path / "mine" / "solutions")


def run(course, *arguments):
    return release.main([*arguments, "--source", str(course.source)])


def released(course):
    return course.exercises / "ps77-small" / "ps77-small.ipynb"


def change(course, edit):
    """Edit the source notebook of the small set."""
    path = course.source / "ps77-small" / "ps77-small.ipynb"
    notebook = json.loads(path.read_text(encoding="utf-8"))
    edit(notebook)
    write(notebook, path)


# ---- what comes out


def test_a_release_has_stubs_and_visible_tests_only(course, capsys):
    assert run(course) == 0
    out = capsys.readouterr()
    assert "ps77-small" in out.out and not out.err
    notebook = notebooks.read(released(course))
    text, solution, test, written = notebooks.cells(notebook)
    assert solution.source.endswith("    # YOUR CODE HERE\n    raise NotImplementedError()")
    assert test.source.endswith("checks.result()") and test.points == 3
    assert written.source == "YOUR ANSWER HERE"
    assert [raw["id"] for raw in notebook["cells"]] == ["text", "q1", "q1-test", "why"]
    assert set(notebook["metadata"]) == {"kernelspec", "language_info"}
    assert all(not raw.get("outputs") and not raw.get("execution_count") for raw in notebook["cells"])
    assert sorted(p.name for p in course.root.iterdir()) == [".nbgrader", "exercises", "solutions"]
    rows = sqlite3.connect(course.root / ".nbgrader" / "gradebook.db").execute("select name from assignment").fetchall()
    assert rows == [("ps77-small",)]


def test_releasing_twice_gives_the_same_bytes_and_check_agrees(course, capsys):
    assert run(course) == 0
    first, stamp = released(course).read_bytes(), released(course).stat().st_mtime_ns
    assert run(course, "ps77") == 0 and released(course).read_bytes() == first
    assert released(course).stat().st_mtime_ns == stamp
    assert run(course, "--check") == 0
    assert "1 problem set as released" in capsys.readouterr().out


def test_the_repository_is_released_and_leaks_nothing(capsys):
    assert release.main(["--check"]) == 0, capsys.readouterr().err


# ---- what is refused, with one sentence each


def grade(notebook, i):
    return notebook["cells"][i]["metadata"]["nbgrader"]


BROKEN = {
    "has the grade id 'q1' twice": lambda nb: grade(nb, 3).update(grade_id="q1"),
    "has the cell id 'text' twice": lambda nb: nb["cells"][1].update(id="text"),
    "has no test cell q1-test": lambda nb: nb["cells"].pop(2),
    "there is no solution cell of that name": lambda nb: grade(nb, 2).update(grade_id="q2-test"),
    "has no points": lambda nb: grade(nb, 2).update(points=0),
    "must be a locked code cell": lambda nb: grade(nb, 2).update(locked=False),
    "markers that do not pair up": lambda nb: nb["cells"][1].update(
        source=REFERENCE.replace("    ### END SOLUTION", "")
    ),
    "has no BEGIN SOLUTION": lambda nb: nb["cells"][1].update(source="x = 1"),
    "a marked region, but the cell is not marked": lambda nb: nb["cells"][0].update(source=REFERENCE),
    "must end with an expression": lambda nb: nb["cells"][2].update(
        source=TEST.replace("ps77.score", "x = ps77.score")
    ),
    "must be saved without outputs": lambda nb: nb["cells"][1].update(execution_count=3),
    "must have the kernelspec python3": lambda nb: nb["metadata"]["kernelspec"].update(name="mine"),
    "must be in nbformat 4.5": lambda nb: nb.update(nbformat_minor=4),
}


@pytest.mark.parametrize("sentence", BROKEN)
def test_a_broken_source_is_named(course, sentence):
    change(course, BROKEN[sentence])
    found = notebooks.folder_problems(course.source / "ps77-small")
    assert len([line for line in found if sentence in line]) == 1, found
    assert all(line.startswith("solutions/ps77-small: ps77-small.ipynb") for line in found)


def test_a_broken_source_changes_nothing(course, generated, capsys):
    release.swap(released(course).parent, generated["ps77-small"])
    before = released(course).read_bytes()
    change(course, lambda nb: nb["cells"].pop(2))
    assert run(course) == run(course, "--check") == 1
    assert capsys.readouterr().err.count("has no test cell q1-test.\n") == 2
    assert released(course).read_bytes() == before


def test_other_files_in_a_source_folder_are_refused(course, capsys):
    (course.source / "ps77-small" / "answers.txt").write_text("42")
    (course.source / "ps77-small" / ".ipynb_checkpoints").mkdir()
    assert run(course) == 1
    assert capsys.readouterr().err.splitlines() == [
        "solutions/ps77-small: answers.txt is no notebook, and nbgrader would hand it out."
    ]
    assert not course.exercises.exists()


def test_a_damaged_source_is_one_sentence(course, capsys):
    (course.source / "ps77-small" / "ps77-small.ipynb").write_text("{")
    assert run(course) == 1
    assert "cannot be read as a notebook" in capsys.readouterr().err


@pytest.mark.parametrize(
    "source",
    [
        "Hint: `steps_on_one_side = 2 ** (b - 1) - 1`\n\n    return 2 * largest_magnitude / steps_on_one_side",
        "    largest_magnitude = w.abs().max()\n\n    # then\n    steps_on_one_side  =  2 ** (b - 1) - 1",
        "Because the step doubles, so the error grows fourfold.",
    ],
)
def test_a_solution_in_a_public_cell_is_a_leak(course, capsys, source):
    source = source.replace("Hint: `steps", "steps").replace("`\n\n", "\n\n")
    change(course, lambda nb: nb["cells"][0].update(source=source))
    assert run(course) == 1
    assert "exercises/ps77-small/ps77-small.ipynb has a line of the solution in cell 'text'" in capsys.readouterr().err
    assert not course.exercises.exists()


def test_a_failed_generation_keeps_the_old_release(course, generated, capsys, monkeypatch):
    release.swap(released(course).parent, generated["ps77-small"])
    before = released(course).read_bytes()
    change(course, lambda nb: nb["cells"][0].update(source="# New"))
    monkeypatch.setattr("nbgrader.preprocessors.ComputeChecksums.preprocess", lambda *a: 1 / 0)
    assert run(course) == 1
    assert "nbgrader could not release ps77-small" in capsys.readouterr().err
    assert released(course).read_bytes() == before


def test_a_failed_write_keeps_the_old_release(course, generated, capsys, monkeypatch):
    release.swap(released(course).parent, generated["ps77-small"])
    before = released(course).read_bytes()
    change(course, lambda nb: nb["cells"][0].update(source="# New"))
    with monkeypatch.context() as patched:
        patched.setattr("os.replace", lambda *a: (_ for _ in ()).throw(OSError("disk full")))
        assert run(course) == 1
    assert "disk full" in capsys.readouterr().err
    assert released(course).read_bytes() == before and len(list(released(course).parent.iterdir())) == 1


DRIFT = {
    "is not what solutions/ gives": lambda f: f.write_bytes(f.read_bytes() + b" "),
    "is missing": lambda f: f.unlink(),
    "data.csv is not made from solutions/": lambda f: (f.parent / "data.csv").write_text("1"),
    "ps78/x.ipynb is not made from": lambda f: write({}, f.parent.parent / "ps78" / "x.ipynb"),
    "a BEGIN or END marker left": lambda f: edit(f, "# YOUR CODE HERE", "### BEGIN SOLUTION"),
    "has a hidden test": lambda f: edit(f, "# YOUR CODE HERE", "from graded import ps77"),
    "has a line of the solution": lambda f: edit(f, "raise NotImplementedError()", SOLVED),
}
SOLVED = "steps_on_one_side = 2 ** (b - 1) - 1\\n    return 2 * largest_magnitude / steps_on_one_side"


def edit(path, old, new):
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


@pytest.fixture(scope="module")
def generated(tmp_path_factory):
    """What the small set gives, by file name."""
    folder = tmp_path_factory.mktemp("generated")
    write(source_notebook(), folder / "solutions" / "ps77-small" / "ps77-small.ipynb")
    return release.prepare(Course(folder / "solutions"), ["ps77-small"])


@pytest.mark.parametrize("sentence", DRIFT)
def test_check_names_drift_and_leaks(course, generated, sentence):
    release.swap(released(course).parent, generated["ps77-small"])
    assert release.drift(course, ["ps77-small"], generated, everything=True) == []
    DRIFT[sentence](released(course))
    found = release.drift(course, ["ps77-small"], generated, everything=True)
    assert [line for line in found if sentence in line] and all(line.endswith(".") for line in found)


def test_check_fails_where_nothing_is_released(course, capsys):
    assert run(course, "--check") == 1
    assert capsys.readouterr().err == (
        "exercises/ps77-small/ps77-small.ipynb is missing: run `course release ps77-small`.\n"
    )


def test_release_removes_what_is_stale_in_a_set(course, generated):
    release.swap(released(course).parent, generated["ps77-small"])
    (released(course).parent / "old.ipynb").write_text("{}")
    release.swap(released(course).parent, generated["ps77-small"])
    assert [p.name for p in released(course).parent.iterdir()] == ["ps77-small.ipynb"]


def test_unknown_sets_and_folders_are_one_sentence(course, capsys, tmp_path):
    assert run(course, "ps99") == 1
    assert capsys.readouterr().err == "There is no problem set 'ps99'; there are ps77-small.\n"
    assert release.main(["--source", str(tmp_path / "nowhere")]) == 1
    assert "is not a folder" in capsys.readouterr().err


# ---- the students' archive


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """The archive of the repository as it is, and the same one written a second time."""
    course, out = Course(ROOT / "solutions"), tmp_path_factory.mktemp("archive")
    names = course.sets([])
    secrets = release._secrets(course, names, size=3)
    for name in ("one.zip", "two.zip"):
        bundle.write(out / name, ROOT, course.exercises, names, secrets)
    return out


def test_the_archive_is_deterministic(archive):
    assert (archive / "one.zip").read_bytes() == (archive / "two.zip").read_bytes()


def test_the_archive_holds_the_course_and_nothing_of_the_teacher(archive):
    with zipfile.ZipFile(archive / "one.zip") as packed:
        names = [name.removeprefix("quantization-course/") for name in packed.namelist()]
    assert {"README.md", "Makefile", "requirements.lock", "course_lib/qtensor.py"} <= set(names)
    assert {f"exercises/{p.parent.name}/{p.name}" for p in (ROOT / "exercises").glob("*/*.ipynb")} <= set(names)
    assert not [
        n for n in names if n.split("/")[0] in ("solutions", "graded", "tests", ".git", "work", ".course", ".nbgrader")
    ]
    assert not [n for n in names if "__pycache__" in n or "checkpoints" in n or n.endswith((".pyc", ".db"))]


def test_the_archive_s_readme_links_to_what_is_there(archive):
    with zipfile.ZipFile(archive / "one.zip") as packed:
        names = {name.removeprefix("quantization-course/") for name in packed.namelist()}
        text = packed.read("quantization-course/README.md").decode("utf-8")
    links = re.findall(r"\]\(([^)#]+)", text)
    assert [link for link in links if "://" not in link and link not in names] == []
    assert "notebooks/glossary.md" in links and "**You learn alone.**" in text and "**You teach.**" not in text


def body(source):
    """The lines of its functions below their first lines and their docstrings."""
    lines = source.splitlines()
    functions = [node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef)]
    return "\n".join(line for node in functions for line in lines[node.body[0].end_lineno : node.end_lineno])


def test_no_file_of_the_archive_holds_lines_of_a_graded_reference(archive):
    sets = (ps01, ps02, ps03, ps04, ps05, ps06, ps07, ps08, ps09, ps10)
    references = [q.reference_source() for module in sets for q in module.build(module.SEED)]
    secrets = {secret for source in references for secret in leaks.fingerprints(body(source), size=3)}
    secrets |= {(q.wrong[0].diagnosis,) for module in sets for q in module.build(module.SEED)}
    seeds = [str(module.SEED) for module in sets]
    assert len(references) == 5 * len(sets) and len(secrets) > 60
    with zipfile.ZipFile(archive / "one.zip") as packed:
        for name in packed.namelist():
            data = packed.read(name)
            assert leaks.leak_in_file(name, data, secrets) is None, name
            text = data.decode("utf-8", errors="ignore").replace("_", "")
            assert not [seed for seed in seeds if seed in text], name


def test_a_solved_notebook_elsewhere_stops_the_archive(course, tmp_path):
    root = tmp_path / "repository"
    (root / "notebooks").mkdir(parents=True)
    shutil.copy(course.source / "ps77-small" / "ps77-small.ipynb", root / "notebooks" / "mine.ipynb")
    secrets = release._secrets(course, ["ps77-small"], size=3)
    with pytest.raises(ReleaseError, match="notebooks/mine.ipynb has a BEGIN or END marker"):
        bundle.write(tmp_path / "out.zip", root, course.exercises, [], secrets)
    (root / "notebooks" / "mine.ipynb").unlink()
    (root / "README.md").write_text(notebooks.without_markers(REFERENCE))
    with pytest.raises(ReleaseError, match="README.md has lines of a solution"):
        bundle.write(tmp_path / "out.zip", root, course.exercises, [], secrets)
    assert not (tmp_path / "out.zip").exists()


def test_bundle_writes_an_archive(course, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(bundle, "FOLDERS", ("exercises",))
    monkeypatch.setattr(release, "register", lambda *a: None)
    assert run(course, "--bundle", str(tmp_path / "course.zip")) == 0
    with zipfile.ZipFile(tmp_path / "course.zip") as packed:
        assert "quantization-course/exercises/ps77-small/ps77-small.ipynb" in packed.namelist()
    assert "for students" in capsys.readouterr().out


def test_bundle_into_a_missing_folder_is_one_sentence(course, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(release, "register", lambda *a: None)
    assert run(course, "--bundle", str(tmp_path / "no" / "course.zip")) == 1
    assert Path("no/course.zip").name in capsys.readouterr().err
