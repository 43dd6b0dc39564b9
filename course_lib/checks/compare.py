"""Compare an answer with what was expected: type first, then shape, then dtype, and only then the values.

What is accepted for what:

| expected | accepted |
|---|---|
| tensor | a torch tensor of that shape and dtype; a numpy array of that shape and kind (float64 as float32) |
| tensor with no axes | also a Python number, numpy's, or torch's of another dtype |
| number | also a tensor or array with no axes; 7.0 counts as the integer 7 |
| bytes | bytes |
| tuple or list | either, of that length |
| dict | a dict with the same keys |
"""

import math
from dataclasses import dataclass

import numpy as np
import torch

from course_lib.checks import lacking
from course_lib.checks.shorten import describe, number


class Mismatch(Exception):
    """The answer is of the wrong type, shape or dtype; the message is one sentence."""


class OtherSize(Mismatch):
    """The answer is a list or a tensor, as was asked, of another length or shape."""


@dataclass(frozen=True)
class AnyShape:
    """Stands for a tensor of this dtype, whatever its shape."""

    dtype: torch.dtype


def shapeless(expected):
    """`expected` without the shapes of its tensors: what an answer of the learner's own size must be like."""
    if isinstance(expected, torch.Tensor):
        return AnyShape(expected.dtype)
    return type(expected)(map(shapeless, expected)) if isinstance(expected, (tuple, list)) else expected


def fit(got, expected, where: str = ""):
    """`got` in the form of `expected`. Errors: `Mismatch` with one sentence.

    >>> fit((1, 2.0), (0, 0))
    (1, 2)
    """
    if isinstance(expected, torch.Tensor):
        return _fit_tensor(got, expected, where)
    if isinstance(expected, AnyShape):
        if isinstance(got, np.ndarray) and f"torch.{got.dtype}" == str(expected.dtype):
            got = torch.from_numpy(got.copy())
        same = isinstance(got, torch.Tensor) and got.dtype == expected.dtype
        return got if same else _mismatch(got, expected, where, more=lacking.how_to_write(got, expected.dtype))
    if isinstance(expected, (tuple, list)):
        return _fit_sequence(got, expected, where)
    if isinstance(expected, dict):
        return _fit_dict(got, expected, where)
    got = _unwrap(got)
    if isinstance(expected, bool) or expected is None or isinstance(expected, (str, bytes)):
        fits = type(got) is type(expected)
    elif isinstance(expected, int):
        fits = _integral(got)
        got = int(got) if fits else got
    else:
        fits = isinstance(got, (int, float)) and not isinstance(got, bool)
        got = float(got) if fits and abs(got) < 2**1000 else got
    in_a_list = isinstance(expected, bytes) and isinstance(got, (list, tuple))
    return got if fits else _mismatch(got, expected, where, more="; write bytes([…])" if in_a_list else "")


def _mismatch(got, expected, where: str, kind=Mismatch, more: str = ""):
    place = f" as {where}" if where else ""
    raise kind(f"expected {wanted(expected)}{place}, got {describe(got)}{more}")


def wanted(expected) -> str:
    """What kind of value is asked for, in words; never a number or a text itself, which would give the answer away.

    >>> wanted(7), wanted(1.5), wanted(torch.zeros(2))
    ('a whole number', 'a number', 'a float32 tensor of shape (2,)')
    """
    if isinstance(expected, AnyShape):
        return describe(torch.empty(0, dtype=expected.dtype)).removesuffix(" of shape (0,)")
    kinds = {bool: "a truth value", int: "a whole number", float: "a number", str: "a string", bytes: "bytes"}
    return kinds.get(type(expected)) or describe(expected)


def _unwrap(got):
    if isinstance(got, (torch.Tensor, np.ndarray)) and got.ndim == 0:
        return got.item()
    return got


def _integral(got) -> bool:
    if isinstance(got, bool):
        return False
    return isinstance(got, int) or (isinstance(got, float) and math.isfinite(got) and got == int(got))


def _kind(dtype: torch.dtype) -> str:
    return "b" if dtype == torch.bool else "f" if dtype.is_floating_point else "i"


def _holds(dtype: torch.dtype, array: np.ndarray) -> bool:
    """Whether an integer type has all of an array's values: 248 must not become −8 on the way to int8."""
    if _kind(dtype) != "i" or array.size == 0:
        return True
    return torch.iinfo(dtype).min <= int(array.min()) and int(array.max()) <= torch.iinfo(dtype).max


def _fit_tensor(got, expected: torch.Tensor, where: str):
    one = _unwrap(got)
    if expected.ndim == 0 and isinstance(one, (int, float)) and not isinstance(one, bool):
        if _kind(expected.dtype) == "f" or _integral(one):
            return torch.tensor(one, dtype=torch.float64).to(expected.dtype)
    if isinstance(got, np.ndarray):
        same_kind = _kind(torch.from_numpy(got).dtype) == _kind(expected.dtype)
        if got.shape == tuple(expected.shape) and same_kind and _holds(expected.dtype, got):
            return torch.from_numpy(got).to(expected.dtype)
    if not isinstance(got, torch.Tensor):
        _mismatch(got, expected, where, more=lacking.how_to_make(got, expected.dtype))
    if got.dtype != expected.dtype:
        _mismatch(got, expected, where, more=lacking.how_to_mend(got, expected))
    if got.shape != expected.shape:
        _mismatch(got, expected, where, OtherSize, more=lacking.how_to_mend(got, expected))
    return got


def _fit_sequence(got, expected, where: str):
    if not isinstance(got, (tuple, list)):
        _mismatch(got, expected, where)
    if len(got) != len(expected):
        if isinstance(got, list) and isinstance(expected, list) and not where:
            _mismatch(got, expected, where, OtherSize)
        _mismatch(got, expected, where)
    items = [fit(g, e, _inside(f"item {i}", where)) for i, (g, e) in enumerate(zip(got, expected, strict=True))]
    return type(expected)(items)


def _fit_dict(got, expected: dict, where: str):
    if not isinstance(got, dict):
        _mismatch(got, expected, where)
    missing = [k for k in expected if k not in got]
    extra = [k for k in got if k not in expected]
    if missing or extra:
        said = [f"missing {', '.join(map(repr, missing))}"] * bool(missing)
        said += [f"not asked for: {', '.join(repr(k)[:40] for k in extra[:5])}"] * bool(extra)
        raise Mismatch(f"expected a dict with the keys {', '.join(map(repr, expected))}; {'; '.join(said)}")
    return {k: fit(got[k], expected[k], _inside(f"[{k!r}]", where)) for k in expected}


def _inside(here: str, where: str) -> str:
    return f"{here} of {where}" if where else here


@dataclass(frozen=True)
class Tolerance:
    """|got − expected| ≤ atol + (rtol + ulps·eps)·|expected|, with eps of the expected float type."""

    atol: float = 0.0
    rtol: float = 0.0
    ulps: float = 0.0

    def __str__(self):
        parts = [f"{self.atol:.2g}"] * bool(self.atol) + [f"{self.rtol:.2g} of the value"] * bool(self.rtol)
        parts += [f"{self.ulps:g} roundings of its float type"] * bool(self.ulps)
        return f"Allowed difference: {' plus '.join(parts) or 'none'}."

    def allows(self, got: torch.Tensor, expected: torch.Tensor) -> torch.Tensor:
        """Element by element: is the answer close enough? NaN equals NaN, and an infinity only itself."""
        if not expected.dtype.is_floating_point:
            return (got == expected) | ((got.double() - expected.double()).abs() <= self.atol)
        rel = self.rtol + self.ulps * torch.finfo(expected.dtype).eps
        got, expected = got.double(), expected.double()
        near = (got - expected).abs() <= self.atol + rel * expected.abs()
        near &= got.isfinite() & expected.isfinite()
        return near | (got == expected) | (got.isnan() & expected.isnan())


EXACT = Tolerance()


def difference(got, expected, tolerance: Tolerance = EXACT, where: str = "") -> str | None:
    """None when the values agree (after `fit`), or one sentence that says where they first differ."""
    if isinstance(expected, torch.Tensor):
        return _tensor_difference(got, expected, tolerance, where)
    if isinstance(expected, bytes):
        return _bytes_difference(got, expected, where)
    if isinstance(expected, (tuple, list)):
        parts = [(f"item {i}", g, e) for i, (g, e) in enumerate(zip(got, expected, strict=True))]
    elif isinstance(expected, dict):
        parts = [(f"[{k!r}]", got[k], expected[k]) for k in expected]
    else:
        same = _numbers_agree(got, expected, tolerance)
        place = f"{where}: " if where else ""
        return None if same else f"{place}yours {number(got, expected)}, expected {number(expected, got)}"
    for name, g, e in parts:
        found = difference(g, e, tolerance, _inside(name, where))
        if found:
            return found
    return None


def _bytes_difference(got: bytes, expected: bytes, where: str) -> str | None:
    if got == expected:
        return None
    same = next(
        (k for k, (a, b) in enumerate(zip(got, expected, strict=False)) if a != b), min(len(got), len(expected))
    )
    shown = [f"{data[same]:02x}" if same < len(data) else "no more bytes" for data in (got, expected)]
    return f"at byte {same}{f' of {where}' if where else ''}: yours {shown[0]}, expected {shown[1]}"


def _numbers_agree(got, expected, tolerance: Tolerance) -> bool:
    if isinstance(expected, float):
        both = torch.tensor(float(got), dtype=torch.float64), torch.tensor(expected, dtype=torch.float64)
        return bool(tolerance.allows(*both))
    return got == expected or (_integral(got) and _integral(expected) and abs(got - expected) <= tolerance.atol)


def _comparable(t: torch.Tensor) -> torch.Tensor:
    """Floats of one byte as float32: torch stores them, and compares them not."""
    return t.float() if t.dtype.itemsize == 1 and t.dtype.is_floating_point else t


def _tensor_difference(got, expected, tolerance: Tolerance, where: str) -> str | None:
    got, expected = _comparable(got), _comparable(expected)
    if torch.equal(got, expected):  # most often, and quicker
        return None
    wrong = ~tolerance.allows(got, expected)
    if not bool(wrong.any()):
        return None
    at = tuple(int(i) for i in wrong.nonzero()[0])
    g, e = got[at].item(), expected[at].item()
    values = f"yours {number(g, e)}, expected {number(e, g)}"
    if expected.numel() == 1:
        return f"{where}: {values}" if where else values
    index = f"[{', '.join(map(str, at))}]"
    place = f"{index} of {where}" if where else index
    return f"at {place}: {values} ({int(wrong.sum())} of {expected.numel()} numbers differ)"
