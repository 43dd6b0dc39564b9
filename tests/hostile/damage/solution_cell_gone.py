"""One solution cell was deleted: that question has no answer, and the others are as good as before."""

DESERVED = {"q2": 0}
STATUS = {"recovered", "graded", "needs_manual"}


def damage(notebook):
    notebook["cells"] = [c for c in notebook["cells"] if c["metadata"].get("nbgrader", {}).get("grade_id") != "q2"]
    return notebook
