"""A hundred megabytes of older notebooks without an answer, all named before the right one."""

import json

from tests.hostile import bank

STATUS = {"recovered"}


def arrange(folder, place):
    empty = json.dumps(bank.released())
    for number in range(14):
        (folder / f"a-{number:02}.ipynb").write_text(empty + " " * (7 << 20))
