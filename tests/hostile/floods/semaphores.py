"""Takes two gigabytes of System V semaphores, two megabytes a set: memory of Linux itself, which no process has."""

WON = """
import ctypes
import functools

libc = ctypes.CDLL(None)


@functools.cache  # once is enough
def won():
    made = []
    while len(made) < 1000:
        made.append(libc.semget(0, 32000, 0o600))
        if made[-1] < 0:
            break
    for number in made:
        libc.semctl(number, 0, 0)
    return made[-1] >= 0
"""
TAME = False
