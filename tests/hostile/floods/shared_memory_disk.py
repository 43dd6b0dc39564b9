"""Writes three gigabytes into /dev/shm, which is memory."""

WON = """
import functools
import os


@functools.cache  # once is enough
def won():
    piece, held = b"x" * (16 << 20), []
    for number in range(12):
        held.append(os.memfd_create(f"big{number}"))
        for _ in range(16):
            os.write(held[-1], piece)
    with open("/dev/shm/big", "wb") as file:
        for _ in range(64):
            file.write(piece)
    return True
"""
TAME = False
