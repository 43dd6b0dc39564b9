"""The right notebook, and an older copy beside it without any answer."""

import json

from tests.hostile import bank

STATUS = {"recovered", "graded", "needs_manual"}


def arrange(folder, place):
    (folder / "ps01-round-trips-and-scales-Copy1.ipynb").write_text(json.dumps(bank.released()))
