"""Starts four thousand threads; it is right only if all of them start."""

WON = """
import functools
import threading


@functools.cache  # once is enough
def won():
    gate, started = threading.Event(), 0
    threading.stack_size(65536)
    try:
        for _ in range(4000):
            threading.Thread(target=gate.wait, args=(5,), daemon=True).start()
            started += 1
    except RuntimeError:
        pass
    gate.set()
    return started == 4000
"""
TAME = False
