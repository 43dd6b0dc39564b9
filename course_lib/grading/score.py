"""Run the instructor's test of one question here, in the trusted process, against proxies of a student's functions."""

import ast
import contextlib
import functools
import io

from course_lib.checks.limit import TimeUp
from course_lib.checks.plain import Unreadable
from course_lib.grading.inside.wire import Refused
from course_lib.grading.proxy import Answers
from course_lib.grading.results import Score
from course_lib.grading.source import Question


class TestBroken(Exception):
    """A test cannot be run, whatever the student has written; the message says which and why."""

    __test__ = False  # pytest must not take it for a test


def score(question: Question, answers: Answers) -> Score:
    """Run both halves of a question's test. The hidden half's printed lines are the reasons.

    Errors: TestBroken where the fault is the test's.
    """
    space = {"__name__": "__main__"} | answers.names()
    visible, _, error = _run(question.test.visible, space, answers)
    if error is not None:  # the checks of the course never raise; a plain assert does
        return Score(0.0, [_first_line(error, terse=False)], visible)
    answers.terse = True
    answers.renew()
    said, value, error = _run(question.test.hidden, space, answers)
    reasons = [line.strip() for line in said.split("\n") if line.strip()]
    if error is not None:
        return Score(0.0, [*reasons, _first_line(error, terse=True)], visible)
    points = _points(value, question.test.points)
    if points < question.test.points and not reasons:
        reasons = [f"lost {question.test.points - points:g}: the result is not what the question asks for."]
    return Score(points, reasons, visible)


def _run(source: str, space: dict, answers: Answers):
    """(what it printed, the value of a last expression or None, the error that the student's side caused or None)."""
    sink = io.StringIO()
    try:
        statements, last = _compiled(source)
        with contextlib.redirect_stdout(sink), contextlib.redirect_stderr(sink):
            exec(statements, space)
            value = eval(last, space) if last else None
        return sink.getvalue(), value, None
    except (KeyboardInterrupt, GeneratorExit):
        raise
    except BaseException as error:
        if isinstance(error, ImportError | SyntaxError | Refused) and error is not answers.raised:
            raise TestBroken(f"{type(error).__name__}: {error}") from error
        return sink.getvalue(), None, error
    finally:
        if answers.failure:  # a check may have taken it for the student's error
            raise answers.failure


@functools.lru_cache(maxsize=64)  # the same tests for a whole class
def _compiled(source: str):
    """A test's statements, and its last expression or None."""
    tree = ast.parse(source)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    return compile(tree, "<test>", "exec"), last and compile(ast.Expression(last.value), "<test>", "eval")


def _first_line(error: BaseException, terse: bool) -> str:
    """A reason made from an error: without any value where the case is hidden."""
    if isinstance(error, TimeUp):
        return "Your function did not finish in time."
    if terse or isinstance(error, Unreadable):
        return f"The test could not go on with your result ({type(error).__name__})."
    text = str(error).split("\n")[0][:300]
    return text if isinstance(error, AssertionError) and text else f"{type(error).__name__}: {text}".rstrip(": ")


def _points(value, most: float) -> float:
    """The number that a test ends with, within 0 and `most`; all points for a test that ends without one."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return most
    return min(max(float(value), 0.0), most) if value == value else 0.0
