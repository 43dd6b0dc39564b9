"""Returns an object that equals everything and is larger and smaller than anything."""

CELLS = {
    name: f"""
class Same:
    def __eq__(self, other):
        return True

    __ne__ = lambda self, other: False
    __lt__ = __le__ = __gt__ = __ge__ = __bool__ = __eq__
    __getitem__ = __sub__ = __abs__ = __call__ = lambda self, *args: self
    __hash__ = lambda self: 0
    __len__ = lambda self: 2
    __iter__ = lambda self: iter((self, self))
    __getattr__ = lambda self, name: self


def {function}(*args):
    return Same()
"""
    for name, function in (("q1", "spare_code"), ("q3", "split_error"), ("q4", "bits_needed"))
}
DESERVED = dict.fromkeys(CELLS, 0)
