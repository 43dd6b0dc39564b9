"""Grade ids that are numbers, lists, objects, paths, SQL and very long; nbgrader's metadata a string."""

DESERVED = {"q1": (0, 4), "q2": (0, 4), "q3": (0, 4), "q4": (0, 4), "q5": (0, 4)}
STATUS = {"recovered", "graded", "needs_manual", "unreadable"}
ODD = [7, ["q1"], {"q1": "q1"}, "../../q1", "'; drop table grade; --", "x" * 100_000, None, True]


def damage(notebook):
    odd = iter(ODD)
    for cell in notebook["cells"]:
        if "nbgrader" in cell["metadata"]:
            cell["metadata"]["nbgrader"]["grade_id"] = next(odd, "q1")
    notebook["cells"][0]["metadata"]["nbgrader"] = "solution"
    return notebook
