"""Graded questions: an Exercise whose properties bring their own cases, and a score with reasons.

    def build(seed):
        return [question("ps01.q1", "The spare code", "spare_code(w, b) is …", spare_code,
                         properties=[agrees("zeros", [Case("by hand", …), …], "why", points=2), …],
                         wrong=[Mistake("not clipped", …, "…", loses=("zeros",)), …])]

    score = scorer(build, seed=…)

In a test cell, score("q1", answer) prints what was lost and returns the points.
"""

import ast
import builtins
import functools
import inspect
import os
import re
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from course_lib.checks import Case, Exercise, Property, Wrong, equals_reference
from course_lib.checks.run import time_limit_s
from course_lib.grading import forms

SECONDS = 10.0  # for one question; nbgrader's own limit is 30 s a cell, visible half included
STUB = "raise NotImplementedError()"
PRINT = "print(…) shows a value, only return hands it on."


@dataclass(frozen=True)
class Mistake(Wrong):
    """A known wrong answer to a graded question, and the names of exactly those properties that it loses."""

    loses: tuple[str, ...] = ()


@dataclass(frozen=True)
class Feature(Property):
    """A property together with the cases that it is about."""

    cases: tuple[Case, ...] = ()


def on(cases: Sequence[Case], prop: Property, part: str | None = None) -> Feature:
    """`prop`, tested on these cases only, so that each property is worth points of its own.

    part: for results that are dicts, the one entry that `prop` looks at.
    """
    return Feature(prop.name, lambda run: prop.test(_Only(run, cases, part)), prop.why, prop.points, tuple(cases))


def agrees(
    name: str, cases: Sequence[Case], why: str, points: float = 1.0, part: str | None = None, **tolerance: float
) -> Feature:
    """The property that on these cases the answer (or one entry of it) is the reference's."""
    return on(cases, equals_reference(name=name, why=why, points=points, **tolerance), part)


class _Only:
    """A Runner that shows a property some of the cases, and of each result perhaps one entry."""

    def __init__(self, run, cases: Sequence[Case], part: str | None):
        self._run, self._part = run, part
        self.cases = [case for case in run.cases if case in cases]

    def __getattr__(self, name):
        return getattr(self._run, name)

    def _picked(self, value):
        return value if self._part is None else {self._part: value[self._part]}

    def case(self, case):
        return self._picked(self._run.case(case, self._part))

    def expected(self, case):
        return self._picked(self._run.expected(case))

    def reference(self, *args, **kwargs):
        return self._picked(self._run.reference(*args, **kwargs))

    def __call__(self, *args, **kwargs):
        return self._picked(self._run.call(args, kwargs, self._part))


def question(
    id: str,
    title: str,
    spec: str,
    reference: Callable,
    properties: Sequence[Feature],
    wrong: Sequence[Mistake],
    kind: str = "build",
    stub: str | None = None,
    kernels: Sequence = (),
    **more,
) -> Exercise:
    """The Exercise of a graded question, worth the sum of its properties' points.

    The stub is what nbgrader leaves of the reference: its first line, its docstring, NotImplementedError. For a repair
    give the broken function as `stub`: handed in unchanged it counts as not attempted. `kernels` are the `@triton.jit`
    functions that stand before the reference in its cell, and are to be written, too. `more`: other fields.
    """
    parts = [*(kernel.fn for kernel in kernels), reference]
    cases = [case for prop in properties for case in prop.cases]
    return Exercise(
        id=id, title=title, spec=spec, kind=kind, stub=stub or "\n\n\n".join(map(_stub, parts)), reference=reference,
        properties=properties, wrong=wrong, hints=(), cases=cases, points=sum(p.points for p in properties),
        solution_source="\n\n".join(map(inspect.getsource, parts)) if kernels else None, **more,
    )  # fmt: skip


def _stub(reference: Callable) -> str:
    """The reference's source up to its docstring, and `raise NotImplementedError()`."""
    source = textwrap.dedent(inspect.getsource(reference))
    function = ast.parse(source).body[0]
    if ast.get_docstring(function) is None:
        raise ValueError(f"{reference.__name__} needs a docstring: it is what the student reads")
    head = source.splitlines()[: function.body[0].end_lineno]
    return "\n".join([*head, f"    {STUB}"])


def scorer(build: Callable[[int], Sequence[Exercise]], seed: int) -> Callable[..., float]:
    """score(grade id, answer, seed=None): print the lost properties and the likely mistake, return the points earned.

    The seed of the hidden cases is `seed`, unless the call or COURSE_SECRET_SEED names another. A cohort's values go on
    to `build`: score("q1", answer, bits=3) scores with build(seed, bits=3).
    """

    default, cached = seed, functools.lru_cache(maxsize=4)(build)  # a class is graded with one seed

    def score(name: str, answer, seed: int | None = None, **values) -> float:
        chosen = int(os.environ.get("COURSE_SECRET_SEED", default)) if seed is None else seed
        exercise = {exercise.name: exercise for exercise in cached(chosen, **values)}[name]
        result = exercise.judge(answer, min(SECONDS, time_limit_s()))
        if result.message:  # nothing was run
            said = result.message.split(": write check.")[0]  # a graded question has no check line
            print(f"{said} {PRINT}" if "nothing (None)" in said else said)
            return 0.0
        points = sum(_earned(p, v) for p, v in zip(exercise.properties, result.verdicts, strict=False))
        form = _form(result)
        if form and not result.mistake:
            print(form)
        if result.diagnosis:
            print(result.diagnosis)
        return float(points)

    return score


def _earned(prop: Property, verdict) -> float:
    """A property's points, or 0 and one printed line that shows neither a hidden case nor an expected value."""
    if verdict.ok:
        return prop.points
    print(f"lost {prop.points:g}: {prop.name} ({_reason(verdict)}). {prop.why}".rstrip())
    return 0.0


def _form(result) -> str:
    """What is wrong with the form of a result, as a named mistake; "" where none of the properties failed by it."""
    for verdict in result.verdicts:
        failure = verdict.failure
        if failure is None or failure.shows_values:
            continue
        told = forms.difference(failure.got, failure.expected) if failure.has_answer else ""
        if not failure.has_answer and failure.message.startswith("Your function returns the wrong kind of result"):
            told = "the result is something other than tensors, numbers, strings, lists, tuples and dicts"
        if told:
            stop = "" if told.endswith("?") else "."
            return f"Likely mistake: the form of the result. {told[0].upper()}{told[1:]}{stop}"
    return ""


def _reason(verdict) -> str:
    """Why a property failed, in words that hold no value: one could be a hidden case's, or carry it out."""
    if verdict.ok is None:
        return "not run, the time was up"
    if verdict.failure.shows_values:
        return "the result differs on at least one hidden case"
    message = verdict.failure.message
    if message.startswith("Your function did not finish"):
        return message.rstrip(".")
    raised = re.match(r"Your function raised (\w+)", message)
    if raised is None:
        return "the result is of another type, shape or dtype on at least one hidden case"
    if raised[1] == "SandboxEnded":
        return "Your function ended the process that it ran in"
    return f"Your function raised {raised[1]}" if hasattr(builtins, raised[1]) else "Your function raised an error"


def rows(seed: int, count: int, n: int, make: Callable | None = None, ok: Callable | None = None) -> list[torch.Tensor]:
    """`count` random rows of n float32 weights from a seed; rows that `ok` turns down are drawn again.

    make: (generator, n) -> row, else Gaussian. ok: keeps rows where an answer is not a matter of one rounding.
    """
    generator, kept = torch.Generator().manual_seed(seed), []
    for _ in range(1000 * count):
        row = make(generator, n) if make else torch.randn(n, generator=generator)
        if ok is None or ok(row):
            kept.append(row)
        if len(kept) == count:
            return kept
    raise ValueError(f"ok turned down nearly all rows of seed {seed}: ask for less")
