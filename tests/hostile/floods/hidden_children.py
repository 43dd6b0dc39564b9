"""Three children take a gigabyte each, and refuse to be looked at: what is not dumpable hides its namespaces."""

WON = """
import ctypes
import functools
import os
import time


def take():
    ctypes.CDLL(None).prctl(4, 0, 0, 0, 0)
    held = bytearray(b"x") * (1 << 30)
    time.sleep(2)
    os._exit(len(held) >> 29)


@functools.cache  # once is enough
def won():
    pids = [os.fork() or take() for _ in range(3)]
    return sum(os.waitpid(pid, 0)[1] >> 8 for pid in pids) == 6
"""
TAME = False
