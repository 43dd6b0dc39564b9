"""Forty children fill the buffers of their sockets, memory that no process is seen to have; right only with two GB."""

WON = """
import functools
import os, socket

PIECE = b"x" * 65536


@functools.cache  # once is enough
def won():
    pids, done = [], 0
    reading, writing = os.pipe()
    for _ in range(40):
        try:
            pids.append(os.fork())
        except OSError:
            break
        if pids[-1] == 0:
            held, filled = [], 0
            try:
                while True:
                    for end in socket.socketpair():
                        end.setblocking(False)
                        held.append(end)
                        try:
                            while True:
                                filled += end.send(PIECE)
                        except BlockingIOError:
                            pass
            except OSError:
                pass
            os.write(writing, filled.to_bytes(8, "big"))
            os.kill(os.getpid(), 19)  # keep them
    for _ in pids:
        done += int.from_bytes(os.read(reading, 8), "big")
    for pid in pids:
        os.kill(pid, 9)
        os.waitpid(pid, 0)
    return done > 2 << 30
"""
TAME = False
