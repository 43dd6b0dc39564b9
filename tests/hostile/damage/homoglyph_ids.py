"""Grade ids in letters and digits that only look right, or with marks that nobody sees; the code is all there."""

STATUS = {"recovered"}
LOOKS = {"q1": "q１", "q2": "ｑ2", "q3": "q3\u200b", "q4": "q4\u0301", "q5": "\u202eq5"}


def damage(notebook):
    for cell in notebook["cells"]:
        marks = cell["metadata"].get("nbgrader", {})
        if marks.get("grade_id") in LOOKS:
            marks["grade_id"] = LOOKS[marks["grade_id"]]
            cell["id"] = marks["grade_id"]
    return notebook
