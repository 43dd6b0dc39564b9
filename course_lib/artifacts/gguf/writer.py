"""Write a GGUF file: header, keys, tensor infos, padding, data, in one pass and one tensor in memory at a time."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from course_lib import files
from course_lib.artifacts.gguf.reader import MAX_DIMS, MAX_KEY, MAX_NAME
from course_lib.artifacts.gguf.tensors import kind
from course_lib.artifacts.gguf.values import ALIGNMENT, MAGIC, SCALARS, STRING, VERSIONS, Value, is_alignment, typed


class Part(NamedTuple):
    """A tensor to be written: name, shape as PyTorch has it, type id, and a function that returns its bytes."""

    name: str
    shape: tuple[int, ...]
    type_id: int
    data: Callable[[], np.ndarray]

    @property
    def nbytes(self) -> int:
        k = kind(self.type_id)
        return int(np.prod(self.shape, dtype=np.int64)) // k.elements * k.bytes


def write(path, metadata: Mapping, parts: Iterable[Part], version: int = 3) -> Path:
    """Write keys and tensors to `path`; the file appears under its name only when it is whole.

    metadata  key -> number, bool, string, list of them, or Value (see values.typed)
    ValueError for a name that is too long or occurs twice, rows that are not whole blocks, data of another size than
    shape and type say, and an alignment that the specification does not allow.
    """
    if version not in VERSIONS:
        raise ValueError(f"version must be 2 or 3, got {version!r}")
    path, parts = Path(path), list(parts)
    fields = {key: typed(key, value) for key, value in metadata.items()}
    field = fields.get("general.alignment", Value(ALIGNMENT, 4))
    if not is_alignment(field):
        raise ValueError(f"general.alignment must be a u32 and a power of two from 8, got {field.value!r}"
                         f" of type {field.type_name}")  # fmt: skip
    alignment = field.value
    head = header(fields, parts, version, alignment)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(head)
            for part in parts:
                data = np.ascontiguousarray(part.data()).reshape(-1).view(np.uint8)
                if data.size != part.nbytes:
                    raise ValueError(f"{part.name} must have {part.nbytes} bytes, got {data.size}")
                file.write(data)
                file.write(bytes(-data.size % alignment))
        os.chmod(name, 0o644)
        files.replace(name, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)
        raise
    return path


def header(fields: Mapping[str, Value], parts: list[Part], version: int = 3, alignment: int = ALIGNMENT) -> bytes:
    """Everything before the data, padded to the alignment."""
    if len({part.name for part in parts}) < len(parts):
        raise ValueError("parts must have different names")
    out = bytearray(MAGIC + _number(version, "<u4") + _number(len(parts), "<u8") + _number(len(fields), "<u8"))
    for key, field in fields.items():
        if not 1 <= len(string(key)) - 8 <= MAX_KEY:
            raise ValueError(f"keys must have 1 to {MAX_KEY} bytes, got {len(string(key)) - 8}")
        out += string(key) + _number(field.type, "<u4") + encode(field)
    offset = 0
    for part in parts:
        out += tensor_info(part, offset)
        offset += -(-part.nbytes // alignment) * alignment
    return bytes(out + bytes(-len(out) % alignment))


def tensor_info(part: Part, offset: int) -> bytes:
    """Name, number of dimensions, dimensions from the innermost one out, type id, offset in the data."""
    if len(part.name.encode()) > MAX_NAME or not 1 <= len(part.shape) <= MAX_DIMS:
        raise ValueError(f"{part.name!r} must have at most {MAX_NAME} bytes and 1 to {MAX_DIMS} dimensions,"
                         f" got the shape {part.shape}")  # fmt: skip
    k = kind(part.type_id)
    if min(part.shape) < 1 or part.shape[-1] % k.elements:
        raise ValueError(
            f"{part.name} must have rows of whole {k.name} blocks ({k.elements}), got the shape {part.shape}"
        )
    dims = b"".join(_number(n, "<u8") for n in reversed(part.shape))
    return (
        string(part.name) + _number(len(part.shape), "<u4") + dims + _number(part.type_id, "<u4")
        + _number(offset, "<u8")
    )  # fmt: skip


def encode(field: Value) -> bytes:
    """The bytes of a value, without its type id.

    >>> encode(typed("x", 258)).hex(), encode(typed("s", "ab")).hex()
    ('02010000', '02000000000000006162')
    """
    if field.type == STRING:
        return string(field.value)
    if field.type in SCALARS:
        return _number(field.value, SCALARS[field.type])
    head = _number(field.items, "<u4") + _number(len(field.value), "<u8")
    if field.items in SCALARS:
        return head + np.array(field.value, SCALARS[field.items]).tobytes()
    if field.items == STRING:
        return head + b"".join(map(string, field.value))
    return head + b"".join(encode(item) for item in field.value)


def string(text: str) -> bytes:
    """Length in bytes as u64, then UTF-8 without an end mark."""
    data = text.encode("utf-8", "surrogateescape")
    return _number(len(data), "<u8") + data


def _number(value, dtype) -> bytes:
    return np.array(value, dtype).tobytes()
