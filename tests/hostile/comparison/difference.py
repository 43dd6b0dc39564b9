"""Replaces the function that finds a difference."""

CELLS = {
    "q3": """
from course_lib.checks import compare, properties

compare.difference = lambda *args, **kwargs: None


def split_error(w, s, b):
    return {"rounding": 1.0, "clipping": 1.0, "sqnr_db": 1.0}
"""
}
DESERVED = {"q3": 0}
NAIVE = "points"
