"""Plain copies of what goes into a learner's function and of what comes out of it.

Only numbers, strings, bytes, None, tensors, numpy arrays, tuples, lists and dicts are plain. A copy is taken at once,
so nothing that the learner's code changes later can change a verdict.
"""

import copy
import math

import numpy as np
import torch

MAX_NUMBERS = 2**24  # 16.8 million numbers; no exercise needs more
MAX_BITS = 1000  # of a whole number, so that it is still a float


class Unreadable(Exception):
    """An answer that cannot be copied as plain data; the message completes the sentence 'your function returned …'."""


def fresh(value):
    """A deep copy of an input, so that each call starts from the same untouched arguments."""
    if isinstance(value, torch.Tensor):
        return value.detach().clone()
    if isinstance(value, (list, tuple)):
        return type(value)(fresh(v) for v in value)
    if isinstance(value, dict):
        return {k: fresh(v) for k, v in value.items()}
    return copy.deepcopy(value)


def plain(value, depth: int = 0):
    """A plain copy of an answer. Errors: `Unreadable` for anything that is not plain data, or is too large.

    >>> plain((1, [2.5, None]))
    (1, [2.5, None])
    """
    if value is None or value is Ellipsis:
        return None
    if isinstance(value, (bool, str)):
        return _short_string(value) if isinstance(value, str) else value
    if isinstance(value, (bytes, bytearray)):
        return _short_bytes(bytes(value))
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, (bool, int, float)):
        return value if isinstance(value, bool) else _number(value)
    if isinstance(value, torch.Tensor):
        return _tensor(value)
    if isinstance(value, np.ndarray):
        return _array(value)
    if isinstance(value, (tuple, list, dict)):
        return _container(value, depth)
    name = type(value).__name__
    if name in ("generator", "set", "map", "filter", "zip", "dict_keys", "dict_values", "range"):
        raise Unreadable(f"a {name}; list(…) makes a list of it")
    raise Unreadable(f"an object of type {name}")


def _number(value):
    if isinstance(value, int) and value.bit_length() > MAX_BITS:
        raise Unreadable(f"a whole number of {value.bit_length():,} bits, too large to check")
    return int(value) if isinstance(value, int) else float(value)


def _short_string(value: str) -> str:
    if len(value) > 100_000:
        raise Unreadable(f"a string of {len(value):,} characters, too long to check")
    return str.__str__(value)


def _short_bytes(value: bytes) -> bytes:
    if len(value) > MAX_NUMBERS:
        raise Unreadable(f"{len(value):,} bytes, too many to check")
    return value


def _tensor(value: torch.Tensor) -> torch.Tensor:
    if value.layout != torch.strided or value.device.type == "meta" or value.is_quantized:
        raise Unreadable("a tensor without plain data (sparse, meta or quantized)")
    if value.dtype == torch.float4_e2m1fn_x2:
        raise Unreadable("a tensor of float4_e2m1fn_x2, two numbers a byte, which torch cannot read one by one")
    if value.numel() > MAX_NUMBERS:
        raise Unreadable(f"a tensor of shape {tuple(value.shape)}, too large to check")
    return value.detach().as_subclass(torch.Tensor).to("cpu", copy=True).contiguous()


def _array(value: np.ndarray) -> np.ndarray:
    if value.size > MAX_NUMBERS:
        raise Unreadable(f"a numpy array of shape {value.shape}, too large to check")
    if value.dtype.kind not in "biuf":
        raise Unreadable(f"a numpy array of dtype {value.dtype}")
    return np.array(value, copy=True, order="C", subok=False)


def _container(value, depth: int):
    if depth > 8:
        raise Unreadable("lists inside lists, nested too deeply")
    if len(value) > 100_000:
        raise Unreadable(f"a {type(value).__name__} of {len(value):,} items, too large to check")
    if isinstance(value, dict):
        return {plain(k, depth + 1): plain(v, depth + 1) for k, v in value.items()}
    items = [plain(v, depth + 1) for v in value]
    return tuple(items) if isinstance(value, tuple) else items


def same_bits(a, b) -> bool:
    """True when two plain values are equal in type, shape, dtype and every value (NaN equals NaN)."""
    if type(a) is not type(b):
        return False
    if isinstance(a, torch.Tensor):
        return a.shape == b.shape and a.dtype == b.dtype and _bytes(a) == _bytes(b)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(same_bits(x, y) for x, y in zip(a, b, strict=True))
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same_bits(a[k], b[k]) for k in a)
    if isinstance(a, np.ndarray):
        return a.shape == b.shape and a.dtype == b.dtype and a.tobytes() == b.tobytes()
    return a == b or (isinstance(a, float) and math.isnan(a) and math.isnan(b))


def _bytes(t: torch.Tensor) -> bytes:
    return t.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes() if t.numel() else b""


def size(value) -> int:
    """How many numbers a plain value holds: the smallest failing case is the one shown."""
    if isinstance(value, (torch.Tensor, np.ndarray)):
        return int(np.prod(tuple(value.shape)))
    if isinstance(value, dict):
        return sum(size(v) for v in value.values())
    if isinstance(value, (list, tuple)):
        return sum(size(v) for v in value)
    return 1
