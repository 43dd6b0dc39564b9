"""Does a text give away a solution or a hidden test?"""

import json
import re
from collections.abc import Iterable

from course_lib.grading import notebooks

MARKERS = ("BEGIN SOLUTION", "END SOLUTION", "BEGIN HIDDEN TESTS", "END HIDDEN TESTS")
HIDDEN_IMPORT = re.compile(r"(?m)^\s*(from|import) graded\b|\bps\d\d\.score\(")
LONG = 50  # characters after which a single line of a solution gives it away


def lines_of(text: str) -> list[str]:
    """The lines of a text that say something, with their white space made even; neither blank ones nor comments."""
    even = (" ".join(line.split()) for line in text.split("\n"))
    return [line for line in even if line and not line.startswith("#")]


def fingerprints(solution: str, size: int = 2) -> set[tuple[str, ...]]:
    """What identifies a solution: every run of `size` lines, every long line, and all of it where it is shorter.

    >>> sorted(fingerprints("q = round(w)\\nreturn q"))
    [('q = round(w)', 'return q')]
    """
    lines = lines_of(solution)
    runs = {tuple(lines[i : i + size]) for i in range(len(lines) - size + 1)}
    return (runs or {tuple(lines)} if lines else set()) | {(line,) for line in lines if len(line) >= LONG}


def find(secrets: Iterable[tuple[str, ...]], text: str) -> tuple[str, ...] | None:
    """The first of the fingerprints that the text contains, or None."""
    lines = lines_of(text)
    known = set(lines)
    for secret in sorted(secrets):
        if set(secret) <= known:
            n = len(secret)
            if any(tuple(lines[i : i + n]) == secret for i in range(len(lines) - n + 1)):
                return secret
    return None


def secrets_of(notebook: dict, size: int = 2) -> set[tuple[str, ...]]:
    """Fingerprints of all solutions and hidden tests of a source notebook."""
    found = set()
    for cell in notebooks.cells(notebook):
        for name in (notebooks.SOLUTION, notebooks.HIDDEN):
            found |= fingerprints("\n".join(notebooks.region(cell.source, name) or []), size)
    return found


def leak_in_notebook(notebook: dict, secrets: set[tuple[str, ...]]) -> str | None:
    """What a released notebook gives away, as a sentence without a subject, or None."""
    for cell in notebooks.cells(notebook):
        where = f"in cell {cell.grade_id or cell.raw.get('id')!r}"
        if any(marker in cell.source for marker in MARKERS):
            return f"has a BEGIN or END marker left {where}"
        if HIDDEN_IMPORT.search(cell.source):
            return f"has a hidden test {where}"
        secret = find(secrets, cell.source)
        if secret:
            return f"has a line of the solution {where}: {secret[0]!r}"
    return None


def leak_in_file(name: str, data: bytes, secrets: set[tuple[str, ...]]) -> str | None:
    """What any file gives away, as a sentence without a subject, or None; notebooks are read cell by cell."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        return None  # weights, pictures
    if name.endswith(".ipynb"):
        try:
            return leak_in_notebook(json.loads(text), secrets)
        except (ValueError, KeyError, TypeError):
            pass  # no notebook: read as text
    secret = find(secrets, text)
    return f"has lines of a solution: {secret[0]!r}" if secret else None
