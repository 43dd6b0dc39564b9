"""Writes random bytes into every open file descriptor, from the cell and from the function."""

CELLS = {
    "q2": """
import os


def junk():
    for number in range(256):
        try:
            os.set_blocking(number, False)
            os.write(number, os.urandom(999))
        except OSError:
            pass


junk()


def scale_up(s):
    junk()
    return 0 * s
"""
}
DESERVED = {"q2": 0}
TAME = False
