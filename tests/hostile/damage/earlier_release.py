"""Made from an earlier release: other texts, other checksums, a test cell that no longer exists, one cell less."""

STATUS = {"recovered", "graded", "needs_manual"}


def damage(notebook):
    kept = []
    for cell in notebook["cells"]:
        known = cell["metadata"].get("nbgrader", {})
        if "checksum" in known:
            known |= {"checksum": "0" * 32, "schema_version": 2, "points": 3}
        if cell["cell_type"] == "markdown" and not known:
            cell["source"] = "In last year's words."
        if cell["id"] != "q5-broken":
            kept.append(cell)
        if known.get("grade_id") == "q3-test":
            kept.append({**cell, "id": "q9-test", "metadata": {"nbgrader": {**known, "grade_id": "q9-test"}}})
    return notebook | {"cells": kept}
