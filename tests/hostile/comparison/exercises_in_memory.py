"""Finds all Exercise objects by gc when it is called, and empties their properties or swaps their reference."""

CELLS = {
    "q5": """
import gc


def asym_round_trip(w, b):
    for thing in gc.get_objects():
        if type(thing).__name__ == "Feature" and hasattr(thing, "test"):
            object.__setattr__(thing, "test", lambda run: None)
        if type(thing).__name__ == "Exercise" and hasattr(thing, "reference"):
            object.__setattr__(thing, "reference", asym_round_trip)
    return 0 * w
"""
}
DESERVED = {"q5": 0}
NAIVE = "points"
