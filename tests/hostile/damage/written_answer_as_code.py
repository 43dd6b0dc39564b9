"""The written answer was turned into a code cell: a person still reads it."""

CELLS = {"explain": "The best clip moves in because rounding error shrinks more slowly."}
STATUS = {"recovered", "graded", "needs_manual"}


def damage(notebook):
    for cell in notebook["cells"]:
        if cell["metadata"].get("nbgrader", {}).get("grade_id") == "explain":
            cell |= {"cell_type": "code", "outputs": [], "execution_count": None}
    return notebook
