"""A file of no bytes."""

from tests.hostile import bank

DESERVED = dict.fromkeys(bank.QUESTIONS, 0)
STATUS = {"unreadable"}


def damage(notebook):
    return b""
