"""Writes three gigabytes into its scratch folder, as one file and as many."""

WON = """
import functools


@functools.cache  # once is enough
def won():
    piece = b"x" * (16 << 20)
    for number in range(12):
        with open(f"/tmp/big{number}", "wb") as file:
            for _ in range(16):
                file.write(piece)
    return True
"""
TAME = False
