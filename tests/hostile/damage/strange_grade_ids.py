"""Grade ids that are numbers, lists, objects, paths, SQL and very long; nbgrader's metadata a string."""

STATUS = {"recovered"}
ODD = [7, ["q1"], {"q1": "q1"}, "../../q1", "'; drop table grade; --", "x" * 100_000, None, True]


def damage(notebook):
    odd = iter(ODD)
    for cell in notebook["cells"]:
        if "nbgrader" in cell["metadata"]:
            cell["metadata"]["nbgrader"]["grade_id"] = next(odd, "q1")
    notebook["cells"][0]["metadata"]["nbgrader"] = "solution"
    return notebook
