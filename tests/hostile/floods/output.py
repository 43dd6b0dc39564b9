"""Prints 300 MB from a cell and from the function, on both streams, without a line's end."""

CELLS = {
    "q2": """
import os, sys


def flood(size):
    piece = "flood " * 200_000
    for _ in range(size):
        print(piece, end="")
        print(piece, end="", file=sys.stderr)
        os.write(1, piece.encode())


flood(40)


def scale_up(s):
    flood(10)
    return (s.view(torch.int32) + 65535 & -65536).view(torch.float32)
"""
}
TAME = False
