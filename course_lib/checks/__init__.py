"""Exercises that explain: `check.ch01.round_trip(my_function)` names what failed, on which numbers, and why.

Chapter authors use `Case, Exercise, Property, Wrong, equals_reference, law, near, relation`;
notebooks use `check, predict, warmup, mine, review`. Each is loaded on first use.
"""

from course_lib.lazy import names

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
    "near": "properties",
    "predict": "predictions",
    "relation": "properties",
    "review": "reviews",
    "warmup": "warmups",
}

__all__ = list(_NAMES)
__getattr__, __dir__ = names(__name__, _NAMES)
