"""The cell of q1 is there twice: once answered, once as it was released."""

import copy

STATUS = {"recovered", "graded", "needs_manual"}
DESERVED = {"q1": (0, 4)}


def damage(notebook):
    at = next(i for i, c in enumerate(notebook["cells"]) if c["metadata"].get("nbgrader", {}).get("grade_id") == "q1")
    again = copy.deepcopy(notebook["cells"][at])
    again["source"] = "def spare_code(w, b):\n    raise NotImplementedError()\n"
    notebook["cells"].insert(at + 1, again)
    return notebook
