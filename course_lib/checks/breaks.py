"""Exercises of the kind "break": a short program that passed its author's tests; asked is an input that it fails on."""

import inspect
import textwrap
from collections.abc import Callable
from dataclasses import dataclass

import torch

from course_lib.checks.exercise import Exercise, Wrong
from course_lib.checks.properties import law


@dataclass(frozen=True)
class _Break:
    """What is true of an input; `claims`, each True or a sentence, are the exercise's properties in their order."""

    program: Callable
    right: Callable
    trial: Callable
    legal: Callable
    least: int
    unit: str

    def tells(self, got) -> str:
        """What both programs make of the input."""
        (_, here), (_, there) = self.trial(self.program, got), self.trial(self.right, got)
        return f"With the author's program {here}. With a right one {there}."

    def breaks(self, got):
        (kept, here), (possible, there) = self.trial(self.program, got), self.trial(self.right, got)
        if not possible:
            return f"Even with a right program {there}. So this is not the fault that is meant."
        if not kept:
            return True
        return f"With both programs {here}." if here == there else f"{self.tells(got)} Both keep the promise."

    def small(self, got):
        return size(got) <= self.least or f"Yours has {size(got)} {self.unit}. {self.least} are enough."

    def claims(self) -> tuple:
        return self.legal, self._if_legal(self.breaks), self._if_legal(self.small)

    def _if_legal(self, claim):
        return lambda got: claim(got) if self.legal(got) is True else "First it has to be an input that is allowed."

    def fails_first(self, got) -> int | None:
        """The number of the first property that an input fails."""
        return next((k for k, claim in enumerate(self.claims()) if claim(got) is not True), None)

    def known(self, wrong: Wrong) -> Wrong:
        """A mistake that is only found among the inputs that fail the same property as its example."""
        at, like = self.fails_first(wrong.answer), wrong.like or (lambda got: True)
        return Wrong(wrong.name, wrong.answer, wrong.diagnosis, lambda got: self.fails_first(got) == at and like(got))


def break_exercise(*, program, right, trial, legal, name, asked, answer, wrong, unit="numbers", **fields) -> Exercise:
    """An exercise whose answer is an input on which `program` breaks its promise and `right` keeps it.

    program  the function with the fault; its source stands in the stub
    right    the same function without it
    trial    (a program, an input) -> (did it keep its promise?, what came of it, in words)
    legal    an input -> True, or the sentence that says what is wrong with it
    name     what the stub calls the input; asked is the comment beside it
    answer   the source of a smallest input; `unit` says what its size is counted in
    wrong    each with what other inputs are `like` it, among those that fail the same property first; None: all
    """
    head = textwrap.dedent(inspect.getsource(program)).strip("\n")
    reference = eval(answer, {"torch": torch})  # the course's own text, not a learner's
    task = _Break(program, right, trial, legal, size(reference), unit)
    allowed, breaks, small = task.claims()
    return Exercise(
        kind="break",
        stub=f"{head}\n\n{name} = ...  # {asked}",
        reference=reference,
        solution_source=f"{head}\n\n{name} = {answer}",
        properties=[
            law("an input that is allowed", allowed, "The program promised nothing about any other."),
            law("the program breaks its promise, a right one keeps it", breaks, "One input is enough."),
            law("as small as it gets", small, "What can be left out has nothing to do with the fault."),
        ],
        wrong=[task.known(each) for each in wrong],
        tells=task.tells,
        **fields,
    )


def size(value) -> int:
    """How large an input is: bytes by their number, tensors by their numbers.

    >>> size(b"GGUF"), size((torch.zeros(2, 3), torch.zeros(2)))
    (4, 8)
    """
    if isinstance(value, (tuple, list)):
        return sum(map(size, value))
    return len(value) if isinstance(value, bytes) else value.numel()


def matrix(got, what: str, rows: str, columns: str, most: int = 64):
    """For `legal`: True for a finite matrix of 1 to `most` numbers, else the sentence that says what it is.

    >>> matrix(torch.zeros(3), "x", "tokens", "channels")
    'x has the shape (3,). It needs two axes: tokens and channels.'
    """
    if got.dim() != 2:
        return f"{what} has the shape {tuple(got.shape)}. It needs two axes: {rows} and {columns}."
    if not 1 <= got.numel() <= most:
        return f"{what} has {got.numel()} numbers. Allowed are 1 to {most}."
    return bool(got.isfinite().all()) or f"{what} holds nan or inf. Nobody promised anything about those."
