"""Returns numpy arrays of objects, of records and of strings; unpickling them would run code."""

CELLS = {
    "q2": """
import numpy, os


class Bomb:
    def __reduce__(self):
        return os.system, ("touch @PLACE@/WROTE-object_array",)


def scale_up(s):
    return numpy.array([Bomb() for _ in s], dtype=object)
""",
    "q5": """
def asym_round_trip(w, b):
    return numpy.array(["1.0"] * len(w))
""",
}
DESERVED = {"q2": 0, "q5": 0}
