"""A code cell of the student's own with ten megabytes on one line, and a text of ten megabytes."""

STATUS = {"recovered", "graded", "needs_manual"}


def damage(notebook):
    long = {"cell_type": "code", "id": "own-1", "metadata": {}, "outputs": [], "execution_count": None}
    notebook["cells"].insert(3, {**long, "source": "x = '" + "y" * 10_000_000 + "'"})
    notebook["cells"].append({"cell_type": "markdown", "id": "own-2", "metadata": {}, "source": "<b>" * 3_000_000})
    return notebook
