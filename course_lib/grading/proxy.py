"""A student's functions as the grader sees them: each call goes to the sandbox, and a plain value comes back."""

import contextlib
import signal
from dataclasses import dataclass, field

from course_lib.checks import limit, plain
from course_lib.checks.limit import TimeUp, now
from course_lib.grading import replies
from course_lib.grading.channel import Broken, Channel
from course_lib.grading.inside import wire
from course_lib.grading.replies import OtherError, SandboxEnded
from course_lib.grading.sandbox import NoSandbox, Sandbox, Template

# Seconds of `limit.now`: what is waited for a processor does not count.
CALL_S = 30.0  # for one call; the checks' own limits are shorter
CELLS_S = 60.0  # for all cells before a test, and no more than for three of them
STARTS = 3  # how often a question's sandbox may be started anew after it has ended


@dataclass
class Job:
    """What a question's sandbox is given: cells (number, source), the names to ask for, what is hidden from it."""

    cells: list[tuple[int, str]]
    names: tuple[str, ...]
    modules: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    cell_s: float = 20.0


@dataclass
class Outcome:
    """What the cells did: {number: error}, and the number of the cell that ended the process or never ended."""

    errors: dict[int, dict] = field(default_factory=dict)
    running: int = -1  # the last one that was begun
    fatal: int | None = None
    why: str = ""


class Answers:
    """The answers to one question, in a sandbox that is started anew when it has ended.

    terse: errors come without the student's own words, which could carry a hidden case out.
    """

    def __init__(self, template: Template, job: Job):
        self.template, self.job = template, job
        self.sandbox: Sandbox | None = None
        self.terse, self.busy, self.calls, self.starts = False, False, 0, 0
        self.raised: Exception | None = None  # the last error that came from the student's side
        self.failure: NoSandbox | None = None  # what is nobody's fault here, and ends the grading
        self.outcome, self.described = Outcome(), {}

    def start(self) -> None:
        """A fresh sandbox that has run the cells; `outcome` and `described` say what came of it."""
        with _no_alarm():
            self.end()
            limit.elsewhere = self.template.waited_s
            self.starts += 1
            self.sandbox = self._sure(self.template.spawn, self.job.modules)
            self.channel = Channel(self.sandbox.channel)
            self.outcome, self.busy = Outcome(), False
            try:
                self._run_cells(now() + min(CELLS_S, 3 * self.job.cell_s))
            except (Broken, TimeUp, wire.Refused, ValueError, TypeError, IndexError) as error:
                self.outcome.fatal = self.outcome.running
                why = self.end()
                self.outcome.why = why if isinstance(error, Broken) else "it took too long"

    def _run_cells(self, end: float) -> None:
        """Have the cells run. What the other side says of them is its own matter, but no more than one word a cell."""
        job, outcome = self.job, self.outcome
        numbers = {number for number, _ in job.cells}
        order = {"cells": job.cells, "names": job.names, "removed": job.removed, "cell_s": job.cell_s}
        self.channel.send(wire.frame(order), end)
        while True:
            kind, first, *rest = self.channel.receive(end)
            if kind == "ready":
                self.described = replies.described(first, job.names)
                return
            if not isinstance(first, int) or first not in numbers:
                raise Broken
            if kind == "begin":
                outcome.running = first
            else:
                outcome.errors[first] = replies.error(rest[0])

    def end(self) -> str:
        """End the sandbox; returns why it had ended before, or "killed"."""
        sandbox, self.sandbox = self.sandbox, None
        return self._sure(sandbox.end) if sandbox else "killed"

    def _sure(self, do, *args):
        """Do something with the template; note if it cannot: a check would take that for the student's error."""
        try:
            return do(*args)
        except NoSandbox as problem:
            self.failure = problem
            raise

    def names(self) -> dict:
        """What a test cell gets: a function for each function, a copy of each plain value; nothing for the rest."""
        found = {}
        for name, (kind, content) in self.described.items():
            if kind == "function":
                found[name] = self._function(name, content)
            elif kind == "value":
                found[name] = content
        return found

    def _function(self, name: str, parameters):
        def answer(*args, **kwargs):
            return self.call(name, args, kwargs)

        answer.__name__ = answer.__qualname__ = name
        with contextlib.suppress(ValueError, TypeError):
            answer.__signature__ = replies.signature(parameters)
        return answer

    def call(self, name: str, args: tuple, kwargs: dict):
        """Call a student's function. Raises what it raised, as one of Python's own errors.

        Errors of the test's own: wire.Refused for arguments that cannot cross.
        """
        self._revive()
        self.calls += 1
        order = wire.frame(("call", self.calls, name, args, kwargs))
        self.busy = True  # until a whole reply is here: a time limit may end the wait at any moment
        end = now() + CALL_S
        try:
            self.channel.send(order, end)
            kind, number, content, *changed = self.channel.receive(end)
            if number != self.calls or kind not in ("value", "error", "unreadable"):
                raise Broken
        except (Broken, wire.Refused, ValueError, TypeError) as error:
            self.raised = self._ended(error)
            raise self.raised from None
        self.busy = False
        if changed and changed[0] is not None:
            replies.write_back(args, kwargs, changed[0])
        if kind == "value":
            return content
        self.raised = self._unreadable(content) if kind == "unreadable" else self._raised(replies.error(content))
        raise self.raised

    def renew(self) -> None:
        """Make sure that the next call finds a sandbox that waits for it."""
        if self.busy or self.sandbox is None:
            self.end()
            self.busy = False
            if self.starts < STARTS:
                self.start()

    def _revive(self) -> None:
        """After the end of the process a call gets a new one; after a call that took too long, only `renew` helps."""
        if self.busy:
            raise TimeUp
        self.renew()
        if self.sandbox is None:
            raise SandboxEnded("the process has ended too often")

    def _ended(self, error: Exception) -> Exception:
        if isinstance(error, wire.Refused) and not self.terse:
            told = f"its reply could not be read: {error}"
        else:
            told = "its reply could not be read" if isinstance(error, wire.Refused) else "the process ended"
        with _no_alarm():
            why = self.end()
        self.busy = False
        return MemoryError() if why == "memory" else SandboxEnded(told)

    def _unreadable(self, content) -> plain.Unreadable:
        said = "" if self.terse else replies.printable(content)[:200]
        return plain.Unreadable(said or "something other than tensors and plain values")

    def _raised(self, error: dict) -> Exception:
        kind = replies.ERRORS.get(error["type"], OtherError)
        if self.terse:
            return kind()
        kind_of = f"{error['type']} " if kind is OtherError else ""
        where = f", on line {error['number']} of the cell: {error['line']}" if error["number"] else ""
        return kind(f"{kind_of}{error['text']}{where}".lstrip(", "))


@contextlib.contextmanager
def _no_alarm():
    """Keep a check's time limit from interrupting the start of a sandbox half-way; it rings afterwards."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
