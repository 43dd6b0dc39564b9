"""Short words for values: what a learner reads about inputs, answers and expectations."""

import math

import numpy as np
import torch

ROWS, COLUMNS, WHOLE = 4, 8, 16  # a tensor of at most WHOLE numbers is shown whole
HEX = 64  # bytes that are shown


def number(value, other=None) -> str:
    """A number in four digits, or in as many as tell it from `other`.

    >>> number(0.1 + 0.2), number(2.0), number(0.30000001, 0.3)
    ('0.3', '2.0', '0.30000001')
    """
    if isinstance(value, str):
        return repr(value) if len(value) <= 60 else repr(value[:59] + "…")
    if isinstance(value, bytes):
        return (value.hex(" ") if len(value) <= HEX else value[:HEX].hex(" ") + " …") or "no bytes"
    if not isinstance(value, float):
        text = str(value) if not isinstance(value, int) or abs(value) < 10**18 else f"{value:.4e}"
        return text
    for digits in (4, 6, 9, 12, 17):
        text = _float(value, digits)
        if not isinstance(other, (int, float)) or other == value or text != _float(float(other), digits):
            return text
    return text


def _float(value: float, digits: int) -> str:
    if not math.isfinite(value):
        return {math.inf: "inf", -math.inf: "-inf"}.get(value, "nan")
    for more in (digits, 6, 9, 12):
        text = f"{value:.{max(digits, more)}g}"
        if any(c in text for c in ".en"):
            return text
        if float(text) == value:
            return f"{text}.0"
    return repr(value)  # 3091.28 must not look whole


def shorten(value) -> str:
    """A value as one would type it, cut where it is long.

    >>> shorten(torch.tensor([0.73, -1.0])), shorten((1, {"s": 0.5}))
    ('[0.73, -1.0]', "(1, {'s': 0.5})")
    """
    if isinstance(value, np.ndarray):
        return shorten(torch.from_numpy(value)) + " (numpy)"
    if isinstance(value, torch.Tensor):
        return _tensor(value)
    if isinstance(value, (list, tuple)):
        shown = [shorten(v) for v in value[:COLUMNS]] + ["…"] * (len(value) > COLUMNS)
        inside = ", ".join(shown)
        comma = "," if isinstance(value, tuple) and len(value) == 1 else ""
        return f"({inside}{comma})" if isinstance(value, tuple) else f"[{inside}]"
    if isinstance(value, dict):
        shown = [f"{k!r}: {shorten(v)}" for k, v in list(value.items())[:COLUMNS]] + ["…"] * (len(value) > COLUMNS)
        return "{" + ", ".join(shown) + "}"
    if value is None or isinstance(value, (bool, int, float, str, bytes)):
        return number(value)
    return f"<{type(value).__name__}>"


def _tensor(t: torch.Tensor) -> str:
    name = str(t.dtype).removeprefix("torch.")
    note = "" if name in ("float32", "int64", "bool") else f" ({name})"
    if t.numel() > WHOLE:
        note = f" ({name}, shape {tuple(t.shape)})"
    return _nested(t, t.numel() <= WHOLE, "") + note


def _nested(t: torch.Tensor, whole: bool, cut: str) -> str:
    if t.ndim == 0:
        return number(t.item())
    keep = len(t) if whole else (COLUMNS if t.ndim == 1 else ROWS if t.ndim == 2 else 2)
    shown = [_nested(row, whole, cut) for row in t[:keep]] + ["…"] * (len(t) > keep)
    return "[" + ", ".join(shown) + "]"


def describe(value) -> str:
    """What a value is, in words.

    >>> describe(torch.zeros(2, 8)), describe(None), describe(3)
    ('a float32 tensor of shape (2, 8)', 'nothing (None)', 'the integer 3')
    """
    if value is None:
        return "nothing (None)"
    if value is Ellipsis:
        return "nothing (...)"
    if isinstance(value, torch.Tensor):
        form = f"of shape {tuple(value.shape)}" if value.ndim else "without axes"
        return f"{_article(str(value.dtype).removeprefix('torch.'))} tensor {form}"
    if isinstance(value, np.ndarray):
        return f"a numpy {value.dtype} array of shape {value.shape}"
    if isinstance(value, bool):
        return f"the truth value {value}"
    if isinstance(value, int):
        return f"the integer {number(value)}"
    if isinstance(value, float):
        return f"the number {number(value)}"
    if isinstance(value, str):
        return f"the string {number(value)}"
    if isinstance(value, bytes):
        return f"{len(value)} byte{'s' * (len(value) != 1)}"
    if isinstance(value, (tuple, list)):
        return f"a {type(value).__name__} of {len(value)} item{'s' * (len(value) != 1)}"
    if isinstance(value, dict):
        return f"a dict with {len(value)} key{'s' * (len(value) != 1)}"
    return f"{_article(type(value).__name__)} object"


def _article(word: str) -> str:
    return f"an {word}" if word[0] in "aeiou" and not word.startswith("uint") else f"a {word}"
