"""Four children fill 600 MB each of memory that they share with nobody, but that is called shared."""

WON = """
import functools
import mmap, os, time


@functools.cache  # once is enough
def won():
    held, done = [], 0
    for _ in range(4):
        reading, writing = os.pipe()
        child = os.fork()
        if not child:
            try:
                data = mmap.mmap(-1, 600 << 20)
                for at in range(0, 600 << 20, 4096):
                    data[at] = 1
                os.write(writing, b"1")
                time.sleep(20)  # keep it until the parent goes
            finally:
                os._exit(0)
        os.close(writing)
        held.append((child, reading))
    for child, reading in held:
        done += os.read(reading, 1) == b"1"
    return done == 4
"""
TAME = False
