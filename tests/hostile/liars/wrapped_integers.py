"""Codes that are right only modulo 256: as numpy's uint8, and as int64 that is 256 too large."""

CELLS = {
    "q1": """
import numpy


def spare_code(w, b):
    star, top = max(w.tolist(), key=abs), 2 ** (b - 1)
    s = -star / top or 1.0
    q = numpy.clip(numpy.round(w.numpy() / numpy.float32(s)), -top, top - 1).astype("int64")
    return (q + 256 if b == 4 else q.astype("uint8")), s
"""
}
DESERVED = {"q1": 0}
