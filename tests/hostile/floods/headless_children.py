"""Three children take a gigabyte each after their first thread has ended: Linux then says that they have no memory."""

WON = """
import ctypes
import functools
import os
import threading
import time


def hold():
    time.sleep(0.2)
    held = bytearray(b"x") * (1 << 30)
    time.sleep(2)
    os._exit(len(held) >> 29)


def take():
    threading.Thread(target=hold).start()
    ctypes.CDLL(None).syscall({"x86_64": 60}.get(os.uname().machine, 93), 0)  # exit, of this thread only


@functools.cache  # once is enough
def won():
    pids = [os.fork() or take() for _ in range(3)]
    return sum(os.waitpid(pid, 0)[1] >> 8 for pid in pids) == 6
"""
TAME = False
