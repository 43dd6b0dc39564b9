"""The visible half of a test cell: each check prints one line, and none of them stops the next."""

import contextlib
import linecache
import signal
import sys
import threading
import traceback

import numpy as np
import torch

from course_lib.checks import compare, plain
from course_lib.checks.limit import TimeUp, now
from course_lib.checks.run import sentence, time_limit_s
from course_lib.grading import forms

SECONDS = 5.0  # for one check; the first one that takes longer is the last one that runs
LENT = 100_000  # numbers in a tensor of which a check keeps a copy


class Checks:
    """The visible checks of one question; `with checks("name"):` holds plain asserts and calls of `same`.

    A check that fails says so in its line. Whatever the student's code writes to stderr is printed instead, because
    nbgrader gives no points to a test cell with anything in stderr. Tensors and arrays of the cell that a function
    changed are put back after each check: the hidden half gives it new ones each time, too.

    >>> checks = Checks("q1", points=4)
    q1, what you can see:
    >>> with checks("one plus one"):
    ...     assert 1 + 1 == 2
      holds      one plus one
    >>> with checks("two numbers"):
    ...     same([1, 2], [1, 3])
      not yet    two numbers: item 1: yours 2, expected 3
    >>> checks.result()
    1 of 2 visible checks hold. The points come from the same properties on hidden numbers.
    2.0
    """

    def __init__(self, question: str, points: float):
        self.question, self.points = question, points
        self.held, self.total, self.late = 0, 0, False
        print(f"{question}, what you can see:")

    def __call__(self, name: str) -> "_Check":
        """One check; it counts when its block ends."""
        return _Check(self, name)

    def result(self) -> float:
        """Print the sum, and return the question's points times the share of the visible checks that hold."""
        told = "The points come from the same properties on hidden numbers."
        print(f"{self.held} of {self.total} visible checks hold. {told}")
        return float(self.points * self.held / max(1, self.total))


class _Check:
    """One `with` block: swallows what the block raises, but for the Stop button."""

    def __init__(self, checks: Checks, name: str):
        self.checks, self.name = checks, name

    def __enter__(self):
        self.lent = _lent(sys._getframe(1).f_globals)
        self.around = contextlib.ExitStack()
        self.around.enter_context(contextlib.redirect_stderr(sys.stdout))
        self.around.enter_context(_alarm(0.001 if self.checks.late else min(SECONDS, time_limit_s())))

    def __exit__(self, kind, error, trace):
        self.around.close()
        self.checks.total += 1
        self.checks.held += error is None
        self.checks.late |= isinstance(error, TimeUp)
        state = "holds" if error is None else "not yet"
        changed = _put_back(self.lent)
        reason = "" if error is None else f": {_reason(error)}{changed}"
        print(f"  {state:<10} {self.name}{reason}")
        return not isinstance(error, (KeyboardInterrupt, GeneratorExit))


def _lent(names: dict) -> list[tuple]:
    """(name, tensor or array, copy) of those in a notebook that are small enough to be a check's."""
    found = [(name, value) for name, value in names.items() if not name.startswith("_")]
    tensors = [(n, v, v.detach().clone()) for n, v in found if type(v) is torch.Tensor and _is_plain(v)]
    return tensors + [(n, v, v.copy()) for n, v in found if type(v) is np.ndarray and v.size <= LENT]


def _is_plain(value: torch.Tensor) -> bool:
    return value.layout == torch.strided and value.is_cpu and not value.is_quantized and value.numel() <= LENT


def _put_back(lent: list[tuple]) -> str:
    """Undo what was done to them, and say to which."""
    changed = [(n, v, before) for n, v, before in lent if not plain.same_bits(v, before)]
    for _, value, before in changed:
        if isinstance(value, torch.Tensor):
            value.data = before  # its shape, too
        else:
            value[...] = before
    names = ", ".join(name for name, _, _ in changed)
    return f" (Your function changed {names}, which it was given: let it work on a copy.)" if changed else ""


@contextlib.contextmanager
def _alarm(seconds: float):
    """Raise TimeUp in the block when the time is up; without an alarm clock (Windows, other threads) do nothing."""
    if not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        yield
        return

    end = now() + seconds

    def ring(_number, _frame):
        if now() >= end:
            raise TimeUp

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds, seconds)  # again and again: code that swallows everything
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def same(got, want, atol: float = 0.0, rtol: float = 0.0, ulps: float = 0.0) -> None:
    """Assert that `got` is `want`: type and shape first, then every value within atol + (rtol + ulps * eps) * |want|.

    AssertionError with one sentence that says where they first differ.

    >>> same(3.0, 3)
    >>> same((1, 2), (1, 2, 3))
    Traceback (most recent call last):
    AssertionError: expected a tuple of 3 items, got a tuple of 2 items
    """
    try:
        fitted = compare.fit(plain.plain(got), want)
    except compare.Mismatch as error:
        raise AssertionError(f"{error}: {forms.RETURN}" if got is None else str(error)) from None
    except plain.Unreadable as error:
        raise AssertionError(f"expected {compare.wanted(want)}, got {error}") from None
    said = compare.difference(fitted, want, compare.Tolerance(atol, rtol, ulps))
    if said:
        raise AssertionError(said)


def _reason(error: BaseException) -> str:
    """One short line: what was expected, or what the student's function raised."""
    if isinstance(error, NotImplementedError):
        return "not attempted"
    if isinstance(error, TimeUp):
        return "stopped, it took too long"
    if isinstance(error, AssertionError):
        return str(error).split("\n")[0] or f"this should be true: {_line(error)}"
    return forms.unusable(error) or f"your function {sentence(error)}"


def _line(error: BaseException) -> str:
    """The source of the assert that failed, where it can be found."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    text = last.line or linecache.getline(last.filename, last.lineno or 0).strip()
    return text.removeprefix("assert ") or "an assert of this check"
