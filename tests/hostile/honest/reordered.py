"""The questions stand in another order, each with its test cell; a helper moved below its text."""


def damage(notebook):
    blocks = {}
    for cell in notebook["cells"]:
        blocks.setdefault(cell["id"].split("-")[0], []).append(cell)
    order = ["intro", "how", "setup", "q5", "q3", "q4", "q1", "q2", "explain"]
    return notebook | {"cells": [cell for name in order for cell in blocks[name]]}
