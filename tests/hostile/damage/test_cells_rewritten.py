"""Every test cell is replaced by the number of points, unlocked, or gone: tests come from the source."""

CELLS = {
    "q1": "def spare_code(w, b):\n    return None\n", "q1-test": "4", "q2-test": "raise SystemExit", "q3-test": "",
}  # fmt: skip
DESERVED = {"q1": 0}
STATUS = {"recovered", "graded", "needs_manual"}


def damage(notebook):
    kept = []
    for cell in notebook["cells"]:
        known = cell["metadata"].get("nbgrader", {})
        if known.get("grade_id") == "q4-test":
            continue
        if known.get("locked"):
            known |= {"locked": False, "checksum": "forged"}
        kept.append(cell)
    return notebook | {"cells": kept}
