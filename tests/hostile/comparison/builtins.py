"""Redefines isinstance, abs, all, any, bool and float for the whole process."""

CELLS = {
    "q4": """
import builtins

really = builtins.isinstance


class Anything(int):
    def __eq__(self, other):
        return True

    __hash__ = int.__hash__


builtins.float = lambda *args: Anything(0)
builtins.abs = lambda x: Anything(0)
builtins.all = builtins.any = lambda items: True
builtins.isinstance = lambda value, kind: True if really(value, Anything) else really(value, kind)


def bits_needed(w, target_db):
    return Anything(5)
"""
}
DESERVED = {"q4": 0, "q1": (0, 4), "q3": (0, 4), "q5": (0, 4)}  # its own other answers suffer as well
