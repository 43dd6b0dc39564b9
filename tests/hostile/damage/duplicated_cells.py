"""Every graded cell is there twice, as after a copy and paste: stock nbgrader stops the whole class."""

import copy

STATUS = {"recovered", "graded", "needs_manual"}


def damage(notebook):
    notebook["cells"] = [copy.deepcopy(cell) for cell in notebook["cells"] for _ in range(2)]
    return notebook
