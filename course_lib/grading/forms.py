"""What is said of a result of another form than was asked: of another type, dtype or shape, or nothing at all.

difference((["1"], 2.0), (torch.zeros(3), 0.0))   # a hidden case's: holds no value
unusable(error)                                   # what a visible check raised while it looked at a result
"""

import os
import re

import numpy as np
import torch

from course_lib.checks import compare, lacking

RETURN = "is a return missing? print(…) shows a value, only return hands it on"
_LIBRARIES = tuple(os.path.dirname(module.__file__) for module in (torch, np))
_PARTS = "of another length or shape than is asked: the check looks at a row, an axis or an item that it does not have"
_KNOWN = (  # what Python says of a value that a check takes apart, and what that means
    (r"NoneType", f"nothing (None) stands where a value is asked: {RETURN}"),
    (r"^(list|tuple) indices must be integers or slices, not str", "a {0} stands where a dict is asked"),
    (
        r"^(list|tuple) indices must be integers or slices",
        "a {0} stands where a tensor is asked; torch.tensor(…) or torch.stack(…) makes one of it",
    ),
    (r"'(list|tuple)' object has no attribute", "a {0} stands where a tensor is asked"),
    (r"'(\w+)' object has no attribute", "a value of type {0} stands where a tensor is asked"),
    (r"'(function|method|builtin\w*)' object is not subscriptable", "a function stands where its result is asked"),
    (r"'(\w+)' object is not subscriptable", "a single value of type {0} stands where several are asked"),
    (r"cannot unpack non-iterable (\w+)", "a single value of type {0} stands where several are asked"),
    (r"values to unpack \(expected (\d+)", "{0} values are asked, in a tuple"),
    (r"out of bounds for dimension|index out of range|too many indices for tensor", f"the result is {_PARTS}"),
    (r"cannot be converted to Scalar|only one element tensors", "several numbers stand where one is asked"),
)


def difference(got, expected, where: str = "the result") -> str:
    """How a result differs in form from what is asked, in one sentence without a value or a size; "" if it does not.

    >>> difference([1, 2], torch.zeros(2, dtype=torch.int8))
    'the result is a list where an int8 tensor is asked; write torch.tensor(…, dtype=torch.int8)'
    """
    if isinstance(expected, dict) and isinstance(got, dict):
        missing = [key for key in expected if key not in got]
        if missing:
            return f"{where} lacks the key{'s' * (len(missing) > 1)} {', '.join(map(repr, missing))}"
        parts = [(got[key], expected[key], f"entry {key!r} of {where}") for key in expected]
        return _first(parts) or (f"{where} has keys that are not asked for" if len(got) > len(expected) else "")
    if isinstance(expected, (list, tuple)) and isinstance(got, (list, tuple)):
        if len(got) != len(expected):
            asked = f"the {len(expected)} that are" if isinstance(expected, tuple) else "is"
            return f"{where} is a {type(got).__name__} of another number of values than {asked} asked"
        names = [f"item {i}" if isinstance(expected, tuple) else "an item" for i in range(len(expected))]
        return _first((g, e, f"{name} of {where}") for g, e, name in zip(got, expected, names, strict=True))
    try:
        compare.fit(got, expected)
    except compare.Mismatch:
        return f"{where} {_mismatch(got, expected)}"
    return ""


def _first(parts) -> str:
    return next(filter(None, (difference(*part) for part in parts)), "")


def _mismatch(got, expected) -> str:
    if got is None:
        return f"is nothing (None) where {_kind(expected)} is asked: does every path of your function end in a return?"
    if not isinstance(expected, torch.Tensor):
        one = isinstance(got, torch.Tensor) and isinstance(expected, (int, float)) and not isinstance(expected, bool)
        return f"is {_kind(got)} where {_kind(expected)} is asked{'; .item() takes one number out' * one}"
    if not isinstance(got, torch.Tensor):
        return f"is {_kind(got)} where {_kind(expected)} is asked{lacking.how_to_make(got, expected.dtype)}"
    more = lacking.how_to_mend(got, expected)
    more = "" if ".reshape" in more else more  # it would name a hidden case's size
    if got.dtype != expected.dtype:
        return f"is {_kind(got)} where {_kind(expected)} is asked{more}"
    axes = {-1: "too few axes", 0: "another shape than is asked", 1: "too many axes"}
    return f"is a tensor with {axes[(got.ndim > expected.ndim) - (got.ndim < expected.ndim)]}{more}"


def _kind(value) -> str:
    """What a value is, without saying which or how large.

    >>> _kind(2.5), _kind(torch.zeros(3))
    ('a number', 'a float32 tensor')
    """
    if isinstance(value, torch.Tensor):
        return compare.wanted(compare.AnyShape(value.dtype))
    if isinstance(value, np.ndarray):
        return "a numpy array of another shape or dtype"
    if isinstance(value, (list, tuple, dict)):
        return f"a {type(value).__name__}"
    return "nothing (None)" if value is None else compare.wanted(value)


def unusable(error: Exception) -> str:
    """Why a check could not go on with a result, in the words of the question; "" if the student's code raised it.

    The first frame is the check's own cell; torch and numpy may stand below it, but no line that a student wrote.
    """
    files, trace = [], error.__traceback__
    while trace is not None:
        files.append(trace.tb_frame.f_code.co_filename)
        trace = trace.tb_next
    if any(name != files[0] and not name.startswith(_LIBRARIES) for name in files):
        return ""
    text = " ".join(str(error).split())
    if isinstance(error, KeyError):
        return f"the dict lacks the key {text}"
    for pattern, meaning in _KNOWN:
        found = re.search(pattern, text)
        if found:
            return meaning.format(*found.groups())
    return f"the check cannot go on with what your function returned ({type(error).__name__}: {text[:200]})"
