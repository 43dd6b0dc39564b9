"""From a value to bytes."""

import numpy as np
import torch

from . import terms
from .terms import COUNT, DIMENSION, FLOAT, Refused

_TORCH_CODE = {dtype: code for code, dtype in enumerate(terms.TORCH)}
_NUMPY_CODE = {dtype: code for code, dtype in enumerate(terms.NUMPY)}
_CONSTANT = {None: b"N", True: b"T", False: b"F"}


def encode(value) -> bytes:
    """The bytes of one value. Errors: `Refused` for what must not cross.

    >>> encode((1, [2.5, None]))
    b't\\x02\\x00\\x00\\x00i\\x01\\x01l\\x02\\x00\\x00\\x00d\\x00\\x00\\x00\\x00\\x00\\x00\\x04@N'
    """
    writer = _Writer()
    writer.put(value, 0)
    return b"".join(writer.parts)


class _Writer:
    """Collects the parts of one message and counts what they hold."""

    def __init__(self):
        self.parts, self.items, self.size = [], 0, 0

    def add(self, part: bytes):
        self.parts.append(part)
        self.size += len(part)
        if self.size > terms.MAX_BYTES:
            raise Refused("a result of more than 160 MiB")

    def put(self, value, depth: int):
        self.items += 1
        if self.items > terms.MAX_ITEMS or depth > terms.MAX_DEPTH:
            raise Refused("too many values" if depth <= terms.MAX_DEPTH else "values nested too deeply")
        (_PUT.get(type(value)) or _inherited(value))(self, value, depth)

    def constant(self, value, _depth):
        self.add(_CONSTANT[value])

    def scalar(self, value: np.generic, depth):
        item = value.item()
        if isinstance(item, np.generic):
            raise Refused(f"a number of type {_type_name(value)}")
        self.put(item, depth)

    def integer(self, value, _depth):
        value = int(value)
        if value.bit_length() > terms.MAX_INT_BITS:
            raise Refused(f"an integer of {value.bit_length()} bits")
        raw = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
        self.add(b"i" + bytes([len(raw)]) + raw)

    def floating(self, value, _depth):
        self.add(b"d" + FLOAT.pack(float(value)))

    def text(self, value, _depth, tag=b"s"):
        raw = str.__str__(value).encode("utf-8", "replace")
        if len(raw) > terms.MAX_TEXT:
            raise Refused(f"a string of {len(raw)} bytes")
        self.add(tag + COUNT.pack(len(raw)) + raw)

    def sequence(self, value, depth):
        items = list(value)
        self.add((b"t" if isinstance(value, tuple) else b"l") + COUNT.pack(min(len(items), 2**32 - 1)))
        for item in items:
            self.put(item, depth + 1)

    def mapping(self, value, depth):
        pairs = list(value.items())
        self.add(b"m" + COUNT.pack(len(pairs)))
        for key, item in pairs:
            if not isinstance(key, str):
                raise Refused(f"a dict with a key of type {_type_name(key)}")
            self.text(key, depth, tag=b"")
            self.put(item, depth + 1)

    def tensor(self, value, _depth):
        if value.layout != torch.strided or value.is_meta or value.dtype not in _TORCH_CODE:
            raise Refused("a tensor without plain data (sparse, meta or quantized)")
        if value.numel() > terms.MAX_NUMBERS:
            raise Refused(f"a tensor of {value.numel()} numbers")
        flat = value.detach().as_subclass(torch.Tensor).to("cpu").resolve_conj().resolve_neg().contiguous().reshape(-1)
        raw = flat.view(torch.uint8).numpy().tobytes() if flat.numel() else b""
        self.array(b"A", _TORCH_CODE[value.dtype], value.shape, raw)

    def ndarray(self, value, _depth):
        dtype = value.dtype.newbyteorder("<")
        if dtype not in _NUMPY_CODE:
            raise Refused(f"a numpy array of dtype {value.dtype.kind}")
        if value.size > terms.MAX_NUMBERS:
            raise Refused(f"a numpy array of {value.size} numbers")
        self.array(b"a", _NUMPY_CODE[dtype], value.shape, np.asarray(value).astype(dtype, order="C").tobytes())

    def array(self, tag, code, shape, raw):
        self.add(tag + bytes([code, len(shape)]) + b"".join([DIMENSION.pack(int(n)) for n in shape]))
        self.add(raw)


_KINDS = [  # a numpy number may be a Python one as well, and a truth value is an integer
    (np.generic, _Writer.scalar), (int, _Writer.integer), (float, _Writer.floating), (str, _Writer.text),
    (tuple, _Writer.sequence), (list, _Writer.sequence), (dict, _Writer.mapping), (torch.Tensor, _Writer.tensor),
    (np.ndarray, _Writer.ndarray),
]  # fmt: skip
_PUT = dict(_KINDS) | {type(None): _Writer.constant, bool: _Writer.constant}


def _inherited(value):
    """How to write an object of a class that is derived from one of those. Errors: `Refused`."""
    for kind, method in _KINDS:
        if isinstance(value, kind):
            return method
    raise Refused(f"an object of type {_type_name(value)}")


def _type_name(value) -> str:
    name = type(value).__name__
    return name[:60] if isinstance(name, str) and name.isidentifier() else "unknown"
