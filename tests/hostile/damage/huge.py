"""A notebook of 60 MB: pictures that were left in it, all code there."""

STATUS = {"unreadable"}
DESERVED = dict.fromkeys(("q1", "q2", "q3", "q4", "q5"), 0)


def damage(notebook):
    picture = {"output_type": "display_data", "metadata": {}, "data": {"image/png": "A" * (60 << 20)}}
    next(c for c in notebook["cells"] if c["cell_type"] == "code")["outputs"] = [picture]
    return notebook
