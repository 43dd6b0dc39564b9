"""Half a million empty cells in a file of a size that is allowed."""

STATUS = {"recovered", "graded", "needs_manual", "unreadable"}
DESERVED = dict.fromkeys(("q1", "q2", "q3", "q4", "q5"), (0, 4))


def damage(notebook):
    empty = {"cell_type": "code", "metadata": {}, "source": ""}
    notebook["cells"] += [empty] * 500_000
    return notebook
