"""Gives one byte of each large page to a pipe and unmaps the page: the pipe keeps all of it, and no process has it."""

WON = """
import ctypes
import functools
import os

libc, HUGE = ctypes.CDLL(None), 1 << 21
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
libc.madvise.argtypes = [*libc.munmap.argtypes, ctypes.c_int]
libc.vmsplice.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_uint]


def give(pipe):
    at = libc.mmap(None, 2 * HUGE, 3, 0x22, -1, 0)  # for us to read and write; private, no file's
    page = -(-at // HUGE) * HUGE
    libc.madvise(page, HUGE, 14)  # a large page, please
    ctypes.memset(page, 1, HUGE)
    given = libc.vmsplice(pipe, (ctypes.c_void_p * 2)(page, 1), 1, 2)
    libc.munmap(at, 2 * HUGE)
    return given == 1


@functools.cache  # once is enough
def won():
    held, given = [], 0
    try:
        for _ in range(60):
            held += os.pipe()
            while give(held[-1]):
                given += 1
    except OSError:
        pass
    for end in held:
        os.close(end)
    return given > 900
"""
TAME = False
