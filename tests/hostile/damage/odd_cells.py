"""Cells that are numbers, null, or lack source, type or metadata, between good ones."""

STATUS = {"recovered"}


def damage(notebook):
    notebook["cells"][1:1] = [7, None, "text", [], {}, {"cell_type": "code"}]
    notebook["cells"] += [{"cell_type": 5, "source": {}, "metadata": []}]
    notebook["cells"] += [{"cell_type": "code", "source": [1, 2], "metadata": None, "outputs": "none"}]
    return notebook
