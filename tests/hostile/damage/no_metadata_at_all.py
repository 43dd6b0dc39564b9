"""The notebook has no kernelspec and says nothing about its language."""

STATUS = {"recovered", "graded", "needs_manual"}


def damage(notebook):
    notebook["metadata"] = {}
    return notebook
