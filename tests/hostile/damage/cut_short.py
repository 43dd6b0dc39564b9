"""The upload broke off in the middle: no valid JSON."""

import json

from tests.hostile import bank

DESERVED = dict.fromkeys(bank.QUESTIONS, 0)
NAIVE = "status"
STATUS = {"unreadable"}


def damage(notebook):
    text = json.dumps(notebook)
    return text[: len(text) // 2]
