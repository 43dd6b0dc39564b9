"""Half a million empty cells in a file of a size that is allowed."""

STATUS = {"recovered"}


def damage(notebook):
    empty = {"cell_type": "code", "metadata": {}, "source": ""}
    notebook["cells"] += [empty] * 500_000
    return notebook
