"""What each byte of a ggml block holds: its bits, the number that they are part of, and the weights that hang on it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from course_lib.formats import ggml


class Piece(NamedTuple):
    """Neighbouring bits of one byte. They are bits `shift` and up of one number of the block.

    role     "code", "scale", "minimum", or the field of a number that all weights share: "d", "dmin", "e"
    index    which weight's code, which sub-block's scale or minimum; 0 for the shared ones
    weights  the weights whose value hangs on these bits
    """

    low: int
    width: int
    role: str
    index: int
    shift: int
    weights: range


def field_of(name: str, byte: int) -> tuple[str, int]:
    """(ggml's name of the field, place in it) of a byte of a block.

    >>> field_of("Q4_K", 5)
    ('scales', 1)
    """
    dtype = ggml.block_type(name).dtype
    if not 0 <= byte < dtype.itemsize:
        raise ValueError(f"byte must be 0 … {dtype.itemsize - 1} in a block of {name}, got {byte}")
    starts = {field: dtype.fields[field][1] for field in dtype.names}
    field = max((f for f in starts if starts[f] <= byte), key=starts.get)
    return field, byte - starts[field]


def pieces(name: str, byte: int) -> tuple[Piece, ...]:
    """What a byte of a block holds, from its lowest bits up; KeyError for a type that is not described here.

    >>> [(p.role, p.index, p.width) for p in pieces("Q4_0", 5)]
    [('code', 3, 4), ('code', 19, 4)]
    """
    field, at = field_of(name, byte)
    if field in ("d", "dmin", "e"):
        return (Piece(0, 8, field, 0, 8 * at, range(ggml.block_type(name).elements)),)
    return _LAYOUTS[name](field, at)


def numbers(name: str, data: np.ndarray) -> dict[tuple[str, int], float]:
    """Every number of a block (block_bytes,) put together from its bits: (role, index) -> its value.

    >>> block = np.frombuffer(bytes([0, 52, *range(16)]), np.uint8)  # d = 0.25
    >>> found = numbers("Q4_0", block)
    >>> found["d", 0], found["code", 3], found["code", 19]
    (0.25, 3, 0)
    """
    found = {}
    for at, byte in enumerate(data.tolist()):
        for p in pieces(name, at):
            bits = byte >> p.low & (1 << p.width) - 1
            found[p.role, p.index] = found.get((p.role, p.index), 0) | bits << p.shift
    for (role, index), value in found.items():
        if role in ("d", "dmin"):
            found[role, index] = float(np.uint16(value).view(np.float16))
        elif (name, role) in _SIGNED and value > 127:
            found[role, index] = value - 256
    return found


def _code(low, width, weight, shift=0):
    return Piece(low, width, "code", weight, shift, range(weight, weight + 1))


def _halves(field, at):
    """Q4_0, IQ4_NL, MXFP4: the first half of the block in the low nibbles, the second in the high ones."""
    return _code(0, 4, at), _code(4, 4, at + 16)


def _bytes(field, at):
    """Q8_0: a byte a weight."""
    return (_code(0, 8, at),)


def _q4_k(field, at):
    """64 weights to 32 bytes; the 6-bit scales and minima as `fields.join_scales` lays them."""
    if field == "qs":
        first = 64 * (at // 32) + at % 32
        return _code(0, 4, first), _code(4, 4, first + 32)

    def part(low, width, role, sub, shift=0):
        return Piece(low, width, role, sub, shift, range(32 * sub, 32 * sub + 32))

    if at < 8:
        role = "scale" if at < 4 else "minimum"
        return part(0, 6, role, at % 4), part(6, 2, role, at % 4 + 4, 4)
    return part(0, 4, "scale", at - 4), part(4, 4, "minimum", at - 4)


def _q6_k(field, at):
    """Halves of 128 weights: four bits of a code in ql, two in qh, a signed byte of scale for each 16."""
    if field == "scales":
        return (Piece(0, 8, "scale", at, 0, range(16 * at, 16 * at + 16)),)
    if field == "ql":
        first = 128 * (at // 64) + at % 64
        return _code(0, 4, first), _code(4, 4, first + 64)
    first = 128 * (at // 32) + at % 32
    return tuple(_code(2 * k, 2, first + 32 * k, 4) for k in range(4))


_LAYOUTS = {"Q4_0": _halves, "Q8_0": _bytes, "Q4_K": _q4_k, "Q6_K": _q6_k, "IQ4_NL": _halves, "MXFP4": _halves}
_SIGNED = {("Q8_0", "code"), ("Q6_K", "scale")}
DESCRIBED = tuple(_LAYOUTS)
