"""Half of a character, which no file can hold, in code, text, outputs and metadata."""

STATUS = {"needs_manual"}
CELLS = {"explain": "Half a smile: \ud83d, and NUL: \x00."}


def damage(notebook):
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            cell["outputs"] = [{"output_type": "stream", "name": "stdout\ud800", "text": "\udfff"}]
        if cell["metadata"].get("nbgrader", {}).get("grade_id") == "q1":
            cell["source"] = "# \ud83d\n" + cell["source"]
    notebook["metadata"]["title"] = "\udc00"
    notebook["cells"].append({"cell_type": "code", "id": "own", "metadata": {}, "outputs": [], "source": "'\ud800'"})
    return notebook
