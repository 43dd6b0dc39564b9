"""Starts five hundred processes that stay; it is right only if all of them start."""

WON = """
import functools
import os, time


@functools.cache  # once is enough
def won():
    started = []
    try:
        for _ in range(500):
            child = os.fork()
            if not child:
                time.sleep(30)
                os._exit(0)
            started.append(child)
    except OSError:
        pass
    for child in started:
        os.kill(child, 9)
        os.waitpid(child, 0)
    return len(started) == 500
"""
TAME = False
