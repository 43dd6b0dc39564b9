"""Every notebook runs from top to bottom, as it is and then solved; it carries no outputs and keeps its cell ids."""

import contextlib
import functools
from pathlib import Path

import nbformat
import pytest

from course_lib.checks import namespace, store
from course_lib.checks.verdict import PASS
from tests.reached import again

ROOT = Path(__file__).parents[1]
CHAPTERS = sorted((ROOT / "notebooks").glob("*.ipynb"))
SETS = sorted((ROOT / "solutions").glob("*/*.ipynb")) + sorted((ROOT / "exercises").glob("*/*.ipynb"))
SECONDS = 600  # a cell's time limit: far above what is expected, since CI machines are shared


@functools.cache
def _exercises():
    return tuple(namespace.every())


def solve(notebook):
    """Replace the stub by the reference in every exercise cell; return the ids of those cells."""
    found = []
    for cell in notebook.cells:
        for exercise in _exercises():
            if cell.cell_type == "code" and cell.source.strip() == exercise.cell.strip():
                cell.source = f"{exercise.reference_source().strip()}\n\n{exercise.check_line}"
                found.append(cell.id)
    return found


CLEAR = """
def _(names):
    kernel = get_ipython()
    kept = {{name: kernel.user_ns[name] for name in names}}
    kernel.run_line_magic("reset", "-f")
    kernel.user_ns.update(kept)


_({names})
"""


def leave_out_what_would_be_the_same(notebook, solved):
    """Clear the names; run the solved cells and those that they reach, with what others made kept or made anew."""
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    runs, kept = again([cell.source for cell in code], {n for n, cell in enumerate(code) if cell.id in solved})
    notebook.cells = [nbformat.v4.new_code_cell(CLEAR.format(names=sorted(kept)))]
    notebook.cells += [cell for cell, wanted in zip(code, runs, strict=True) if wanted]


@contextlib.contextmanager
def kernel(folder):
    """Yield run(notebook): execute it in one kernel, anew each time; its outputs' text, those on stderr apart."""
    from nbclient import NotebookClient

    here = {"metadata": {"path": str(folder)}}
    client = NotebookClient(nbformat.v4.new_notebook(), kernel_name="python3", timeout=SECONDS, resources=here)

    def run(notebook):
        client.nb = notebook
        client.execute(cleanup_kc=False)
        outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
        streams = [output for output in outputs if output.output_type == "stream"]
        return [o.text for o in streams if o.name == "stderr"], "\n".join(map(str, outputs))

    with client.setup_kernel():
        yield run


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
            at_once = "= predict(" in cell.source and ".outcome(" in cell.source  # the outcome before the guess
            assert not at_once, cell["id"]


def passed():
    """The exercises that the log calls passed."""
    return {record["exercise"] for record in store.records("attempt") if record["state"] == PASS}


@pytest.mark.long
@pytest.mark.parametrize("path", CHAPTERS, ids=lambda p: p.stem)
def test_a_chapter_runs_as_it_is_and_then_solved(path, course_home):
    """In one kernel, as a learner does; the second run is of the cells that a solved exercise can change.

    All names are cleared between, but for those whose last value these cells read and nothing changes any more.
    """
    chapter, unsolved, solved = f"ch{path.name[:2]}", nbformat.read(path, 4), nbformat.read(path, 4)
    wanted = [exercise for exercise in _exercises() if exercise.chapter == chapter]
    ids = solve(solved)
    assert len(ids) == len(wanted) > 0
    leave_out_what_would_be_the_same(solved, ids)
    with kernel(path.parent) as run:
        errors, outputs = run(unsolved)
        assert not errors
        assert "image/png" in outputs
        assert not (course_home / "my_quantizer").exists(), "nothing was solved, so nothing may be kept"
        assert not passed()
        errors, _ = run(solved)
    assert not errors
    assert passed() == {exercise.id for exercise in wanted}
    kept = {p.stem for p in (course_home / "my_quantizer").glob("*.py")}
    assert {exercise.id for exercise in wanted if exercise.piece} <= kept
