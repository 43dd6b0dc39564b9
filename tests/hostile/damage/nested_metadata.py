"""Lists in lists in all metadata, outputs and attachments, nine hundred deep: just what a parser still reads."""


def damage(notebook):
    deep = {}
    for _ in range(450):
        deep = {"a": [deep]}
    for cell in notebook["cells"]:
        cell["metadata"]["deep"] = deep
        cell["attachments"] = {"a.png": deep}
        if cell["cell_type"] == "code":
            cell["outputs"] = [deep, {"output_type": "display_data", "metadata": deep, "data": {"text/plain": deep}}]
    return notebook | {"metadata": notebook["metadata"] | {"deep": deep}}
