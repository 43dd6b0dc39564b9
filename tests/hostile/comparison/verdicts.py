"""Makes every Verdict good, whoever creates it."""

CELLS = {
    "q2": """
from course_lib.checks import verdict


def good(self, name, ok, why="", points=0.0, failure=None):
    self.name, self.why, self.points, self.failure = name, why, points, None


verdict.Verdict.__init__ = good
verdict.Verdict.ok = property(lambda self: True, lambda self, value: None)


def scale_up(s):
    return 0 * s
"""
}
DESERVED = {"q2": 0}
NAIVE = "points"
