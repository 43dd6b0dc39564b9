"""Fills two gigabytes of System V shared memory, half a gigabyte at a time, and lets go of each: no process has it."""

WON = """
import functools
import ctypes

libc = ctypes.CDLL(None)
libc.shmat.restype = ctypes.c_void_p
libc.shmdt.argtypes = [ctypes.c_void_p]


@functools.cache  # once is enough
def won():
    for number in range(4):
        segment = libc.shmget(0x1000 + number, 1 << 29, 0o1666)
        where = libc.shmat(segment, None, 0)
        if segment < 0 or where in (None, 2**64 - 1):
            return False
        ctypes.memset(where, 1, 1 << 29)
        libc.shmdt(where)
    return True
"""
TAME = False
