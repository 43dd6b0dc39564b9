"""Exercises that explain: `check.ch01.round_trip(my_function)` names what failed, on which numbers, and why.

Chapter authors use `Case, Exercise, Property, Wrong, equals_reference, law, relation`; notebooks use
`check, predict, warmup, mine`. Each is loaded on first use.
"""

import importlib

# public name -> module that holds it
_NAMES = {
    "Case": "exercise",
    "Exercise": "exercise",
    "Property": "exercise",
    "Wrong": "exercise",
    "check": "namespace",
    "equals_reference": "properties",
    "law": "properties",
    "mine": "quantizer",
    "predict": "predictions",
    "relation": "properties",
    "warmup": "warmups",
}

__all__ = list(_NAMES)


def __getattr__(name):
    """Load a public name on its first use."""
    if name not in _NAMES:
        raise AttributeError(f"course_lib.checks has no public name {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_NAMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__():
    """List what is loaded and what can be."""
    return sorted({*globals(), *_NAMES})
