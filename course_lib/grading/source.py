"""The instructor's side of a problem set: its questions, their tests in two halves, and what students got."""

import ast
import re
from dataclasses import dataclass
from pathlib import Path

from course_lib.grading import notebooks
from course_lib.grading.notebooks import HIDDEN, SOLUTION, Cell

CODE_STUB = "# YOUR CODE HERE\nraise NotImplementedError()"
TEXT_STUB = "YOUR ANSWER HERE"


@dataclass(frozen=True)
class Test:
    """A test cell: its two halves as source, and the points that the second one is about."""

    id: str
    visible: str
    hidden: str
    points: float
    released: str


@dataclass(frozen=True)
class Question:
    """A solution cell with its test: `names` are what the cell defines, `stub` is what students found in it."""

    id: str
    names: tuple[str, ...]
    stub: str
    test: Test


@dataclass(frozen=True)
class Written:
    """An answer that a person reads."""

    id: str
    points: float
    stub: str
    is_code: bool


@dataclass(frozen=True)
class Assignment:
    """A problem set: the folder's name, the notebook's, and what is in it."""

    name: str
    notebook: str
    cells: tuple[Cell, ...]
    questions: tuple[Question, ...]
    written: tuple[Written, ...]

    @property
    def short(self) -> str:
        """The part of the name before the first hyphen, as in ps01; also the module below graded/."""
        return self.name.split("-")[0]

    @property
    def max_score(self) -> float:
        """The points that are given automatically."""
        return sum(question.test.points for question in self.questions)


def load(folder: Path) -> Assignment:
    """The assignment in a folder of solutions/. Errors: ValueError with one sentence."""
    paths = sorted(folder.glob("*.ipynb"))
    if len(paths) != 1:
        raise ValueError(f"{folder} must hold one notebook, and holds {len(paths)}.")
    return parse(notebooks.read(paths[0]), folder.name, paths[0].stem)


def parse(notebook: dict, name: str, stem: str) -> Assignment:
    """The assignment in a source notebook."""
    cells = tuple(notebooks.cells(notebook))
    by_id = {cell.grade_id: cell for cell in cells if cell.grade_id}
    questions = [_question(c, by_id[f"{c.grade_id}-test"]) for c in cells if c.solution and not c.grade]
    written = [Written(c.grade_id, c.points, released(c), c.is_code) for c in cells if c.solution and c.grade]
    return Assignment(name, stem, cells, tuple(questions), tuple(written))


def _question(cell: Cell, test: Cell) -> Question:
    visible, hidden = halves(test.source)
    return Question(
        cell.grade_id, defined(cell.source), released(cell),
        Test(test.grade_id, visible, hidden, float(test.points), released(test)),
    )  # fmt: skip


def halves(source: str) -> tuple[str, str]:
    """A test cell's source before and from its first hidden line, the second half with its line numbers kept.

    >>> halves("a = 1\\n### BEGIN HIDDEN TESTS\\nb = 2\\n### END HIDDEN TESTS")
    ('a = 1\\n', '\\n\\nb = 2\\n### END HIDDEN TESTS')
    """
    before, mark, after = source.partition(next((x for x in source.split("\n") if f"BEGIN {HIDDEN}" in x), "\0"))
    return (before, "\n" * before.count("\n") + after) if mark else ("", source)


def defined(source: str) -> tuple[str, ...]:
    """The names that a cell binds at its top level.

    >>> defined("import math\\ntop = 7\\ndef f(x):\\n    y = x")
    ('top', 'f')
    """
    names = []
    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.append(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names += [n.id for target in targets for n in ast.walk(target) if isinstance(n, ast.Name)]
    return tuple(dict.fromkeys(names))


def released(cell: Cell) -> str:
    """A cell's source as nbgrader releases it: solutions made stubs, hidden tests taken out."""
    lines, kept, skipping = cell.source.split("\n"), [], False
    for line in lines:
        if re.search(rf"BEGIN ({SOLUTION}|{HIDDEN})", line):
            skipping = True
            if f"BEGIN {SOLUTION}" in line:
                indent = line[: len(line) - len(line.lstrip())]
                kept += [indent + stub for stub in (CODE_STUB if cell.is_code else TEXT_STUB).split("\n")]
        elif re.search(rf"END ({SOLUTION}|{HIDDEN})", line):
            skipping = False
        elif not skipping:
            kept.append(line)
    return "\n".join(kept)
