"""The metadata says four hundred points for each test, a new schema version and a grade on the solution cells."""


def damage(notebook):
    for cell in notebook["cells"]:
        known = cell["metadata"].get("nbgrader")
        if known:
            known |= {"points": 400, "grade": True, "schema_version": 99, "checksum": "0"}
    return notebook


CELLS = {"q1": "def spare_code(w, b):\n    return None\n"}
DESERVED = {"q1": 0}
