"""Outputs that claim everything is right, an error and a score, left in the file."""

CELLS = {"q1": "def spare_code(w, b):\n    return None\n"}
DESERVED = {"q1": 0}


def damage(notebook):
    for number, cell in enumerate(notebook["cells"]):
        if cell["cell_type"] == "code":
            cell["execution_count"] = number
            cell["outputs"] = [
                {
                    "output_type": "execute_result",
                    "execution_count": number,
                    "metadata": {},
                    "data": {"text/plain": "4.0"},
                },
                {"output_type": "stream", "name": "stderr", "text": "an old warning\n"},
                {"output_type": "error", "ename": "E", "evalue": "e", "traceback": ["\u001b[0;31m old"]},
            ]
    return notebook
