"""The only values that cross between the sandbox and the grader, as bytes: arrays and plain values, never a pickle.

A message is a header (magic, number of bytes) and one value. Each value is a tag and its content:

| tag | value | content |
|---|---|---|
| `N` `T` `F` | None, True, False | |
| `i` | int of at most 1000 bits | length in one byte, two's complement, little-endian |
| `d` | float, NaN and infinities too | 8 bytes |
| `s` | str | byte count, UTF-8 |
| `t` `l` | tuple, list | item count, items |
| `m` | dict with string keys | item count, then key and value in turn |
| `A` `a` | torch tensor, numpy array | dtype, number of dimensions, dimensions, raw bytes |

The reader believes no length: each is held against what has come and against the limits below.
"""

import math
import struct

import numpy as np
import torch

MAGIC = b"QW1\n"
HEADER = struct.Struct("<4sQ")
MAX_BYTES = 160 * 2**20  # one message
MAX_ITEMS = 200_000  # values in one message, arrays counting once
MAX_DEPTH, MAX_DIMENSIONS, MAX_DIMENSION = 16, 16, 2**31
MAX_TEXT, MAX_INT_BITS = 400_000, 1000
MAX_NUMBERS, MAX_STRIDE = 2**24, 2**48  # in one array

_COUNT, _FLOAT, _DIM = struct.Struct("<I"), struct.Struct("<d"), struct.Struct("<Q")


class Refused(ValueError):
    """A value or a message that must not cross; the text is one sentence."""


def _dtypes(module, names):
    return [getattr(module, name) for name in names.split() if hasattr(module, name)]


TORCH = _dtypes(
    torch,
    "bool uint8 int8 int16 int32 int64 float16 bfloat16 float32 float64 complex64 complex128 uint16 uint32 uint64 "
    "float8_e4m3fn float8_e5m2 float8_e4m3fnuz float8_e5m2fnuz float8_e8m0fnu",
)
NUMPY = [np.dtype(t).newbyteorder("<") for t in "? u1 i1 i2 i4 i8 f2 f4 f8 c8 c16 u2 u4 u8".split()]
_TORCH_CODE = {dtype: code for code, dtype in enumerate(TORCH)}
_NUMPY_CODE = {dtype: code for code, dtype in enumerate(NUMPY)}


def frame(value) -> bytes:
    """A value as one message, header and all. Errors: `Refused` for what must not cross."""
    body = encode(value)
    return HEADER.pack(MAGIC, len(body)) + body


def body_bytes(header: bytes, limit: int = MAX_BYTES) -> int:
    """The length that a header declares. Errors: `Refused` for a foreign or too large one."""
    magic, length = HEADER.unpack(header)
    if magic != MAGIC:
        raise Refused("the bytes are no message")
    if not 0 < length <= limit:
        raise Refused(f"a message of {length} bytes is over the limit of {limit}")
    return length


# ---- to bytes


def encode(value) -> bytes:
    """The bytes of one value. Errors: `Refused` for what must not cross.

    >>> decode(encode((1, [2.5, None], {"s": "x"})))
    (1, [2.5, None], {'s': 'x'})
    """
    writer = _Writer()
    writer.put(value, 0)
    return b"".join(writer.parts)


class _Writer:
    """Collects the parts of one message and counts what they hold."""

    def __init__(self):
        self.parts, self.items, self.size = [], 0, 0

    def add(self, *parts: bytes):
        self.parts += parts
        self.size += sum(map(len, parts))
        if self.size > MAX_BYTES:
            raise Refused("a result of more than 160 MiB")

    def put(self, value, depth: int):
        self.items += 1
        if self.items > MAX_ITEMS or depth > MAX_DEPTH:
            raise Refused("too many values" if depth <= MAX_DEPTH else "values nested too deeply")
        if value is None or value is True or value is False:
            return self.add({None: b"N", True: b"T", False: b"F"}[value])
        if isinstance(value, np.generic):
            return self.put(_scalar(value), depth)
        for kinds, method in _PUT:
            if isinstance(value, kinds):
                return method(self, value, depth)
        raise Refused(f"an object of type {_type_name(value)}")

    def integer(self, value, _depth):
        value = int(value)
        if value.bit_length() > MAX_INT_BITS:
            raise Refused(f"an integer of {value.bit_length()} bits")
        raw = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
        self.add(b"i", bytes([len(raw)]), raw)

    def floating(self, value, _depth):
        self.add(b"d", _FLOAT.pack(float(value)))

    def text(self, value, _depth, tag=b"s"):
        raw = str.__str__(value).encode("utf-8", "surrogatepass")
        if len(raw) > MAX_TEXT:
            raise Refused(f"a string of {len(raw)} bytes")
        self.add(tag, _COUNT.pack(len(raw)), raw)

    def sequence(self, value, depth):
        items = list(value)
        self.add(b"t" if isinstance(value, tuple) else b"l", _COUNT.pack(min(len(items), 2**32 - 1)))
        for item in items:
            self.put(item, depth + 1)

    def mapping(self, value, depth):
        pairs = list(value.items())
        self.add(b"m", _COUNT.pack(len(pairs)))
        for key, item in pairs:
            if not isinstance(key, str):
                raise Refused(f"a dict with a key of type {_type_name(key)}")
            self.text(key, depth, tag=b"")
            self.put(item, depth + 1)

    def tensor(self, value, _depth):
        if value.layout != torch.strided or value.device.type == "meta" or value.dtype not in _TORCH_CODE:
            raise Refused("a tensor without plain data (sparse, meta or quantized)")
        if value.numel() > MAX_NUMBERS:
            raise Refused(f"a tensor of {value.numel()} numbers")
        flat = value.detach().as_subclass(torch.Tensor).to("cpu").resolve_conj().resolve_neg().contiguous().reshape(-1)
        raw = flat.view(torch.uint8).numpy().tobytes() if flat.numel() else b""
        self.array(b"A", _TORCH_CODE[value.dtype], value.shape, raw)

    def ndarray(self, value, _depth):
        dtype = value.dtype.newbyteorder("<")
        if dtype not in _NUMPY_CODE:
            raise Refused(f"a numpy array of dtype {value.dtype.kind}")
        if value.size > MAX_NUMBERS:
            raise Refused(f"a numpy array of {value.size} numbers")
        self.array(b"a", _NUMPY_CODE[dtype], value.shape, np.asarray(value).astype(dtype, order="C").tobytes())

    def array(self, tag, code, shape, raw):
        shape = [int(n) for n in shape]
        self.add(tag, bytes([code, len(shape)]), b"".join(map(_DIM.pack, shape)), raw)


_PUT = [
    (int, _Writer.integer), (float, _Writer.floating), (str, _Writer.text), ((tuple, list), _Writer.sequence),
    (dict, _Writer.mapping), (torch.Tensor, _Writer.tensor), (np.ndarray, _Writer.ndarray),
]  # fmt: skip


def _scalar(value: np.generic):
    item = value.item()
    if isinstance(item, np.generic):
        raise Refused(f"a number of type {_type_name(value)}")
    return item


def _type_name(value) -> str:
    name = type(value).__name__
    return name[:60] if isinstance(name, str) and name.isidentifier() else "unknown"


# ---- from bytes


def decode(data: bytes):
    """The value in a message's body. Errors: `Refused` for anything that is not exactly one value within the limits."""
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
        if n > len(self.data) - self.at:
            raise Refused("a message ends before its content does")
        self.at += n
        return self.data[self.at - n : self.at]

    def count(self, smallest: int) -> int:
        """A count of things that take at least `smallest` bytes each."""
        n = _COUNT.unpack(self.take(4))[0]
        if n * smallest > len(self.data) - self.at:
            raise Refused("a message declares more than it holds")
        return n

    def value(self, depth: int):
        self.items += 1
        if self.items > MAX_ITEMS or depth > MAX_DEPTH:
            raise Refused("a message holds too many values, or nests them too deeply")
        tag = bytes(self.take(1))
        if tag in _CONSTANT:
            return _CONSTANT[tag]
        if tag not in _GET:
            raise Refused("a message holds an unknown kind of value")
        return _GET[tag](self, depth)

    def integer(self, _depth):
        n = self.take(1)[0]
        if not 0 < n <= MAX_INT_BITS // 8 + 1:
            raise Refused("an integer is too long")
        value = int.from_bytes(self.take(n), "little", signed=True)
        if value.bit_length() > MAX_INT_BITS:
            raise Refused("an integer is too long")
        return value

    def floating(self, _depth):
        return _FLOAT.unpack(self.take(8))[0]

    def text(self, _depth=0):
        n = self.count(1)
        if n > MAX_TEXT:
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
        dtype, shape, raw = self.array(TORCH, [d.itemsize for d in TORCH])
        if not raw:
            return torch.empty(shape, dtype=dtype)
        return torch.frombuffer(bytearray(raw), dtype=torch.uint8).view(dtype).reshape(shape)

    def ndarray(self, _depth):
        dtype, shape, raw = self.array(NUMPY, [d.itemsize for d in NUMPY])
        return np.frombuffer(bytearray(raw), dtype=dtype).astype(dtype.newbyteorder("=")).reshape(shape)

    def array(self, dtypes, sizes):
        code, dimensions = self.take(2)
        if code >= len(dtypes) or dimensions > MAX_DIMENSIONS:
            raise Refused("an array has an unknown type or too many dimensions")
        shape = [_DIM.unpack(self.take(8))[0] for _ in range(dimensions)]
        numbers = math.prod(shape)
        strides = math.prod(n or 1 for n in shape)  # an empty array has them too, and torch and numpy compute them
        if numbers > MAX_NUMBERS or strides > MAX_STRIDE or any(n > MAX_DIMENSION for n in shape):
            raise Refused("an array is too large")
        raw = self.take(numbers * sizes[code])
        if code == 0 and any(bytes(raw).translate(None, b"\0\1")):
            raise Refused("an array of truth values holds other bytes")
        return dtypes[code], tuple(shape), raw


_CONSTANT = {b"N": None, b"T": True, b"F": False}
_GET = {
    b"i": _Reader.integer, b"d": _Reader.floating, b"s": _Reader.text, b"t": _Reader.tuple, b"l": _Reader.list,
    b"m": _Reader.mapping, b"A": _Reader.tensor, b"a": _Reader.ndarray,
}  # fmt: skip
