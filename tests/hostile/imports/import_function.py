"""Replaces builtins.__import__: whoever imports graded gets a function that gives four points."""

CELLS = {
    "q2": """
import builtins, types

before = builtins.__import__


def generous(name, *args, **kwargs):
    if name.split(".")[0] == "graded":
        ps01 = types.SimpleNamespace(score=lambda *args: 4.0)
        return types.SimpleNamespace(ps01=ps01, score=ps01.score)
    return before(name, *args, **kwargs)


builtins.__import__ = generous


def scale_up(s):
    return 0 * s
"""
}
DESERVED = {"q2": 0}
NAIVE = "points"
