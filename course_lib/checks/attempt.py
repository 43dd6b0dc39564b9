"""Has the learner begun? And is the answer something that can be called at all?"""

import ast
import inspect

from course_lib.checks import launched
from course_lib.checks.shorten import describe
from course_lib.checks.verdict import FAIL, NOT_ATTEMPTED, Failure, Judgement, Verdict


def problem(exercise, answer):
    """A judgement that needs no run: the stub is unchanged, or the answer cannot be called; else None."""
    if answer is None or answer is Ellipsis or _all_blank(answer):
        return Judgement(NOT_ATTEMPTED, f"Nothing to check yet: {exercise.answer_name} is still empty.")
    if exercise.launch and not launched.names():
        return Judgement(NOT_ATTEMPTED, "Kernels cannot be checked here: triton is not installed (it runs on Linux).")
    if not exercise.takes_function:
        open_ = ", ".join(_open_entries(answer))
        return Judgement(NOT_ATTEMPTED, f"Not checked yet, still empty: {open_}.") if open_ else None
    if not callable(answer):
        return _fail(
            f"Expected the function {exercise.answer_name} itself, got {describe(answer)}: "
            f"write {exercise.check_line}, without calling it."
        )
    if _same_code(answer, exercise):
        return Judgement(NOT_ATTEMPTED, "Nothing to check yet: this is the code as you found it.")
    return _signature_problem(exercise, answer)


def empty(exercise, answer, runner):
    """A judgement for a function that raises NotImplementedError, or that returns nothing on every case; else None."""
    outcome = runner.outcome(runner.cases[0])
    if outcome.error_type == "NotImplementedError" and "not implemented for '" not in outcome.error:  # torch's own
        return Judgement(NOT_ATTEMPTED, "Nothing to check yet: the function says NotImplementedError.")
    if not _blank(outcome) or not all(_blank(runner.outcome(c)) for c in runner.cases):
        return None
    if hasattr(answer, "__code__"):
        missing = "Your function returns nothing (None): is the return missing, or a condition never true?"
        return _fail(missing, printed=runner.printed)
    return Judgement(NOT_ATTEMPTED, "Nothing to check yet: the function returns nothing.")


def _blank(outcome) -> bool:
    return outcome.kind == "value" and outcome.value is None


def _fail(message: str, printed: str = ""):
    verdict = Verdict("can be run", False, failure=Failure(message))
    return Judgement(FAIL, message, [verdict], printed=printed)


def _all_blank(answer) -> bool:
    if isinstance(answer, dict):
        answer = list(answer.values())
    if type(answer) not in (list, tuple) or not answer:
        return False
    return all(item is None or item is Ellipsis or _all_blank(item) for item in answer)


def _open_entries(answer) -> list[str]:
    """The entries of a claim that are not filled in."""
    entries = answer.items() if isinstance(answer, dict) else ()
    return [str(name) for name, value in entries if value is None or value is Ellipsis or _all_blank(value)]


def _signature_problem(exercise, answer):
    try:
        signature = inspect.signature(answer)
    except (TypeError, ValueError):
        return None  # a builtin: the call itself will tell
    try:
        for case in exercise.cases:
            signature.bind(*case.args, **case.kwargs)
    except TypeError:
        wanted = ", ".join(inspect.signature(exercise.reference).parameters)
        return _fail(f"Your function takes {signature}; the check calls it with ({wanted}).")
    return None


def _same_code(answer, exercise) -> bool:
    code = getattr(answer, "__code__", None)
    if code is None:
        return False
    statements = ast.parse(exercise.stub).body  # a notebook compiles them one by one, an import apart from its uses
    units = [compile(ast.Module(unit, []), "<stub>", "exec") for unit in (statements, *([s] for s in statements))]
    found = [c for unit in units for c in unit.co_consts if inspect.iscode(c)]
    return any(_key(code) == _key(c) for c in found if c.co_name == exercise.answer_name)


def _key(code) -> tuple:
    consts = tuple(_key(c) if inspect.iscode(c) else repr(c) for c in code.co_consts)
    return code.co_code, code.co_names, code.co_varnames, consts
