"""The only values that cross between the sandbox and the grader, as bytes: arrays and plain values, never a pickle.

A message is a header (magic, number of bytes) and one value, as `terms` describes it. The reader believes no length:
each is held against what has come and against the limits.
"""

import struct

from .reader import decode
from .terms import MAX_BYTES, NUMPY, TORCH, Refused
from .writer import encode

__all__ = [
    "AT_ONCE", "HEADER", "MAGIC", "MAX_BYTES", "NUMPY", "TORCH", "Refused", "body_bytes", "decode", "encode", "frame"
]  # fmt: skip

MAGIC = b"QW1\n"
HEADER = struct.Struct("<4sQ")
AT_ONCE = 2**14  # bytes to ask for at least: a header comes with its body, if that is short


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
