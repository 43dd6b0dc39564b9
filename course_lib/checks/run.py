"""Run a learner's function so that whatever it does, the check goes on and the kernel lives.

One call gives one `Outcome`: a value (copied at once), an error (one sentence), or "timeout".
"""

import contextlib
import io
import linecache
import os
from dataclasses import dataclass

from course_lib.checks import errors, limit, plain

MAX_PRINTED = 2000  # characters of the learner's own prints that are kept


@dataclass
class Outcome:
    """What one call did: `kind` is "value", "error", "timeout" or "unreadable"."""

    kind: str
    value: object = None
    error: str = ""  # one sentence, for a learner
    error_type: str = ""
    mutated: tuple = ()  # positions or names of the arguments that the function changed
    printed: str = ""


def time_limit_s() -> float:
    """Seconds that one check may take: 20, or what COURSE_TIME_LIMIT says."""
    try:
        return max(0.1, float(os.environ.get("COURSE_TIME_LIMIT", "20")))
    except ValueError:
        return 20.0


def call(fn, args=(), kwargs=None, seconds: float | None = None, of: float | None = None) -> Outcome:
    """Call `fn` on fresh copies of the arguments, for at most `seconds`, the rest of a limit `of` so many.

    Never raises, but for the Stop button.
    """
    kwargs = kwargs or {}
    seconds = time_limit_s() if seconds is None else seconds
    mine, my_kwargs = plain.fresh(tuple(args)), plain.fresh(dict(kwargs))
    sink = _Sink()
    try:
        with contextlib.redirect_stdout(sink), contextlib.redirect_stderr(sink):
            outcome = limit.within(lambda: _answer(fn, mine, my_kwargs), seconds)
    except limit.TimeUp:
        told = f"did not finish within {of or seconds:.3g} s, so it was stopped"
        return Outcome("timeout", error=told, printed=sink.text())
    outcome.printed = sink.text()
    outcome.mutated = _mutated(args, kwargs, mine, my_kwargs)
    return outcome


def _answer(fn, args, kwargs) -> Outcome:
    try:
        return Outcome("value", plain.plain(fn(*args, **kwargs)))
    except plain.Unreadable as err:
        return Outcome("unreadable", error=str(err))
    except (KeyboardInterrupt, limit.TimeUp):
        raise
    except BaseException as err:  # SystemExit too: the kernel must live
        return Outcome("error", error=sentence(err, fn), error_type=type(err).__name__)


def _mutated(args, kwargs, mine, my_kwargs) -> tuple:
    changed = [i for i, (a, b) in enumerate(zip(args, mine, strict=True)) if not _same(a, b)]
    return tuple(changed + [k for k in kwargs if not _same(kwargs[k], my_kwargs[k])])


def _same(before, after) -> bool:
    try:
        return plain.same_bits(plain.plain(before), plain.plain(after))
    except plain.Unreadable:
        return True  # not plain data, so not compared


def sentence(err: BaseException, fn=None) -> str:
    """What was raised, why, on which line of the learner's code, and what helps if that is known; no full stop."""
    name = type(err).__name__
    if isinstance(err, RecursionError):
        what = "RecursionError (it calls itself without an end)"
    elif isinstance(err, MemoryError) or "can't allocate memory" in _reason(err):  # torch's is a RuntimeError
        what = "MemoryError (it asked for more memory than there is)"
    elif isinstance(err, SystemExit):
        what = "SystemExit (it asked Python to end)"
    else:
        reason = _reason(err)
        what = f"{name}: {reason}" if reason else name
    helps = errors.remark(what)
    return f"raised {what}{_line(err, fn)}" + (f". What helps: {helps}" if helps else "")


def _reason(err: BaseException) -> str:
    try:
        text = " ".join(str(err).split())
    except Exception:
        return ""
    return text if len(text) <= 200 else text[:199] + "…"


def _line(err: BaseException, fn) -> str:
    """The deepest traceback line that lies in the file (or cell) which defines `fn`."""
    home = getattr(getattr(fn, "__code__", None), "co_filename", None)
    found, tb = None, err.__traceback__
    while tb is not None:
        if tb.tb_frame.f_code.co_filename == home:
            found = tb.tb_lineno
        tb = tb.tb_next
    if found is None:
        return ""
    text = linecache.getline(home, found).strip()
    return f", on line {found} of the cell: {text}" if text else f", on line {found} of the cell"


class _Sink(io.TextIOBase):
    """Keeps the first characters printed and drops the rest, so that a flood of prints costs nothing."""

    def __init__(self):
        self._parts, self._length = [], 0

    def writable(self):
        return True

    def write(self, text):
        room = MAX_PRINTED - self._length
        if room > 0:
            self._parts.append(str(text)[:room])
        self._length += len(text)
        return len(text)

    def text(self) -> str:
        return "".join(self._parts) + ("…" if self._length > MAX_PRINTED else "")


class Clock:
    """The time left of one check, shared by all its calls."""

    def __init__(self, seconds: float | None = None):
        self.seconds = time_limit_s() if seconds is None else seconds
        self._end = limit.now() + self.seconds

    def left(self) -> float:
        return self._end - limit.now()
