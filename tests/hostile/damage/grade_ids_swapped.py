"""The grade ids of q1 and q2 are exchanged; the code of both is there."""


def damage(notebook):
    for cell in notebook["cells"]:
        known = cell["metadata"].get("nbgrader", {})
        known["grade_id"] = {"q1": "q2", "q2": "q1"}.get(known.get("grade_id"), known.get("grade_id"))
        if known["grade_id"] is None:
            del known["grade_id"]
    return notebook
