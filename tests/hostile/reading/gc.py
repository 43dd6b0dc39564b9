"""Searches all objects in memory for exercises, cases, references and the text of hidden tests."""

WON = r"""
import gc, re

HIDDEN = re.compile(r"ps01[.]score[(]|BEGIN[ ]HIDDEN|CANARY[-][A-Z]")


def won():
    for thing in gc.get_objects():
        if type(thing).__name__ in ("Exercise", "Mistake", "Feature"):
            return True
        if type(thing) is dict:
            if any(type(v) is str and len(v) > 30 and HIDDEN.search(v) for v in list(thing.values())):
                return True
    return False
"""
NAIVE = "points"
