"""Saved by another editor: its metadata, outputs, execution counts, folded cells, a widget's state."""


def damage(notebook):
    notebook["metadata"] |= {
        "colab": {"provenance": [], "toc_visible": True}, "accelerator": "GPU",
        "vscode": {"interpreter": {"hash": "0"}},
        "widgets": {"application/vnd.jupyter.widget-state+json": {"state": {}, "version_major": 2, "version_minor": 0}},
    }  # fmt: skip
    for number, cell in enumerate(notebook["cells"]):
        cell["metadata"] |= {"id": cell["id"], "colab": {"base_uri": "https://localhost:8080/"}, "collapsed": True}
        if cell["cell_type"] == "code":
            cell["execution_count"] = 100 - number
            cell["outputs"] = [{"output_type": "stream", "name": "stdout", "text": ["from last week\n"]}]
    return notebook
