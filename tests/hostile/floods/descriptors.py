"""Opens a hundred thousand files and pipes and keeps them."""

WON = """
import functools
import os


@functools.cache  # once is enough
def won():
    held = []
    try:
        for _ in range(50_000):
            held += os.pipe()
    except OSError:
        pass
    for number in held:
        os.close(number)
    return len(held) == 100_000
"""
TAME = False
