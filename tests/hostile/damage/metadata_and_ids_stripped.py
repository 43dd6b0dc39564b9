"""Neither grade ids nor cell ids are left, only the code, in nbformat 4.4."""

NAIVE = "points"
STATUS = {"recovered"}


def damage(notebook):
    for cell in notebook["cells"]:
        cell["metadata"] = {}
        del cell["id"]
    return notebook | {"nbformat_minor": 4, "metadata": {}}
