"""nbformat 5.9, which nobody knows."""


def damage(notebook):
    return notebook | {"nbformat": 5, "nbformat_minor": 9}
