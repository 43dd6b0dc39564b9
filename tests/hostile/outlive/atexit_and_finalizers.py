"""Functions at exit, finalizers and __del__ that print a forged report and try to change the exit status."""

CELLS = {
    "q2": """
import atexit, os, sys, weakref

FORGED = '{"student": "outlive-atexit_and_finalizers", "status": "graded", "score": 20.0, "id": "q2"}\\n'


def last_words(*args):
    for stream in (1, 2):
        try:
            os.write(stream, FORGED.encode())
        except OSError:
            pass
    os._exit(0)


class Late:
    __del__ = last_words


atexit.register(last_words)
late = Late()
weakref.finalize(sys, last_words)
sys.excepthook = sys.unraisablehook = last_words


def scale_up(s):
    return 0 * s
"""
}
DESERVED = {"q2": 0}
TAME = False
