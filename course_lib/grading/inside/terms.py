"""What both ends of the channel have agreed on: which values may cross, and how large they may be.

| tag | value | content |
|---|---|---|
| `N` `T` `F` | None, True, False | |
| `i` | int of at most 1000 bits | length in one byte, two's complement, little-endian |
| `d` | float, NaN and infinities too | 8 bytes |
| `s` | str | byte count, UTF-8 |
| `t` `l` | tuple, list | item count, items |
| `m` | dict with string keys | item count, then key and value in turn |
| `A` `a` | torch tensor, numpy array | dtype, number of dimensions, dimensions, raw bytes |
"""

import struct

import numpy as np
import torch

MAX_BYTES = 160 * 2**20  # one message
MAX_ITEMS = 200_000  # values in one message, arrays counting once
MAX_DEPTH, MAX_DIMENSIONS, MAX_DIMENSION = 16, 16, 2**31
MAX_TEXT, MAX_INT_BITS = 400_000, 1000
MAX_NUMBERS, MAX_STRIDE = 2**24, 2**48  # in one array

COUNT, FLOAT, DIMENSION = struct.Struct("<I"), struct.Struct("<d"), struct.Struct("<Q")


class Refused(ValueError):
    """A value or a message that must not cross; the text is one sentence."""


def _dtypes(module, names):
    return [getattr(module, name) for name in names.split() if hasattr(module, name)]


# an array's dtype crosses as its place in one of these lists
TORCH = _dtypes(
    torch,
    "bool uint8 int8 int16 int32 int64 float16 bfloat16 float32 float64 complex64 complex128 uint16 uint32 uint64 "
    "float8_e4m3fn float8_e5m2 float8_e4m3fnuz float8_e5m2fnuz float8_e8m0fnu",
)
NUMPY = [np.dtype(t).newbyteorder("<") for t in "? u1 i1 i2 i4 i8 f2 f4 f8 c8 c16 u2 u4 u8".split()]
