"""The vocabulary in which properties are written.

    equals_reference(ulps=2, why="one division and one product, each rounded once")
    law("error ≤ s/2", lambda got, w, s, b: …, why="…")        a claim about one result and its inputs
    relation("idempotent", lambda run, w, s, b: …, why="…")    a claim about several calls; run(*args) calls the answer
    law("the step", near("step", 0.2, {0.4: "…"}))             a figure of an answer that is a dict of numbers

The functions return None or True when the claim holds, False or a sentence when it does not.
"""

from collections.abc import Callable

from course_lib.checks import compare, shrink
from course_lib.checks.exercise import Property
from course_lib.checks.shorten import number
from course_lib.checks.verdict import Failed


def equals_reference(
    *,
    atol: float = 0.0,
    rtol: float = 0.0,
    ulps: float = 0.0,
    why: str = "",
    points: float = 1.0,
    name: str = "agrees with the definition",
) -> Property:
    """On every case the answer is the reference's, within atol + (rtol + ulps·eps)·|expected|.

    Derive the tolerance: `ulps=n` allows n roundings of the float type, `atol` what cancellation leaves; `why` says it,
    to a learner whose answer is nearly right. Where nothing is allowed, `why` is the property's own, and always told.
    """
    tolerance = compare.Tolerance(atol, rtol, ulps)

    def test(run):
        for case in run.cases:
            got, expected = run.case(case), run.expected(case)
            if compare.difference(got, expected, tolerance):
                case, got, expected = shrink.to_one_number(run, case, got, expected, tolerance)
                said = compare.difference(got, expected, tolerance)
                told = f"The result differs {said}." if said.startswith("at ") else f"The result differs: {said}."
                run.fail(case, told, got=got, expected=expected, has_answer=True, has_expected=True)

    told = f"{tolerance} {why}" if atol or rtol or ulps else f"{why} {tolerance}"
    return Property(name, test, told.strip(), points)


def law(name: str, fn: Callable, why: str = "", points: float = 1.0, any_shape: bool = False) -> Property:
    """`fn(got, *args)` holds for the result of every case.

    Of a list of another length, and with any_shape of tensors of another shape, only its own sentence counts.
    """

    def test(run):
        size = None
        for case in run.cases:
            try:
                got = run.case(case)
            except Failed as failed:
                if not (failed.failure.only_size and (any_shape or isinstance(failed.failure.got, list))):
                    raise
                size, got = size or failed, failed.failure.got
                said = _own_words(fn, got, *case.args, **case.kwargs)
            else:
                said = _said(fn, got, *case.args, **case.kwargs)
            if said is not None:
                run.fail(case, said, got=got, has_answer=True)
        if size is not None:
            raise size

    return Property(name, test, why, points)


def relation(name: str, fn: Callable, why: str = "", points: float = 1.0) -> Property:
    """`fn(run, *args)` holds for every case; `run(*other_args)` calls the answer again."""

    def test(run):
        for case in run.cases:
            said = _said(fn, run, *case.args, **case.kwargs)
            if said is not None:
                run.fail(case, said)

    return Property(name, test, why, points)


def near(key: str, right: float, known, otherwise: str = "", atol: float = 0.0, rtol: float = 0.0) -> Callable:
    """For `law`: claim[key] is `right` within atol + rtol·|right|; if not, the sentence of the mistake that it is near.

    `known` maps plausible wrong figures to sentences, or lists such pairs; `otherwise` ends the sentence for the rest.

    >>> near("s", 0.2, {0.4: "That is twice as much."}, "Divide by 7.", atol=0.01)({"s": 0.3})
    'claim["s"] = 0.3 is not it. Divide by 7.'
    """
    pairs = list(known.items()) if isinstance(known, dict) else known

    def test(got):
        value = got[key]
        for figure, said in ((right, True), *pairs):
            if abs(value - figure) <= atol + rtol * abs(figure):
                return said
        return f'claim["{key}"] = {number(value)} is not it. {otherwise}'.strip()

    return test


def _own_words(fn, *args, **kwargs) -> str | None:
    """The sentence that a law itself has for a result, or None."""
    try:
        said = fn(*args, **kwargs)
    except Exception:
        return None
    return said if isinstance(said, str) else None


def _said(fn, *args, **kwargs) -> str | None:
    """None when the claim holds, else a sentence."""
    try:
        said = fn(*args, **kwargs)
    except Failed:
        raise
    except Exception as err:
        return f"This could not be checked on your result ({type(err).__name__})."
    if isinstance(said, str):
        return said
    return None if said is None or bool(said) else "This does not hold for your result."
