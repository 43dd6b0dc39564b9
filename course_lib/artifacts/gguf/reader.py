"""Read a GGUF file from a stranger: every count is held against the bytes that are there before anything is made."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from course_lib.artifacts.gguf.tensors import REMOVED, TensorInfo, decode, kind
from course_lib.artifacts.gguf.values import (
    ALIGNMENT,
    ARRAY,
    MAGIC,
    NAMES,
    SCALARS,
    STRING,
    VERSIONS,
    GGUFError,
    Value,
    is_alignment,
)

DEEPEST = 4  # arrays within arrays
MAX_DIMS = 4
MAX_NAME = 63  # bytes of a tensor's name, as ggml has it
MAX_KEY = 2**16 - 1  # bytes of a key, as the specification has it
_LEAST_KEY, _LEAST_INFO = 8 + 4 + 1, 8 + 4 + 8 + 4 + 8  # bytes of the shortest key and value, and tensor info
_LEAST_ITEM = {number: dtype.itemsize for number, dtype in SCALARS.items()} | {STRING: 8, ARRAY: 4 + 8}
_SIGNED = [*range(128), *range(-128, 0)]  # i8 of a byte; shared, as Python shares 0…255: 8 bytes an item in a list


class GGUFFile:
    """A GGUF file: `version`, `alignment`, `fields` (key -> Value), `tensors` (name -> TensorInfo); data stay on disk.

    Header, keys and tensor infos take at most about 25 times their bytes in memory, whatever the file says of itself.
    Stricter than ggml: a bool is 0 or 1 and no tensor is empty. Laxer: arrays may hold arrays, as the specification
    allows, and tensors may lie in any order, with gaps.

    >>> read(path).metadata["general.architecture"]  # doctest: +SKIP
    'llama'
    """

    def __init__(self, path, buffer: np.ndarray):
        self.path, self._buffer = path, buffer
        cursor = _Cursor(buffer)
        self.version = _header(cursor)
        tensors, keys = cursor.count("tensors", _LEAST_INFO), cursor.count("keys", _LEAST_KEY)
        self.fields: dict[str, Value] = {}
        for _ in range(keys):
            key = cursor.string("a key", MAX_KEY)
            if not key or key in self.fields:
                raise cursor.error(f"the key {key!r} occurs twice" if key else "a key is empty")
            self.fields[key] = cursor.value(cursor.number(4, key), key)
        self.alignment = self._alignment(cursor)
        infos = [_info(cursor) for _ in range(tensors)]
        self.data_start = -(-cursor.at // self.alignment) * self.alignment
        self.tensors = self._placed(infos, cursor)

    @property
    def metadata(self) -> dict:
        """key -> value, without the types."""
        return {key: field.plain for key, field in self.fields.items()}

    def data(self, name: str) -> np.ndarray:
        """The bytes of one tensor, a view of the file."""
        info = self.tensors[name]
        begin = self.data_start + info.offset
        return self._buffer[begin : begin + info.nbytes]

    def tensor(self, name: str) -> np.ndarray:
        """One tensor as float32."""
        return decode(self.tensors[name], self.data(name))

    def _alignment(self, cursor) -> int:
        field = self.fields.get("general.alignment", Value(ALIGNMENT, 4))
        if not is_alignment(field):
            raise cursor.error(f"general.alignment must be a u32 and a power of two from 8, got {field.value!r:.60}")
        return field.value

    def _placed(self, infos, cursor) -> dict[str, TensorInfo]:
        """name -> info, after looking that each lies aligned, inside the file, and over no other."""
        room, found, end = len(self._buffer) - self.data_start, {}, 0
        for info in infos:
            if info.name in found:
                raise cursor.error(f"the tensor {info.name!r} occurs twice")
            found[info.name] = info
        for info in sorted(infos, key=lambda i: i.offset):
            if info.offset % self.alignment:
                raise cursor.error(f"{info.name} begins at {info.offset}, which is no multiple of {self.alignment}")
            if info.offset < end:
                raise cursor.error(f"{info.name} begins at {info.offset}, inside the tensor before it")
            end = info.offset + info.nbytes
            if end > room:
                raise cursor.error(f"{info.name} ends at byte {end} of the data, of which there are {max(room, 0)}")
        return found


def read(path) -> GGUFFile:
    """Open a GGUF file without reading its data; GGUFError says what is wrong with it, OSError that it is not there."""
    if os.path.getsize(path) == 0:
        raise GGUFError(f"{Path(path).name}: the file is empty")
    try:
        return GGUFFile(path, np.asarray(np.memmap(path, np.uint8, "r")))
    except GGUFError as error:
        raise GGUFError(f"{Path(path).name}: {error}") from None


def parse(data: bytes) -> GGUFFile:
    """The same from bytes in memory."""
    return GGUFFile(None, np.frombuffer(data, np.uint8))


def _header(cursor) -> int:
    if bytes(cursor.take(4, "the magic")) != MAGIC:
        raise cursor.error("it does not begin with GGUF")
    version = cursor.number(4, "version")
    if version not in VERSIONS:
        swapped = int.from_bytes(version.to_bytes(4, "little"), "big")
        if swapped in VERSIONS:
            raise cursor.error(f"it is a big-endian file of version {swapped}; only little-endian ones are read")
        raise cursor.error(f"version must be 2 or 3, got {version}")
    return version


def _info(cursor) -> TensorInfo:
    name = cursor.string("a tensor's name", MAX_NAME)
    dims = cursor.number(4, name)
    if not 1 <= dims <= MAX_DIMS:
        raise cursor.error(f"{name} must have 1 to {MAX_DIMS} dimensions, got {dims}")
    shape = tuple(cursor.number(8, name) for _ in range(dims))[::-1]
    type_id, offset = cursor.number(4, name), cursor.number(8, name)
    k = kind(type_id)
    if k is None:
        gone = f" {REMOVED[type_id]}, which llama.cpp no longer reads" if type_id in REMOVED else ""
        raise cursor.error(f"{name} has the {'' if gone else 'unknown '}tensor type{gone or f' {type_id}'}")
    elements = 1
    for n in shape:
        elements *= n
    if elements == 0 or elements > 2**62 or shape[-1] % k.elements:
        raise cursor.error(f"{name} has the shape {shape}, which is no whole number of {k.name} blocks")
    return TensorInfo(name, shape, type_id, offset, elements // k.elements * k.bytes)


class _Cursor:
    """A place in the bytes that only moves over what is there."""

    def __init__(self, buffer: np.ndarray):
        self.buffer, self.at = buffer, 0

    def error(self, words) -> GGUFError:
        return GGUFError(f"at byte {self.at}: {words}")

    def take(self, size: int, what: str) -> np.ndarray:
        left = len(self.buffer) - self.at
        if size > left:
            raise self.error(f"{what} needs {size} bytes, but {left} are left")
        self.at += size
        return self.buffer[self.at - size : self.at]

    def number(self, size: int, what: str) -> int:
        """An unsigned number of so many bytes."""
        return int.from_bytes(self.take(size, what).tobytes(), "little")

    def count(self, what: str, least: int) -> int:
        """A number of things that take at least so many bytes each."""
        n, left = self.number(8, f"the number of {what}"), len(self.buffer) - self.at
        if n * least > left:
            raise self.error(f"{n} {what} cannot lie in the {left} bytes that are left")
        return n

    def string(self, what: str, longest: int | None = None) -> str:
        size = self.number(8, what)
        if longest is not None and size > longest:
            raise self.error(f"{what} must have at most {longest} bytes, got {size}")
        return bytes(self.take(size, what)).decode("utf-8", "surrogateescape")

    def value(self, type_id: int, key: str, depth: int = 0) -> Value:
        if type_id in SCALARS:
            return Value(self._scalars(type_id, 1, key)[0], type_id)
        if type_id == STRING:
            return Value(self.string(key), STRING)
        if type_id != ARRAY:
            raise self.error(f"{key} has the unknown value type {type_id}")
        if depth == DEEPEST:
            raise self.error(f"{key} holds arrays more than {DEEPEST} deep")
        items = self.number(4, key)
        if items not in NAMES:
            raise self.error(f"{key} has the unknown value type {items}")
        n = self.count(f"items of {key}", _LEAST_ITEM[items])
        if items in SCALARS:
            return Value(self._scalars(items, n, key), ARRAY, items)
        if items == STRING:
            return Value([self.string(key) for _ in range(n)], ARRAY, items)
        return Value([self.value(items, key, depth + 1) for _ in range(n)], ARRAY, items)

    def _scalars(self, type_id: int, n: int, key: str) -> list:
        data = self.take(n * SCALARS[type_id].itemsize, key)
        if type_id == 7 and data.max(initial=0) > 1:
            raise self.error(f"{key} must be 0 or 1 where it is a bool, got {data.max()}")
        if type_id == 1:
            return [_SIGNED[byte] for byte in data.tobytes()]
        return data.view(SCALARS[type_id]).tolist()
