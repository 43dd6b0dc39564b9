"""Subclasses of dict, tuple and str whose methods lie about what is in them."""

CELLS = {
    "q1": """
class Pair(tuple):
    asked = 0

    def __len__(self):
        return 2

    def __iter__(self):
        Pair.asked += 1
        return iter((Pair.asked, Pair.asked))


def spare_code(w, b):
    return Pair()
""",
    "q3": """
class Sums(dict):
    __contains__ = __eq__ = lambda self, other: True
    __getitem__ = lambda self, key: float("nan")
    keys = lambda self: {"rounding": 0, "clipping": 0, "sqnr_db": 0}.keys()
    items = lambda self: iter([("rounding", 1.0), ("clipping", 1.0), ("sqnr_db", 1.0)])
    __len__ = lambda self: 3


def split_error(w, s, b):
    return Sums()
""",
}
DESERVED = {"q1": 0, "q3": 0}
