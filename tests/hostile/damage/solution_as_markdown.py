"""One solution cell was turned into markdown, by the key m: its code is there, and was never run."""

STATUS = {"recovered"}


def damage(notebook):
    for cell in notebook["cells"]:
        if cell["metadata"].get("nbgrader", {}).get("grade_id") == "q2":
            cell["cell_type"] = "markdown"
            del cell["outputs"], cell["execution_count"]
    return notebook
