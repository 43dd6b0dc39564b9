"""The answers come as a Python script, no notebook."""

from tests.hostile import bank

FILE = "ps01.py"
DESERVED = dict.fromkeys(bank.QUESTIONS, 0)
STATUS = {"unreadable"}


def damage(notebook):
    return "\n\n".join("".join(c["source"]) for c in notebook["cells"] if c["cell_type"] == "code")
