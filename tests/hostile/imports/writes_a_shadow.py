"""The cell writes numpy.py and graded.py into its own folder and puts that first on the path."""

CELLS = {
    "q1": """
import os, sys

for name in ("graded", "ps01", "sitecustomize"):
    with open(name + ".py", "w") as file:
        file.write("class ps01:\\n    score = staticmethod(lambda *args: 4.0)\\n")
sys.path[:0] = [os.getcwd(), ""]
sys.modules.pop("graded", None)
sys.modules.pop("graded.ps01", None)


def spare_code(w, b):
    return None
"""
}
DESERVED = {"q1": 0}
NAIVE = "points"
