"""Holds two gigabytes in forty files that are only memory: each is below the limit of a file, none is mapped."""

WON = """
import functools
import os


@functools.cache  # once is enough
def won():
    piece, held = b"x" * (4 << 20), []
    for number in range(40):
        held.append(os.memfd_create(f"held{number}"))
        for _ in range(13):
            os.write(held[-1], piece)
    return len(held) == 40
"""
TAME = False
