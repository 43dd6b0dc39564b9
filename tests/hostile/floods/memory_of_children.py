"""Each of eight children takes a gigabyte: a limit for one process does not add them up."""

WON = """
import os


def won():
    held, done = [], 0
    for _ in range(8):
        child = os.fork()
        if not child:
            try:
                data = bytearray(b"x") * (1 << 30)
                os._exit(0 if len(data) == 1 << 30 else 1)
            except BaseException:
                os._exit(1)
        held.append(child)
    for child in held:
        done += os.waitpid(child, 0)[1] == 0
    return done == 8
"""
DESERVED = {"q2": (0, 4)}  # a limit may be one of the whole question or of each process; the machine must live
TAME = False
