"""Which cells a solved exercise reaches: on toy notebooks whose second cell is the exercise, and on every chapter."""

import builtins
import itertools
from pathlib import Path

import nbformat
import pytest

from tests.reached import again, statements

CHAPTERS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))
PARTS = ("w = [1]", "w.append(len(w))", "w = w + [x]", "x = 3", "y = f(w[-1])", "y = w[0]")
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
        (["import viz", "viz.show(f(1))", "viz.show(3)"], "010"),  # a module is not changed by a call
        (["w = 1", "w = 2", "y = f(w)"], "001"),  # w is kept
        (["w = 1", "w = 2", "y = f(w)", "w = 3"], "0110"),  # only the last origin is needed
        (["w = 1", "y = f(w)", "w = 2", "z = f(w)"], "1111"),  # the first w would be in the way of the second
        (["w = [1]", "w.append(2)", "y = f(w)"], "001"),
        (["w = [1]", "w.append(2)", "y = f(w)", "w.append(3)"], "1110"),
        (["w = 1", "w += 1", "y = f(w)", "del w"], "1110"),
        (["w = [1]", "w.append(f(2))", "print(w)"], "111"),  # changed by a cell that runs again
        (["def g(x):\n    return h(x)", "def h(x):\n    return f(x)", "print(g(1))", "print(len('h'))"], "1110"),
        (["def g():\n    return w", "w = 3", "y = f(g())"], "001"),
        (["def g():\n    return w", "w = 3", "y = f(g())", "w = 4"], "0110"),
        (["for k in range(3):\n    y = f(k)", "for k in range(2):\n    y = k\n    print(y)"], "10"),
        (["for k in (1, 2):\n    t = k\n    if t > f(k):\n        break", "print([k for k in range(t)])"], "11"),
        (["from course_lib import mine, viz", "yours = mine.pieces()", "viz.show(yours)", "viz.show(1)"], "0110"),
        (["from course_lib.checks import progress", "progress()"], "01"),
        (["from course_lib.checks.ch15.mine import smallest", "smallest()"], "01"),
        (["from course_lib.checks.ch07.tied import tied", "tied()"], "00"),
        (["Bad = OSError", "try:\n    y = f(1)\nexcept Bad as error:\n    print(error)", "Bad = KeyError"], "110"),
        (["%matplotlib inline", "y = f(1)"], "01"),
    ],
)
def test_what_runs_again(after, runs):
    found, _ = again(["x = 1", SOLVED, *after], {1})
    assert "".join("01"[wanted] for wanted in found[2:]) == runs
    assert found[1]


def test_what_an_exercise_needs_is_kept_or_runs_before_it():
    cells = ["from course_lib import check", "unused = 1", SOLVED]
    assert again(cells, {2}) == ([False, False, True], {"check"})
    assert again([*cells, "check = None"], {2}) == ([True, False, True, False], set())


@pytest.mark.parametrize("unused", PARTS)
def test_the_second_run_has_the_values_of_the_first(unused):
    """On toy notebooks of four cells in any order: each that runs again says what it says when all of them run."""
    for chosen in itertools.permutations([part for part in PARTS if part != unused], 4):
        sources = ["w, x, y = [7], 8, 9", "def f(n):\n    return 0", *chosen]
        (run, kept), first, whole = again(sources, {1}), {}, {}
        for source in sources:
            exec(source, first)
        second = {name: first[name] for name in kept}
        sources[1] = "def f(n):\n    return n"
        for source, wanted in zip(sources, run, strict=True):
            want = said(source, whole)
            assert not wanted or said(source, second) == want, (chosen, run, kept)


def said(source, space):
    """What the names of a cell are after it has run."""
    exec(source, space)
    return {name: repr(space[name]) for name in "wxy" if name in source}


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda p: p.stem)
def test_in_a_chapter_no_name_is_left_without_its_cell(path):
    code = [cell for cell in nbformat.read(path, 4).cells if cell.cell_type == "code"]
    solved = {n for n, cell in enumerate(code) if "exercise" in cell.metadata.get("tags", [])}
    runs, known = again([cell.source for cell in code], solved)
    known |= {*dir(builtins), "get_ipython", "display"}
    assert solved and all(runs[n] for n in solved) and not all(runs)
    for cell in (cell for cell, wanted in zip(code, runs, strict=True) if wanted):
        for statement in statements(cell.source):
            assert statement.reads - statement.writes <= known, cell.id
            known |= statement.writes
    for cell, wanted in zip(code, runs, strict=True):
        assert wanted or "mine.pieces()" not in cell.source, cell.id
