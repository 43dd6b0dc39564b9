"""The graded notebook that nbgrader shows to teachers and students: no hidden test, nothing active, no path."""

import base64
import binascii
import functools
import html
import json
import re
import textwrap

from course_lib.grading.generate import KERNEL
from course_lib.grading.match import MAX_SOURCE, Found, Part
from course_lib.grading.source import Assignment, released

MAX_TEXT, MAX_IMAGE, MAX_OUTPUTS = 20_000, 2 * 2**20, 20
MAX_LINE, MAX_BLANK = 1000, 50  # of code: what colours words takes the square of their length
PICTURES = {"image/png": b"\x89PNG\r\n\x1a\n", "image/jpeg": b"\xff\xd8\xff"}
ODD = re.compile(r"[^\n\t -~]")  # what has to be looked at letter by letter
BOX = "white-space:pre-wrap;border-left:3px solid #56B4E9;padding:4px 8px"


def build(assignment: Assignment, found: Found | None, scores: dict, notes: list[str]) -> str:
    """The notebook as JSON text: the student's cells made harmless, the tests with their verdicts."""
    marked = {cell.grade_id: cell for cell in assignment.cells if cell.grade_id}
    ours = {released(cell).strip() for cell in assignment.cells if not cell.is_code and not cell.grade_id}
    parts = list(found.all) if found else []
    last = {part.id: part.at for part in parts if part.id}
    cells = [_markdown(shown("\n".join(notes)))] if notes else []
    for part in parts:
        is_marked = part.id in marked and last[part.id] == part.at
        cells.append(_marked(part, marked[part.id], assignment, scores) if is_marked else _own(part, ours))
    for name, cell in marked.items():
        if name not in last:
            stub = Part(-1, "code" if cell.is_code else "markdown", name, "" if found else released(cell))
            cells.append(_marked(stub, cell, assignment, scores))
    for number, cell in enumerate(cells):
        cell["id"] = f"cell-{number}"
    metadata = {"kernelspec": KERNEL, "language_info": {"name": "python"}}
    return json.dumps({"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5})


def _marked(part: Part, source, assignment: Assignment, scores: dict) -> dict:
    """A cell that nbgrader knows: a test with its verdict, a solution, a written answer."""
    question = next((q for q in assignment.questions if q.test.id == part.id), None)
    if question:
        cell = _code(question.test.released, _verdict(scores.get(question.id)))
    elif source.is_code:
        cell = _code(part.source, outputs(part.outputs))
    else:
        same = part.source.split() == released(source).split()
        cell = _markdown(released(source) if same else shown(part.source))
    cell["metadata"]["nbgrader"] = {
        "grade": source.grade, "grade_id": source.grade_id, "locked": source.locked, "solution": source.solution,
        "task": False, "schema_version": 3, "cell_type": "code" if source.is_code else "markdown",
    } | ({"points": source.points} if source.grade else {})  # fmt: skip
    return cell


def _own(part: Part, ours: set[str]) -> dict:
    """A cell without a mark: the instructor's text is rendered, everything else is shown letter by letter."""
    if part.kind == "code":
        return _code(part.source, outputs(part.outputs))
    return _markdown(part.source if part.source.strip() in ours else shown(part.source))


def shown(text: str) -> str:
    """A student's text as markdown that shows its letters and does nothing.

    >>> shown("<b onclick=x>")[-25:]
    '&lt;b onclick=x&gt;</pre>'
    """
    letters = html.escape(harmless(text[:MAX_TEXT])).replace("\n", "&#10;")
    return f'<pre style="{BOX}">{letters}</pre>' if text.strip() else ""


def letters(markdown: str) -> str:
    """The student's text in what `shown` has made of it; any other markdown as it is.

    >>> letters(shown("a < b\\nc"))
    'a < b\\nc'
    """
    inside = re.fullmatch(r"<pre style=[^>]*>(.*)</pre>", markdown, re.S)
    return html.unescape(inside[1]) if inside else markdown


def harmless(text: str) -> str:
    """A text without control characters, which a terminal would obey; colours of a traceback go whole."""
    if not ODD.search(text):
        return text
    text = re.sub(r"\x1b\[[0-9;]*m", "", text)
    return "".join(
        c if c.isprintable() or c in "\n\t" or c.isspace() and c > "\x7f" else "\ufffd" * (c != "\r") for c in text
    )


def _markdown(text: str) -> dict:
    return {"cell_type": "markdown", "metadata": {}, "source": text}


def _code(text: str, given: list) -> dict:
    source = _readable(harmless(text[:MAX_SOURCE]))
    return {"cell_type": "code", "metadata": {}, "source": source, "outputs": given, "execution_count": None}


def _readable(code: str) -> str:
    """Code without endless lines and endless blank ones."""
    lines = [line if len(line) <= MAX_LINE else f"{line[:MAX_LINE]} …" for line in code.split("\n")]
    kept, blank = [], 0
    for line in lines:
        blank = 0 if line.strip() else blank + 1
        if blank <= MAX_BLANK:
            kept.append(line)
    return "\n".join(kept)


def _stream(text: str) -> dict:
    return {"output_type": "stream", "name": "stdout", "text": harmless(text[:MAX_TEXT])}


def _verdict(score) -> list:
    """A test's outputs: what the visible half has printed, the reasons, the points."""
    if score is None:
        return [_stream("This question could not be graded automatically.\n")]
    said = "".join(f"{wrapped(line)}\n" for line in [*score.visible.splitlines(), *score.reasons])
    points = {"output_type": "execute_result", "execution_count": 1, "metadata": {}}
    points["data"] = {"text/plain": repr(score.points)}
    return [_stream(said), points] if said else [points]


@functools.lru_cache(maxsize=1000)  # a class's verdicts are much alike
def wrapped(line: str) -> str:
    """A line of output, broken where a page would have to be scrolled."""
    indent = " " * (13 if line.startswith("  ") else 4)  # below what the visible checks and the reasons begin with
    return textwrap.fill(line, 100, subsequent_indent=indent, break_on_hyphens=False, replace_whitespace=False)


def outputs(given: list) -> list:
    """A student's saved outputs, as far as they are text or pictures: a teacher reads them beside the answer."""
    found = []
    for output in given[:MAX_OUTPUTS]:
        if isinstance(output, dict):
            data = output.get("data") if isinstance(output.get("data"), dict) else {}
            picture = next((p for p in (_picture(kind, data.get(kind)) for kind in PICTURES) if p), None)
            text = _joined(output.get("text")) or _joined(data.get("text/plain")) or _joined(output.get("traceback"))
            if picture:
                found.append({"output_type": "display_data", "metadata": {}, "data": picture})
            elif text:
                found.append(_stream(text))
    return found


def _joined(value) -> str:
    lines = value if isinstance(value, list) else [value]
    return "".join(line for line in lines if isinstance(line, str))


def _picture(kind: str, value) -> dict | None:
    """A picture, encoded anew; None for anything that does not begin as such a file does."""
    text = _joined(value)
    if not 0 < len(text) <= MAX_IMAGE:
        return None
    try:
        data = base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        return None
    return {kind: base64.b64encode(data).decode()} if data.startswith(PICTURES[kind]) else None
