"""A picture with the notebook's name."""

from tests.hostile import bank

DESERVED = dict.fromkeys(bank.QUESTIONS, 0)
NAIVE = "status"
STATUS = {"unreadable"}


def damage(notebook):
    return b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 40
