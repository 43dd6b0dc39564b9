"""Fills two gigabytes of memory that it maps from a device or shares with nobody, and lets go of each page at once."""

WON = """
import mmap

FILES = (-1, "/dev/zero", "/dev/full")


def fill(name):
    try:
        number = name if name == -1 else open(name, "r+b").fileno()
        held = [mmap.mmap(number, 256 << 20, mmap.MAP_SHARED) for _ in range(8)]
    except (OSError, ValueError):
        return False
    for part in held:
        for at in range(0, 256 << 20, 4096):
            part[at] = 1
        part.madvise(mmap.MADV_DONTNEED)  # not mapped any more, and still there
    return sum(part[4096] for part in held) == 8


def won():
    return any(map(fill, FILES))
"""
TAME = False
