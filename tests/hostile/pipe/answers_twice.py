"""Forks inside the function and returns from both processes, so that each call gets two replies."""

CELLS = {
    "q2": """
import os


def scale_up(s):
    child = os.fork()
    return 0 * s if child else 0 * s + 1
""",
    "q5": """
import os


def asym_round_trip(w, b):
    os.fork()
    return 0 * w
""",
}
DESERVED = {"q2": 0, "q5": 0}
TAME = False
