"""An exception whose str, args, name and traceback raise or never end, and an answer whose repr exits."""

CELLS = {
    "q1": """
import os


class Bites(Exception):
    def __str__(self):
        os._exit(3)

    __repr__ = __str__


def spare_code(w, b):
    raise Bites()
""",
    "q3": """
class Unnamed(Exception):
    args = property(lambda self: 1 / 0)

    def __str__(self):
        raise SystemExit(self)


def split_error(w, s, b):
    raise Unnamed() from Unnamed()
""",
}
DESERVED = {"q1": 0, "q3": 0}
TAME = False
