"""Exercises whose answer is a Triton kernel: reference and known-wrong answers are texts of kernels."""

import textwrap

from course_lib.checks.exercise import Exercise, Wrong
from course_lib.checks.launched import Launched, poisoned

__all__ = ["kernel_exercise", "poisoned"]


def edited(text: str, *changes: tuple[str, str]) -> str:
    """The text with each (old, new) replaced everywhere. Errors: ValueError when an old one is not there."""
    for old, new in changes:
        if old not in text:
            raise ValueError(f"the kernel has no {old!r} to replace")
        text = text.replace(old, new)
    return text


def kernel_exercise(*, kernel: str, launch, wrong, **fields) -> Exercise:
    """An exercise whose reference is the text `kernel`; `wrong` lists (name, [(old, new), …] or a text, diagnosis)."""
    kernel = textwrap.dedent(kernel).strip("\n") + "\n"
    texts = [(name, w if isinstance(w, str) else edited(kernel, *w), said) for name, w, said in wrong]
    return Exercise(
        reference=Launched(kernel, launch),
        solution_source=kernel,
        launch=launch,
        wrong=[Wrong(name, Launched(textwrap.dedent(text), launch), said) for name, text, said in texts],
        **fields,
    )
