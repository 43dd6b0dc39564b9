"""Which byte of a GGUF file means what: the file as a row of spans, from the magic to the last tensor's data."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from course_lib.artifacts.gguf.reader import GGUFFile
from course_lib.artifacts.gguf.values import NAMES, SCALARS, STRING

PARTS = ("header", "keys", "tensor infos", "padding", "data")


class Span(NamedTuple):
    """`size` bytes from `at` on: which part of the file, which field of it, and what they say."""

    at: int
    size: int
    part: str
    what: str
    value: str


def spans(source: bytes | np.ndarray) -> list[Span]:
    """Every byte of a GGUF file, told apart: spans that touch each other, from byte 0 to the end.

    A list's items lie in one span; a tensor's data too. GGUFError for a file that is none.

    >>> from course_lib.artifacts.gguf.writer import header
    >>> [span.what for span in spans(header({}, []))]
    ['magic', 'version', 'number of tensors', 'number of keys', 'padding']
    """
    data = np.frombuffer(source, np.uint8) if isinstance(source, bytes) else source
    file = GGUFFile(None, data)  # whatever is wrong with the file is said here
    walk = _Walk(data)
    walk.take(4, "header", "magic", "GGUF")
    for size, what in ((4, "version"), (8, "number of tensors"), (8, "number of keys")):
        walk.number(size, "header", what)
    for key in file.fields:
        _key(walk, key, file.fields[key])
    for name, info in file.tensors.items():
        _info(walk, name, info, file.data_start)
    for info in sorted(file.tensors.values(), key=lambda i: i.offset):
        walk.pad(file.data_start + info.offset)
        walk.take(info.nbytes, "data", info.name, f"{' × '.join(map(str, info.shape))} numbers of {info.type}")
    walk.pad(len(data))
    return walk.found


class _Walk:
    """Spans found so far, and the byte that comes next."""

    def __init__(self, data: np.ndarray):
        self.data, self.at, self.found = data, 0, []

    def take(self, size: int, part: str, what: str, value: str) -> None:
        if size:
            self.found.append(Span(self.at, size, part, what, value))
        self.at += size

    def number(self, size: int, part: str, what: str, say=str) -> int:
        n = int.from_bytes(self.data[self.at : self.at + size].tobytes(), "little")
        self.take(size, part, what, say(n))
        return n

    def string(self, part: str, what: str) -> None:
        size = self.number(8, part, f"length of {what}", lambda n: f"{n} bytes follow")
        text = self.data[self.at : self.at + size].tobytes().decode("utf-8", "replace")
        self.take(size, part, what, repr(text))

    def pad(self, end: int) -> None:
        self.take(max(0, end - self.at), "padding", "padding", f"{end - self.at} bytes that mean nothing")


def _key(walk: _Walk, key: str, field) -> None:
    walk.string("keys", "a key")
    walk.number(4, "keys", f"type of {key}", lambda n: f"{n} = {NAMES[n]}")
    if field.type == STRING:
        walk.string("keys", key)
    elif field.type in SCALARS:
        walk.take(SCALARS[field.type].itemsize, "keys", key, str(field.value))
    else:
        walk.number(4, "keys", f"type of an item of {key}", lambda n: f"{n} = {NAMES[n]}")
        walk.number(8, "keys", f"number of items of {key}")
        walk.take(_items_bytes(field.items, field.value), "keys", f"items of {key}",
                  _shown(field.value))  # fmt: skip


def _items_bytes(items: int, values: list) -> int:
    """Bytes that the items of a list take."""
    if items in SCALARS:
        return len(values) * SCALARS[items].itemsize
    if items == STRING:
        return sum(8 + len(text.encode("utf-8", "surrogateescape")) for text in values)
    return sum(12 + _items_bytes(inner.items, inner.value) for inner in values)  # a list of lists


def _info(walk: _Walk, name: str, info, data_start: int) -> None:
    part = "tensor infos"
    walk.string(part, "a tensor's name")
    walk.number(4, part, f"number of dimensions of {name}")
    for k in range(len(info.shape)):
        walk.number(8, part, f"dimension {k} of {name}", lambda n, k=k: f"{n}{', the length of a row' * (k == 0)}")
    walk.number(4, part, f"type of {name}", lambda n: f"{n} = {info.type}")
    walk.number(8, part, f"offset of {name}", lambda n: f"{n}: its data begin at byte {data_start + n:,} of the file")


def _shown(values: list) -> str:
    more = f", … {len(values):,} in all" if len(values) > 4 else ""
    return f"[{', '.join(map(repr, values[:4]))}{more}]"
