"""A tool has removed all metadata of the cells, grade ids included; cell ids and code are there."""

NAIVE = "points"
STATUS = {"recovered"}


def damage(notebook):
    for cell in notebook["cells"]:
        cell["metadata"] = {}
    notebook["metadata"] = {}
    return notebook
