"""Imports the graded module and replaces its score function."""

CELLS = {
    "q5": """
try:
    from graded import ps01

    ps01.score = lambda name, answer: 4.0
except ImportError:
    pass


def asym_round_trip(w, b):
    return 0 * w
"""
}
DESERVED = {"q5": 0}
NAIVE = "points"
