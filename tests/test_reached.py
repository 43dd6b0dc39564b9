"""Which cells a solved exercise reaches: on toy notebooks whose second cell is the exercise, and on every chapter."""

import builtins
from pathlib import Path

import nbformat
import pytest

from tests.reached import again, statements

CHAPTERS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))
SOLVED = "import torch\n\ndef f(x):\n    return torch.round(x)\n\ncheck(f)"


@pytest.mark.parametrize(
    "after, runs",
    [
        (["y = f(1)", "print(y)"], "11"),
        (["print(7)", "z = torch.ones(2)"], "00"),  # the exercise's imports are nobody's work
        (["y = f(1)", "y = 3\nprint(y)"], "10"),  # bound anew: what f had made is gone
        (["y = f(1)", "if x:\n    y = 3", "print(y)"], "111"),  # but perhaps not here
        (["a, b = f(1), 3", "print(b)", "print(a)"], "101"),
        (["a, b = 1, 2", "a, b = f(b), a", "print(b)"], "111"),
        (["kept = []", "kept.append(f(1))", "print(kept)"], "111"),
        (["kept = {}", "kept[0] = f(1)", "print(kept)"], "111"),
        (["import viz", "viz.show(f(1))", "viz.show(3)"], "110"),  # a module is not changed by a call
        (["w = 1", "w = 2", "y = f(w)"], "011"),  # only the last origin is needed
        (["w = [1]", "w.append(2)", "y = f(w)"], "111"),
        (["w = 1", "w += 1", "y = f(w)"], "111"),
        (["def g(x):\n    return h(x)", "def h(x):\n    return f(x)", "print(g(1))", "print(len('h'))"], "1110"),
        (["def g():\n    return w", "w = 3", "y = f(g())"], "111"),
        (["for k in range(3):\n    y = f(k)", "for k in range(2):\n    y = k\n    print(y)"], "10"),
        (["for k in (1, 2):\n    t = k\n    if t > f(k):\n        break", "print([k for k in range(t)])"], "11"),
        (["from course_lib import mine, viz", "yours = mine.pieces()", "viz.show(yours)", "viz.show(1)"], "1110"),
        (["from course_lib.checks import progress", "progress()"], "11"),
        (["from course_lib.checks.ch15.mine import smallest", "smallest()"], "11"),
        (["from course_lib.checks.ch07.tied import tied", "tied()"], "00"),
        (["%matplotlib inline", "y = f(1)"], "01"),
    ],
)
def test_what_runs_again(after, runs):
    found = again(["x = 1", SOLVED, *after], {1})
    assert "".join("01"[wanted] for wanted in found[2:]) == runs
    assert found[1]


def test_what_an_exercise_needs_runs_before_it():
    assert again(["from course_lib import check", "unused = 1", SOLVED], {2}) == [True, False, True]


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda p: p.stem)
def test_in_a_chapter_no_name_is_left_without_its_cell(path):
    code = [cell for cell in nbformat.read(path, 4).cells if cell.cell_type == "code"]
    solved = {n for n, cell in enumerate(code) if "exercise" in cell.metadata.get("tags", [])}
    runs, known = again([cell.source for cell in code], solved), {*dir(builtins), "get_ipython", "display"}
    assert solved and all(runs[n] for n in solved) and not all(runs)
    for cell in (cell for cell, wanted in zip(code, runs, strict=True) if wanted):
        for statement in statements(cell.source):
            assert statement.reads - statement.writes <= known, cell.id
            known |= statement.writes
    for cell, wanted in zip(code, runs, strict=True):
        assert wanted or "mine.pieces()" not in cell.source, cell.id
