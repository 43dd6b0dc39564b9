"""Makes the course's own Tolerance allow everything."""

CELLS = {
    "q1": """
import torch

from course_lib.checks import compare

compare.Tolerance.allows = lambda self, got, expected: torch.ones_like(expected, dtype=torch.bool)
compare._numbers_agree = lambda *args: True


def spare_code(w, b):
    return torch.zeros(len(w), dtype=torch.int8), 7.0
"""
}
DESERVED = {"q1": 0}
NAIVE = "points"
