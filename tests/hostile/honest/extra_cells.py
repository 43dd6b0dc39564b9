"""Scratch cells everywhere: plots, half-finished thoughts, cells that fail, empty ones."""


def damage(notebook):
    made = []
    thoughts = ["", "   \n", "# nothing", "1 / 0", "spare_code(torch.ones(3), 4)", "undefined_name", "x = [", "_"]
    scratch = iter([*thoughts, "raise KeyError('x')"] * 9)
    for number, cell in enumerate(notebook["cells"]):
        source = next(scratch)
        extra = {"cell_type": "code", "id": f"scratch-{number}", "metadata": {}, "source": source, "outputs": []}
        made += [cell, {**extra, "execution_count": None}] if number >= 2 else [cell]
    return notebook | {"cells": made}
