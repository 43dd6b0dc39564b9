"""Takes ten gigabytes and writes to every page; it is right only if it gets them."""

WON = """
import functools


@functools.cache  # once is enough
def won():
    held = []
    for _ in range(160):
        held.append(bytearray(b"x") * (64 << 20))
    return len(held) == 160
"""
TAME = False
