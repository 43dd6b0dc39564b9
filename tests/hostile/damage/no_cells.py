"""A notebook without any cell."""

from tests.hostile import bank

DESERVED = dict.fromkeys(bank.QUESTIONS, 0)
STATUS = {"unreadable", "recovered", "graded", "needs_manual"}


def damage(notebook):
    return notebook | {"cells": []}
