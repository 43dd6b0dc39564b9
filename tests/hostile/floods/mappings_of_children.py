"""A chain of thirty children, each with fifty thousand mappings: Linux keeps a note for each mapping and ancestor."""

WON = """
import ctypes
import functools
import os
import select

libc, MANY, PAGE = ctypes.CDLL(None), 50_000, 4096
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
libc.mprotect.argtypes = libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]


def chain(writing):
    at = libc.mmap(None, MANY * PAGE, 3, 0x22, -1, 0)
    libc.madvise(at, MANY * PAGE, 15)  # small pages
    ctypes.memset(at, 1, MANY * PAGE)
    for page in range(0, MANY, 2):
        libc.mprotect(at + page * PAGE, PAGE, 1)  # each is a mapping of its own now
    for _ in range(30):
        if os.fork():
            break
        os.write(writing, b"x")
    select.select([], [], [], 100)
    os._exit(0)


@functools.cache  # once is enough
def won():
    reading, writing = os.pipe()
    first = os.fork() or chain(writing)
    said = b""
    while len(said) < 30 and select.select([reading], [], [], 60)[0]:
        said += os.read(reading, 30)
    os.kill(first, 9)
    return len(said) == 30
"""
TAME = False
