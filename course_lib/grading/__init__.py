"""Problem sets: the visible checks in a student's notebook, the hidden questions of a teacher, release and grading.

The names below are loaded on first use, because a grader starts its sandbox before it imports torch itself.
"""

import importlib

_NAMES = dict.fromkeys(("Mistake", "agrees", "on", "question", "rows", "scorer"), "questions")
_NAMES |= dict.fromkeys(("Checks", "same"), "visible")
__all__ = sorted(_NAMES)


def __getattr__(name):
    if name not in _NAMES:
        raise AttributeError(f"course_lib.grading has no {name!r}")
    return getattr(importlib.import_module(f"course_lib.grading.{_NAMES[name]}"), name)
