"""Takes what the whole machine has of contexts for asynchronous reading: then a database, say, gets none any more."""

WON = """
import ctypes
import os

libc = ctypes.CDLL(None)
SETUP, DESTROY = {"x86_64": (206, 207)}.get(os.uname().machine, (0, 1))


def won():
    made = []
    while len(made) < 100:
        made.append(ctypes.c_ulong(0))
        if libc.syscall(SETUP, 4000, ctypes.byref(made[-1])):
            break
    for context in made:
        libc.syscall(DESTROY, context)
    return len(made) > 1
"""
TAME = False
