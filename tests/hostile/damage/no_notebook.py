"""The folder is there, and nothing is in it."""

from tests.hostile import bank

DESERVED = dict.fromkeys(bank.QUESTIONS, 0)
NAIVE = "status"
STATUS = {"unreadable"}


def arrange(folder, place):
    for path in folder.iterdir():
        path.unlink()
