"""Recursion without an end, with the limit raised: the stack overflows."""

CELLS = {
    "q2": """
import sys

sys.setrecursionlimit(10**9)


class Deep:
    def __getattr__(self, name):
        return getattr(self, name + "x")

    def __repr__(self):
        return repr(self)


def scale_up(s):
    return repr(Deep())
"""
}
DESERVED = {"q2": 0}
TAME = False
