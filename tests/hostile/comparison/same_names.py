"""Defines the names that the test cell uses, and locks them: a test in the same namespace would use these."""

CELLS = {
    "q1": """
import sys


class Four(float):
    def score(self, *args):
        return 4.0

    result = __call__ = score
    __enter__ = __exit__ = score


Checks = ps01 = checks = same = Four(4.0)
for name in ("graded", "graded.ps01"):
    sys.modules[name] = Four(4.0)
sys.modules["graded"].ps01 = ps01


def spare_code(w, b):
    return None
"""
}
DESERVED = {"q1": 0}
NAIVE = "points"
