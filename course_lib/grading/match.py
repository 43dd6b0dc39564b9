"""Find a student's answers in whatever became of the notebook, and say what had to be repaired."""

import functools
import io
import re
import tokenize
from collections import Counter
from dataclasses import dataclass, field

from course_lib.grading.source import Assignment, Question

MAX_CELLS = 2000
MAX_SOURCE = 100_000  # characters of a cell; what the wire takes, in any script


@dataclass
class Found:
    """What a notebook holds: code cells to run, in order, and written answers by grade id."""

    cells: list["Code"] = field(default_factory=list)  # tests left out
    all: list["Part"] = field(default_factory=list)  # every cell, for people to read
    written: dict[str, str] = field(default_factory=dict)
    repairs: list[str] = field(default_factory=list)  # one sentence each; none for a notebook as it should be

    def of(self, question: Question) -> list["Code"]:
        """The cells that may be a question's answer: its own, or others that define its names."""
        own = [cell for cell in self.cells if cell.id == question.id]
        return own or [cell for cell in self.cells if any(defines(cell.source, name) for name in question.names)]

    def before(self, question: Question) -> list["Code"]:
        """The cells that a notebook runs before the question's test."""
        tests = [part.at for part in self.all if part.id == question.test.id]
        end = tests[-1] if tests else max((part.at for part in self.all), default=0) + 1
        last = max((cell.at for cell in self.of(question)), default=end)
        if last > end:  # the answer lies below its test
            end = last + 1
        return [cell for cell in self.cells if cell.at < end]


@dataclass
class Part:
    """One cell of a submission: its place, kind ("code", "markdown", "raw"), grade id (if known), source, outputs."""

    at: int
    kind: str
    id: str | None
    source: str
    outputs: list = field(default_factory=list)


Code = Part


def find(notebook: dict, assignment: Assignment) -> Found:
    """Match a notebook's cells with the assignment's: by grade id, then by cell id, then by what they define."""
    found = Found()
    cells, found.repairs = _cells(notebook)
    found.all = [_part(at, raw) for at, raw in enumerate(cells)]
    known = {cell.grade_id for cell in assignment.cells if cell.grade_id}
    for part, raw in zip(found.all, cells, strict=True):
        grade_id = _inside(raw, "metadata", "nbgrader", "grade_id")
        part.id = grade_id if isinstance(grade_id, str) and grade_id in known else None
    lost = known - {part.id for part in found.all}
    _by_cell_id(found, cells, assignment, lost)
    _by_content(found, assignment, lost)
    _duplicates(found)
    _kinds(found, assignment)
    tests = {question.test.id for question in assignment.questions}
    written = {answer.id for answer in assignment.written}
    code = [part for part in found.all if part.kind == "code" and part.id not in tests | written]
    found.cells = [part for part in code if len(part.source) <= MAX_SOURCE]
    for part in code:
        if len(part.source) > MAX_SOURCE:
            _say(found, f"Cell {part.id or part.at + 1} has {len(part.source):,} characters; it was left out.")
    found.written = {part.id: part.source for part in found.all if part.id in written}
    return found


def _cells(notebook: dict) -> tuple[list[dict], list[str]]:
    """The cells of a notebook of any format, and what that took."""
    repairs, cells = [], notebook.get("cells")
    if cells is None and isinstance(notebook.get("worksheets"), list):  # before nbformat 4
        repairs.append("The notebook is in an old format; it was converted.")
        cells = [c for sheet in notebook["worksheets"] if isinstance(sheet, dict) for c in sheet.get("cells") or []]
    kernel = _inside(notebook, "metadata", "kernelspec", "name")
    language = _inside(notebook, "metadata", "kernelspec", "language") or "python"
    if isinstance(kernel, str) and (language != "python" or not re.match(r"python(3|$)", kernel)):
        repairs.append("The notebook names another kernel; its code was run as Python 3.")
    good = [cell for cell in cells or [] if isinstance(cell, dict) and _text(cell) is not None]
    if len(good) != len(cells or []):
        repairs.append("Some cells are damaged; they were left out.")
    if len(good) > MAX_CELLS:
        repairs.append(f"The notebook has {len(good):,} cells; the first {MAX_CELLS:,} were read.")
    return good[:MAX_CELLS], repairs


def _inside(value, *keys):
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _text(raw: dict) -> str | None:
    source = raw.get("source", raw.get("input"))
    if isinstance(source, list) and all(isinstance(line, str) for line in source):
        return "".join(source)
    return source if isinstance(source, str) else None


def _part(at: int, raw: dict) -> Part:
    kind = raw.get("cell_type") if raw.get("cell_type") in ("code", "raw") else "markdown"
    outputs = raw.get("outputs")
    return Part(at, kind, None, _text(raw), outputs if kind == "code" and isinstance(outputs, list) else [])


def _by_cell_id(found: Found, cells: list[dict], assignment: Assignment, lost: set) -> None:
    """Metadata may be stripped, but the cells of a release keep their ids."""
    wanted = {cell.raw.get("id"): cell.grade_id for cell in assignment.cells if cell.grade_id in lost}
    for part, raw in zip(found.all, cells, strict=True):
        if part.id is None and isinstance(raw.get("id"), str) and raw["id"] in wanted:
            part.id = wanted[raw["id"]]
            lost.discard(part.id)
            _say(found, "The notebook has lost its cells' marks; they were found by other means.")


def _by_content(found: Found, assignment: Assignment, lost: set) -> None:
    """The last resort: a cell that defines what the question asks for, or that is a test as it was released."""
    for question in assignment.questions:
        if question.id in lost:
            for part in found.all:
                if part.kind == "code" and part.id is None and any(defines(part.source, n) for n in question.names):
                    part.id = question.id
                    lost.discard(question.id)
                    _say(found, "The notebook has lost its cells' marks; they were found by other means.")
        if question.test.id in lost:
            for part in found.all:
                if part.id is None and part.source.split() == question.test.released.split():
                    part.id = question.test.id
        if question.id in lost:
            _say(found, f"There is no cell {question.id}: is the notebook from another release?")


def _duplicates(found: Found) -> None:
    count = Counter(part.id for part in found.all if part.id)
    for name in sorted(name for name, n in count.items() if n > 1):
        _say(found, f"Cell {name} is there {count[name]} times; all were run, and the last one counts.")


def _kinds(found: Found, assignment: Assignment) -> None:
    """A solution is code, and a written answer is text, whatever the notebook says."""
    kinds = {question.id: "code" for question in assignment.questions}
    kinds |= {answer.id: "code" if answer.is_code else "markdown" for answer in assignment.written}
    for part in found.all:
        if part.id in kinds and part.kind != kinds[part.id]:
            part.kind = kinds[part.id]
            _say(found, f"Cell {part.id} had become another kind of cell; it was read as it was released.")


def _say(found: Found, sentence: str) -> None:
    if sentence not in found.repairs:
        found.repairs.append(sentence)


def defines(source: str, name: str) -> bool:
    """Whether a text seems to bind a name at its top level."""
    return re.search(rf"(?m)^(async\s+)?(def|class)\s+{name}\b|^{name}\s*(:[^=\n]*)?=[^=]", source) is not None


def unchanged(source: str, stub: str) -> bool:
    """Whether a cell is still as it was released, comments and white space aside.

    >>> unchanged("x = f()\\n\\n# later", "x = f( )"), unchanged("x = g()", "x = f()")
    (True, False)
    """
    return _tokens(source) == _tokens(stub)


@functools.lru_cache(maxsize=64)  # the same stubs for a whole class, and an answer is looked at more than once
def _tokens(source: str) -> list:
    left_out, found = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.ENDMARKER), []
    try:
        for token in tokenize.generate_tokens(io.StringIO(source).readline):
            if token.type == tokenize.ERRORTOKEN:  # no Python; and each open quote would be looked at to the line's end
                return [source]
            if token.type not in left_out:
                found.append((token.type, token.string if token.type != tokenize.INDENT else ""))
    except (tokenize.TokenError, SyntaxError, RecursionError):
        return [source]
    return found
