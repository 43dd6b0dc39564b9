"""Announces a frame of exabytes, in several byte orders, sends one byte of it, and ends."""

CELLS = {
    "q2": """
import os


def scale_up(s):
    for number in range(3, 256):
        for head in (b"\\x7f" + b"\\xff" * 7, b"\\xff" * 8, b"\\xff\\xff\\xff\\x7f", b"\\0\\0\\0\\x10", b"9" * 30):
            try:
                os.set_blocking(number, False)
                os.write(number, head)
            except OSError:
                pass
    os._exit(0)
"""
}
DESERVED = {"q2": 0}
TAME = False
