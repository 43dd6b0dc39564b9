"""Returns subclasses of int and float that equal everything."""

CELLS = {
    "q3": """
class Number(float):
    __eq__ = __le__ = __ge__ = lambda self, other: True
    __sub__ = __rsub__ = lambda self, other: Number(0)
    __float__ = lambda self: self
    __hash__ = float.__hash__


def split_error(w, s, b):
    return {"rounding": Number(-1), "clipping": Number(-1), "sqnr_db": Number(-1)}
""",
    "q4": """
class Whole(int):
    __eq__ = __le__ = __ge__ = lambda self, other: True
    __int__ = __index__ = lambda self: 3
    __sub__ = __rsub__ = lambda self, other: 0
    __hash__ = int.__hash__


def bits_needed(w, target_db):
    return Whole(99)
""",
}
DESERVED = {"q3": 0, "q4": 0}
