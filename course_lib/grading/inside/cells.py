"""Run a student's cells, one after the other, in one namespace, as a notebook does."""

import __future__

import ast
import builtins
import linecache
import signal
import sys
import types

from . import shell

MASKED = "masked for this question"  # in the error of a hidden module or a removed name


class TimeUp(BaseException):
    """A cell has used up its time."""


class Space:
    """The namespace of a notebook."""

    def __init__(self):
        self.module = types.ModuleType("__main__")
        sys.modules["__main__"] = self.module
        self.names = self.module.__dict__
        self.future = 0  # what `from __future__ import …` has switched on, for this cell and those below
        shell.install(self.names, self.run_source)

    def run(self, number: int, source: str, seconds: float) -> dict | None:
        """Run one cell; None, or what stopped it, as `told` says. Statements that a mask stops are skipped."""
        try:
            with alarm(seconds):
                self.run_source(shell.plain_python(source), f"<cell {number}>")
        except BaseException as error:  # SystemExit and the like too: a kernel would live on
            return told(error)
        return None

    def run_source(self, source: str, name: str = "<cell>") -> None:
        """Run a text as one cell, statement by statement."""
        linecache.cache[name] = (len(source), None, source.splitlines(True), name)
        flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
        tree = compile(source, name, "exec", flags | self.future | ast.PyCF_ONLY_AST, dont_inherit=True)
        for statement in tree.body:
            self.future |= future(statement)
            code = compile(ast.Module([statement], []), name, "exec", flags | self.future, dont_inherit=True)
            try:
                shell.finish(eval(code, self.names))
            except (ImportError, AttributeError, NameError) as error:
                if MASKED not in str(error):
                    raise


def future(statement) -> int:
    """The compiler's flags that a statement switches on."""
    if not isinstance(statement, ast.ImportFrom) or statement.module != "__future__":
        return 0
    return sum(getattr(__future__, alias.name).compiler_flag for alias in statement.names)


class alarm:
    """Raise TimeUp in a block that computes for too long, or idles for ten times as long: on a busy machine code waits.

    Code that swallows it is stopped from outside.
    """

    def __init__(self, seconds: float):
        self.seconds = seconds

    def __enter__(self):
        if not hasattr(signal, "setitimer"):  # `course check` on Windows
            return
        signal.signal(signal.SIGPROF, self.ring)
        signal.signal(signal.SIGALRM, self.ring)
        signal.setitimer(signal.ITIMER_PROF, self.seconds, 0.1)
        signal.setitimer(signal.ITIMER_REAL, 10 * self.seconds, 0.1)

    def __exit__(self, *_):
        if hasattr(signal, "setitimer"):
            signal.setitimer(signal.ITIMER_PROF, 0)
            signal.setitimer(signal.ITIMER_REAL, 0)

    @staticmethod
    def ring(_number, _frame):
        raise TimeUp("it took too long")


def told(error: BaseException) -> dict:
    """What a learner reads of an error: its type, its text, the line of the cell that raised it."""
    if type(error).__name__ == "InterpreterError":  # Triton's, around what a kernel has raised
        error = BaseException.__cause__.__get__(error) or error
    try:
        text = " ".join(str(error).split())[:300]
    except BaseException:
        text = ""
    number, trace = None, error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename.startswith("<cell "):
            number, name = trace.tb_lineno, trace.tb_frame.f_code.co_filename
        trace = trace.tb_next
    line = linecache.getline(name, number).strip()[:200] if number else ""
    return {"type": kind(error), "text": text, "number": number, "line": line}


def kind(error: BaseException) -> str:
    """The name of the nearest built-in exception."""
    if isinstance(error, TimeUp):
        return "TimeUp"
    for cls in type(error).__mro__:
        if getattr(builtins, cls.__name__, None) is cls:
            return cls.__name__
    return "Exception"
