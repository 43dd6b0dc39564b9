"""Puts its own objects into sys.modules for everything that a test imports."""

CELLS = {
    "q2": """
import sys, types


class Friendly(types.ModuleType):
    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return Friendly(name)

    def __call__(self, *args, **kwargs):
        return 4.0

    def __enter__(self):
        return self

    def __exit__(self, *args):
        return True


for name in ("course_lib.grading", "course_lib.checks.judge", "graded", "graded.ps01"):
    sys.modules[name] = Friendly(name)


def scale_up(s):
    return 0 * s
"""
}
DESERVED = {"q2": 0}
NAIVE = "points"
