"""Every notebook runs from top to bottom, as it is and solved; it carries no outputs and keeps its cell ids."""

import functools
from pathlib import Path

import nbformat
import pytest

from course_lib.checks import namespace

ROOT = Path(__file__).parents[1]
CHAPTERS = sorted((ROOT / "notebooks").glob("*.ipynb"))
SETS = sorted((ROOT / "solutions").glob("*/*.ipynb")) + sorted((ROOT / "exercises").glob("*/*.ipynb"))
SECONDS = 600  # a cell's time limit: far above what is expected, since CI machines are shared


@functools.cache
def _exercises():
    return tuple(namespace.every())


def solve(notebook):
    """Replace the stub by the reference in every exercise cell; return how many there were."""
    found = 0
    for cell in notebook.cells:
        for exercise in _exercises():
            if cell.cell_type == "code" and cell.source.strip() == exercise.cell.strip():
                cell.source = f"{exercise.reference_source().strip()}\n\n{exercise.check_line}"
                found += 1
    return found


def run(notebook, folder):
    """Execute in a fresh kernel; return the text of all outputs, those on stderr apart."""
    from nbclient import NotebookClient

    NotebookClient(notebook, timeout=SECONDS, resources={"metadata": {"path": str(folder)}}).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    streams = [output for output in outputs if output.output_type == "stream"]
    return [o.text for o in streams if o.name == "stderr"], "\n".join(map(str, outputs))


@pytest.mark.parametrize("path", CHAPTERS + SETS, ids=lambda p: p.stem)
def test_the_file_is_clean(path):
    notebook = nbformat.read(path, as_version=nbformat.NO_CONVERT)
    nbformat.validate(notebook)
    ids = [cell["id"] for cell in notebook.cells]
    assert len(set(ids)) == len(ids)
    assert notebook.metadata.kernelspec.name == "python3" and "widgets" not in notebook.metadata
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert not cell.outputs and cell.execution_count is None, cell["id"]


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda p: p.stem)
def test_a_chapter_runs_unsolved(path, course_home):
    errors, outputs = run(nbformat.read(path, 4), path.parent)
    assert not errors
    assert "image/png" in outputs
    assert not (course_home / "my_quantizer").exists(), "nothing was solved, so nothing may be kept"


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda p: p.stem)
def test_a_chapter_runs_solved_and_every_exercise_passes(path, course_home):
    notebook = nbformat.read(path, 4)
    chapter = f"ch{path.name[:2]}"
    wanted = [exercise for exercise in _exercises() if exercise.chapter == chapter]
    assert solve(notebook) == len(wanted) > 0
    errors, _ = run(notebook, path.parent)
    assert not errors
    log = "".join(p.read_text() for p in course_home.glob("*.jsonl"))
    for exercise in wanted:
        assert exercise.id in log
    kept = {p.stem for p in (course_home / "my_quantizer").glob("*.py")}
    assert {exercise.id for exercise in wanted if exercise.piece} <= kept
