"""Valid JSON, but a list of numbers."""

from tests.hostile import bank

DESERVED = dict.fromkeys(bank.QUESTIONS, 0)
STATUS = {"unreadable"}


def damage(notebook):
    return [1, 2, 3]
