"""Pickles that would run a program, in metadata, outputs, attachments and the state of widgets."""

import base64
import os
import pickle


class Bomb:
    def __reduce__(self):
        return os.system, ("touch /tmp/WROTE-metadata",)


CODED = base64.b64encode(pickle.dumps(Bomb())).decode()


def damage(notebook):
    kinds = ("application/x-python-pickle", "application/octet-stream", "application/vnd.dask.graph")
    bundle = dict.fromkeys(kinds, CODED)
    notebook["metadata"] |= {
        "pickle": CODED,
        "widgets": {"application/vnd.jupyter.widget-state+json": {"state": CODED}},
    }
    notebook["metadata"]["kernelspec"] |= {"argv": ["/bin/sh", "-c", "touch /tmp/WROTE-metadata"], "env": {"A": CODED}}
    for cell in notebook["cells"]:
        cell["metadata"]["pickle"] = CODED
        if cell["cell_type"] == "code":
            cell["outputs"] = [{"output_type": "execute_result", "execution_count": 1, "metadata": {}, "data": bundle}]
        else:
            cell["attachments"] = {"x.pkl": bundle}
    return notebook
