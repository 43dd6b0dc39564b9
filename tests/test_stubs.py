"""The notebooks show every exercise exactly as it is defined: the stub, an empty line, the check line."""

import os
import re
from pathlib import Path

import nbformat
import pytest

from course_lib.checks import namespace

NOTEBOOKS = Path(__file__).resolve().parent.parent / "notebooks"


def notebook_of(chapter):
    """The chapter's notebook; without one the test is skipped, but in CI it fails."""
    found = sorted(NOTEBOOKS.glob(f"{chapter[2:]}-*.ipynb"))
    if not found:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(
            f"{chapter} has exercises, but no notebook yet"
        )
    assert len(found) == 1, f"two notebooks begin with {chapter[2:]}-"
    return nbformat.read(found[0], as_version=4)


def code_cells(notebook):
    return [cell.source.strip("\n") for cell in notebook.cells if cell.cell_type == "code"]


@pytest.mark.parametrize("exercise", namespace.every(), ids=lambda e: e.id)
def test_the_notebook_has_the_exercise_word_for_word(exercise):
    cells = code_cells(notebook_of(exercise.chapter))
    checking = [cell for cell in cells if f"check.{exercise.id}(" in cell]
    assert len(checking) == 1, f"{len(checking)} cells check {exercise.id}, one is needed"
    assert checking[0] == exercise.cell


@pytest.mark.parametrize("chapter", namespace.chapters())
def test_the_notebook_checks_nothing_that_does_not_exist(chapter):
    source = "\n".join(code_cells(notebook_of(chapter)))
    for chapter_name, name in re.findall(r"\bcheck\.(ch\d\d)\.(\w+)", source):
        namespace.find(f"{chapter_name}.{name}")


@pytest.mark.parametrize("chapter", [c for c in namespace.chapters() if c >= "ch01"])
def test_a_chapter_has_at_most_six_exercises_of_at_least_three_kinds(chapter):
    exercises = namespace.exercises(chapter).values()
    assert len(exercises) <= 6 and len({e.kind for e in exercises}) >= 3
