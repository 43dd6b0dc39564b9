"""Processes that start processes, twelve generations: four thousand, if nothing stops them."""

CELLS = {
    "q2": """
import os, time


def scale_up(s):
    for _ in range(12):
        try:
            os.fork()
        except OSError:
            pass
    time.sleep(20)
    os._exit(0)
"""
}
DESERVED = {"q2": 0}
TAME = False
