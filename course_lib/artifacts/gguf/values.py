"""GGUF's value types: how a number, a string or a list of them is written, by type id.

A file is: "GGUF", version u32, number of tensors u64, number of keys u64, the keys with their values, the tensor infos,
padding, the data. Source: the GGUF specification in ggml's docs/gguf.md, versions 2 and 3.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

MAGIC = b"GGUF"
VERSIONS = (2, 3)
ALIGNMENT = 32
STRING, ARRAY = 8, 9
SCALARS = {  # type id: little-endian dtype
    0: np.dtype("u1"), 1: np.dtype("i1"), 2: np.dtype("<u2"), 3: np.dtype("<i2"), 4: np.dtype("<u4"),
    5: np.dtype("<i4"), 6: np.dtype("<f4"), 7: np.dtype("?"), 10: np.dtype("<u8"), 11: np.dtype("<i8"),
    12: np.dtype("<f8"),
}  # fmt: skip
NAMES = {0: "u8", 1: "i8", 2: "u16", 3: "i16", 4: "u32", 5: "i32", 6: "f32", 7: "bool", 8: "string", 9: "array",
         10: "u64", 11: "i64", 12: "f64"}  # fmt: skip
_OF_DTYPE = {(dtype.kind, dtype.itemsize): number for number, dtype in SCALARS.items()}


class GGUFError(ValueError):
    """The file is no GGUF file that can be read; the message says where and why."""


class Value(NamedTuple):
    """A value with its type id; of an array, `items` is the type id of its items, and `value` is a list.

    Items of an array of arrays are Values themselves, since each has a type of its own.
    """

    value: object
    type: int
    items: int | None = None

    @property
    def type_name(self) -> str:
        """Such as "u32" or "string[]"."""
        return NAMES[self.type] if self.items is None else f"{NAMES[self.items]}[]"

    @property
    def plain(self) -> object:
        """The value without types, of arrays within arrays too."""
        return [item.plain for item in self.value] if self.items == ARRAY else self.value


def is_alignment(field: Value) -> bool:
    """Whether general.alignment may have this value: a u32 and a power of two from 8 to 2^20."""
    size = field.value
    return field.type == 4 and isinstance(size, int) and 8 <= size <= 2**20 and not size & (size - 1)


def typed(key: str, value) -> Value:
    """value with the type that GGUF gives it: bool, u32 (else i32, u64, i64), f32, string, or a list of one of them.

    NumPy scalars and arrays keep their own type. TypeError names the key of anything else.

    >>> typed("general.alignment", 32).type_name, typed("x", np.uint64(1)).type_name, typed("y", ["a"]).type_name
    ('u32', 'u64', 'string[]')
    """
    if isinstance(value, Value):
        return value
    if isinstance(value, np.ndarray) and value.ndim == 1:
        return Value(value.tolist(), ARRAY, _of_dtype(key, value.dtype))
    if isinstance(value, np.generic):
        return Value(value.item(), _of_dtype(key, value.dtype))
    if isinstance(value, list | tuple):
        kinds = {typed(key, item).type for item in value}
        if len(kinds) > 1:
            kinds = {_common(key, value)}
        if kinds == {ARRAY}:
            raise TypeError(f"{key} must not be a list of lists; no known key is")
        return Value(list(value), ARRAY, kinds.pop() if kinds else STRING)
    if isinstance(value, bool):
        return Value(value, 7)
    if isinstance(value, int):
        return Value(value, _whole(key, value, value))
    if isinstance(value, float):
        return Value(value, 6)
    if isinstance(value, str):
        return Value(value, STRING)
    raise TypeError(f"{key} must be a number, bool, string or a list of them, got {type(value).__name__}")


def _of_dtype(key, dtype) -> int:
    if (dtype.kind, dtype.itemsize) not in _OF_DTYPE:
        raise TypeError(f"{key} must have a type that GGUF knows, got {dtype}")
    return _OF_DTYPE[dtype.kind, dtype.itemsize]


def _whole(key, low, high) -> int:
    for number in (4, 5, 10, 11):
        info = np.iinfo(SCALARS[number])
        if info.min <= low and high <= info.max:
            return number
    raise TypeError(f"{key} must fit into 64 bits, got {low if low < 0 else high}")


def _common(key, values) -> int:
    if all(isinstance(v, int) and not isinstance(v, bool) for v in values):
        return _whole(key, min(values), max(values))
    raise TypeError(f"{key} must be a list of one type, got {', '.join(sorted({type(v).__name__ for v in values}))}")
