"""The learner's own quantizer: cells that passed, saved as files and loaded as functions.

A cell is saved after it has passed once more in a fresh namespace, which holds torch, math and the earlier pieces.
What it needs beyond that is asked into the cell.
"""

import contextlib
import io
import math
import re
from pathlib import Path

import torch

from course_lib.checks import cells, launched, limit, namespace, run, store
from course_lib.checks.verdict import PASS
from course_lib.files import course_home, write_atomic

HEADER = "# {id}: your answer, saved when it passed. It is a piece of your own quantizer.\n"
IMPORTS = "\nimport math\n\nimport torch\n\n\n"
KERNEL_IMPORTS = "\nimport triton\nimport triton.language as tl\n\n\n"
LOAD_S = 10.0


class Pieces:
    """The learner's functions as attributes; `whose[name]` says whether each is "yours" or "the course's"."""

    def __init__(self):
        self.whose: dict[str, str] = {}
        self.functions: dict[str, object] = {}

    def __getattr__(self, name: str):
        functions = self.__dict__.get("functions", {})
        if name in functions:
            return functions[name]
        raise AttributeError(f"no piece is called {name!r}; there are {', '.join(functions) or 'none yet'}")

    def __dir__(self):
        return list(self.functions)

    def __repr__(self):
        return "\n".join(f"{name}: {whose}" for name, whose in self.whose.items()) or "no pieces yet"


def folder() -> Path:
    """Where the learner's pieces lie."""
    return course_home() / "my_quantizer"


def keep(exercise, answer) -> str:
    """Save the cell that defines `answer`; returns the sentence to show."""
    source = cells.cell_of(answer)
    if source is None:
        return f"Your {exercise.piece} was not saved: its source cannot be found. Define it in a notebook cell."
    try:
        source = cells.without_checks(source)
    except SyntaxError:
        return f"Your {exercise.piece} was not saved: the cell holds more than Python. Give it a cell of its own."
    problem = trial(exercise, source)
    if problem:
        return f"Not saved for your own quantizer yet: {problem}"
    imports = KERNEL_IMPORTS if exercise.launch else IMPORTS
    folder().mkdir(parents=True, exist_ok=True)
    write_atomic(folder() / f"{exercise.id}.py", HEADER.format(id=exercise.id) + imports + source + "\n")
    store.append("piece", exercise=exercise.id, piece=exercise.piece)
    return f"Saved: {exercise.piece} is now a piece of your own quantizer."


def trial(exercise, source: str) -> str | None:
    """None when the source, run on its own, defines an answer that passes; else one sentence."""
    try:
        answer = define(exercise, source, load(before=exercise.id).functions)
    except _Broken as err:
        return _asked(str(err))
    judgement = exercise.judge(answer)
    if judgement.state == PASS:
        return None
    return _asked(judgement.first.failure.message if judgement.first else judgement.message)


def _asked(message: str) -> str:
    missing = re.search(r"name '(\w+)' is not defined", message)
    if missing:
        name = missing.group(1)
        return f"the cell uses {name} but does not define it. Put its import or its definition into this cell."
    return f"on its own, without your other cells, it does not work: {message}"


class _Broken(Exception):
    """A piece that cannot be run on its own; the message is one sentence."""


def define(exercise, source: str, earlier: dict):
    """Run a piece's source in a fresh namespace and return its function. Errors: `_Broken`."""
    scope = {"__name__": "my_quantizer", "torch": torch, "math": math, **earlier}
    scope |= launched.names() if exercise.launch else {}
    filename = f"<your {exercise.id}>"
    launched.remember(source, filename)

    def execute():
        exec(compile(source, filename, "exec"), scope)

    try:
        with contextlib.redirect_stdout(io.StringIO()):
            limit.within(execute, LOAD_S)
    except limit.TimeUp as err:
        raise _Broken(f"it took longer than {LOAD_S:g} s") from err
    except (Exception, SystemExit) as err:
        raise _Broken(f"it {run.sentence(err)}") from err
    if exercise.answer_name not in scope:
        raise _Broken(f"it does not define {exercise.answer_name}")
    return exercise.as_function(scope[exercise.answer_name])


def load(before: str | None = None) -> Pieces:
    """Every piece of the course, the learner's own where there is one, up to the exercise `before` (not included)."""
    found = Pieces()
    for exercise in namespace.every():
        if exercise.id == before:
            break
        if exercise.piece:
            function, whose = _one(exercise, found.functions)
            found.functions[exercise.piece], found.whose[exercise.piece] = function, whose
    return found


def references() -> Pieces:
    """The course's own pieces."""
    found = Pieces()
    for exercise in namespace.every():
        if exercise.piece:
            found.functions[exercise.piece], found.whose[exercise.piece] = exercise.reference, "the course's"
    return found


def tried(names, work, seconds: float, own: Pieces | None = None) -> tuple:
    """(`work(pieces)`, whose piece each of `names` was, notes): with the learner's pieces for at most so many seconds.

    Where theirs take longer or raise, the course's do the work, and the one note says why. `own` is `load()`.
    """
    own = load() if own is None else own
    whose = {name: own.whose[name] for name in names}
    try:
        return limit.within(lambda: work(own), seconds), whose, []
    except limit.TimeUp:
        why = f"Your pieces took longer than {seconds:g} s, so the course's were used."
    except Exception as err:
        if all(w != "yours" for w in whose.values()):
            raise
        why = f"With your pieces it {run.sentence(err)}; so the course's were used."
    return work(references()), dict.fromkeys(whose, "the course's"), [why]


def _one(exercise, earlier: dict):
    try:
        source = (folder() / f"{exercise.id}.py").read_text(encoding="utf-8")
        return define(exercise, source, earlier), "yours"
    except FileNotFoundError:
        return exercise.reference, "the course's"
    except (_Broken, OSError, UnicodeDecodeError) as err:
        return exercise.reference, f"the course's, because yours could not be loaded: {err}"
