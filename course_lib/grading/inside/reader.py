"""From bytes to a value, trusting none of them."""

import math

import numpy as np
import torch

from . import terms
from .terms import COUNT, DIMENSION, FLOAT, Refused


def decode(data: bytes):
    """The value in a message's body. Errors: `Refused` for anything that is not exactly one value within the limits.

    >>> decode(b"t\\x02\\x00\\x00\\x00i\\x01\\x01N")
    (1, None)
    """
    reader = _Reader(data)
    value = reader.value(0)
    if reader.at != len(reader.data):
        raise Refused("there is more than one value in a message")
    return value


class _Reader:
    """Walks through one message's bytes."""

    def __init__(self, data: bytes):
        self.data, self.at, self.items = memoryview(data), 0, 0

    def take(self, n: int) -> memoryview:
        at = self.at
        if n > len(self.data) - at:
            raise Refused("a message ends before its content does")
        self.at = at + n
        return self.data[at : at + n]

    def count(self, smallest: int) -> int:
        """A count of things that take at least `smallest` bytes each."""
        n = COUNT.unpack(self.take(4))[0]
        if n * smallest > len(self.data) - self.at:
            raise Refused("a message declares more than it holds")
        return n

    def value(self, depth: int):
        self.items += 1
        if self.items > terms.MAX_ITEMS or depth > terms.MAX_DEPTH:
            raise Refused("a message holds too many values, or nests them too deeply")
        read = _GET.get(self.take(1)[0])
        if read is None:
            raise Refused("a message holds an unknown kind of value")
        return read(self, depth)

    def integer(self, _depth):
        n = self.take(1)[0]
        if not 0 < n <= terms.MAX_INT_BITS // 8 + 1:
            raise Refused("an integer is too long")
        value = int.from_bytes(self.take(n), "little", signed=True)
        if value.bit_length() > terms.MAX_INT_BITS:
            raise Refused("an integer is too long")
        return value

    def floating(self, _depth):
        return FLOAT.unpack(self.take(8))[0]

    def text(self, _depth=0):
        n = self.count(1)
        if n > terms.MAX_TEXT:
            raise Refused("a string is too long")
        return bytes(self.take(n)).decode("utf-8", "replace")

    def tuple(self, depth):
        return tuple(self.list(depth))

    def list(self, depth):
        return [self.value(depth + 1) for _ in range(self.count(1))]

    def mapping(self, depth):
        found = {}
        for _ in range(self.count(5)):
            key = self.text()
            found[key] = self.value(depth + 1)
        return found

    def tensor(self, _depth):
        dtype, shape, raw = self.array(terms.TORCH)
        if not raw:
            return torch.empty(shape, dtype=dtype)
        flat = torch.frombuffer(bytearray(raw), dtype=dtype)
        return flat if len(shape) == 1 else flat.reshape(shape)

    def ndarray(self, _depth):
        dtype, shape, raw = self.array(terms.NUMPY)
        return np.frombuffer(bytearray(raw), dtype=dtype).astype(dtype.newbyteorder("=")).reshape(shape)

    def array(self, dtypes):
        code, dimensions = self.take(2)
        if code >= len(dtypes) or dimensions > terms.MAX_DIMENSIONS:
            raise Refused("an array has an unknown type or too many dimensions")
        shape = [DIMENSION.unpack(self.take(8))[0] for _ in range(dimensions)]
        numbers = math.prod(shape)
        strides = math.prod(n or 1 for n in shape)  # an empty array has them too, and torch and numpy compute them
        too_long = any(n > terms.MAX_DIMENSION for n in shape)
        if numbers > terms.MAX_NUMBERS or strides > terms.MAX_STRIDE or too_long:
            raise Refused("an array is too large")
        raw = self.take(numbers * dtypes[code].itemsize)
        if code == 0 and any(bytes(raw).translate(None, b"\0\1")):
            raise Refused("an array of truth values holds other bytes")
        return dtypes[code], tuple(shape), raw


_GET = {  # by the tag's byte
    ord("N"): lambda _reader, _depth: None,
    ord("T"): lambda _reader, _depth: True,
    ord("F"): lambda _reader, _depth: False,
    ord("i"): _Reader.integer,
    ord("d"): _Reader.floating,
    ord("s"): _Reader.text,
    ord("t"): _Reader.tuple,
    ord("l"): _Reader.list,
    ord("m"): _Reader.mapping,
    ord("A"): _Reader.tensor,
    ord("a"): _Reader.ndarray,
}
