"""nbgrader's source notebooks: cells, the marked regions in them, and what is wrong with their form."""

import ast
import json
import re
from collections import Counter
from pathlib import Path

SOLUTION, HIDDEN = "SOLUTION", "HIDDEN TESTS"
IGNORED = {".ipynb_checkpoints"}  # nbgrader ignores it, too


class Cell:
    """One cell of a notebook with what nbgrader knows about it.

    >>> cell = Cell({"cell_type": "code", "source": ["s = 1\\n", "s"], "metadata": {}})
    >>> cell.source, cell.solution, cell.points
    ('s = 1\\ns', False, 0)
    """

    def __init__(self, raw: dict):
        self.raw = raw
        self.source = "".join(raw["source"])
        self.is_code = raw["cell_type"] == "code"
        graded = raw["metadata"].get("nbgrader", {})
        self.grade_id = graded.get("grade_id")
        self.grade, self.solution = graded.get("grade", False), graded.get("solution", False)
        self.locked, self.points = graded.get("locked", False), graded.get("points", 0)


def read(path: Path) -> dict:
    """The notebook as JSON. Errors: ValueError where the file is no notebook."""
    notebook = json.loads(Path(path).read_text(encoding="utf-8"))
    if not isinstance(notebook, dict) or not isinstance(notebook.get("cells"), list):
        raise ValueError(f"{Path(path).name} is not a notebook")
    return notebook


def cells(notebook: dict) -> list[Cell]:
    """All cells of a notebook."""
    return [Cell(raw) for raw in notebook["cells"]]


def region(source: str, name: str) -> list[str] | None:
    """The lines between `BEGIN name` and `END name`, all regions together; None where the markers do not pair up.

    >>> region("def f(x):\\n    ### BEGIN SOLUTION\\n    return x\\n    ### END SOLUTION", "SOLUTION")
    ['    return x']
    """
    inside, found = False, []
    for line in source.split("\n"):
        if f"BEGIN {name}" in line or f"END {name}" in line:
            if (f"BEGIN {name}" in line) == inside:
                return None
            inside = not inside
        elif inside:
            found.append(line)
    return None if inside else found


def without_markers(source: str) -> str:
    """The source without its lines that begin or end a solution.

    >>> without_markers("x = 1\\n### BEGIN SOLUTION\\ny = 2\\n### END SOLUTION")
    'x = 1\\ny = 2'
    """
    return "\n".join(line for line in source.split("\n") if not re.search(r"(BEGIN|END) SOLUTION", line))


def form_problems(path: Path) -> list[str]:
    """One sentence for each thing about a source notebook that would spoil its release."""
    try:
        notebook = read(path)
    except ValueError as error:
        return [f"{path.name} cannot be read as a notebook ({error})."]
    found = []
    if (notebook.get("nbformat"), notebook.get("nbformat_minor")) != (4, 5):
        found.append("must be in nbformat 4.5, which has cell ids")
    if notebook.get("metadata", {}).get("kernelspec", {}).get("name") != "python3":
        found.append("must have the kernelspec python3")
    all_cells = cells(notebook)
    found += [f"has the cell id {i!r} twice" for i in _twice(raw.get("id") for raw in notebook["cells"])]
    found += [f"has the grade id {i!r} twice" for i in _twice(c.grade_id for c in all_cells if c.grade_id)]
    if any(raw.get("outputs") or raw.get("execution_count") for raw in notebook["cells"]):
        found.append("must be saved without outputs")
    by_id = {cell.grade_id: cell for cell in all_cells if cell.grade_id}
    for cell in all_cells:
        found += _cell_problems(cell, by_id)
    return [f"{path.name} {sentence}." for sentence in found]


def _twice(names) -> list:
    return [name for name, count in Counter(names).items() if count > 1]


def _cell_problems(cell: Cell, by_id: dict) -> list[str]:
    solution, hidden = region(cell.source, SOLUTION), region(cell.source, HIDDEN)
    name = f"in cell {cell.grade_id or cell.raw.get('id')!r}"
    if solution is None or hidden is None:
        return [f"{name} has BEGIN and END markers that do not pair up"]
    if solution and not cell.solution or hidden and (not cell.grade or cell.solution):
        return [f"{name} has a marked region, but the cell is not marked for it in nbgrader's metadata"]
    if cell.solution and not solution:
        return [f"{name} has no BEGIN SOLUTION … END SOLUTION"]
    if cell.grade and not cell.points > 0:
        return [f"{name} has no points"]
    if cell.solution and not cell.grade:
        return [] if _is_test(by_id.get(f"{cell.grade_id}-test")) else [f"{name} has no test cell {cell.grade_id}-test"]
    return _test_problems(cell, name, by_id) if cell.grade and not cell.solution else []


def _is_test(cell: Cell | None) -> bool:
    return cell is not None and cell.grade and not cell.solution


def _test_problems(cell: Cell, name: str, by_id: dict) -> list[str]:
    tested = by_id.get(str(cell.grade_id).removesuffix("-test"))
    if tested is None or tested is cell or not tested.solution:
        return [f"{name} has a test, but there is no solution cell of that name without '-test'"]
    if not cell.is_code or not cell.locked:
        return [f"{name} must be a locked code cell"]
    first = next((n for n, line in enumerate(cell.source.split("\n"), 1) if f"BEGIN {HIDDEN}" in line), None)
    last = ast.parse(cell.source).body[-1]
    if first is None or not isinstance(last, ast.Expr) or last.lineno < first:
        return [f"{name} must end with an expression inside of its hidden tests: the points earned"]
    return []


def folder_problems(folder: Path) -> list[str]:
    """One sentence for each thing about a set's source folder that would leak or break; notebooks included."""
    paths = [path for path in sorted(folder.iterdir()) if path.name not in IGNORED]
    notebooks = [path for path in paths if path.is_file() and path.suffix == ".ipynb"]
    found = [f"{path.name} is no notebook, and nbgrader would hand it out." for path in paths if path not in notebooks]
    found += [] if notebooks else ["there is no notebook."]
    found += [sentence for path in notebooks for sentence in form_problems(path)]
    return [f"{folder.parent.name}/{folder.name}: {sentence}" for sentence in found]
