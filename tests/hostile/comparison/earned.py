"""Replaces the function that says how many points a property earns."""

CELLS = {
    "q2": """
from course_lib.grading import questions

questions._earned = lambda prop, verdict: prop.points


def scale_up(s):
    return 0 * s + 1
"""
}
DESERVED = {"q2": 0}
NAIVE = "points"
