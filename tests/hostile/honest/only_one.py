"""One question answered, the others left as they were."""

from tests.hostile import bank

CELLS = {
    bank.grade_id(cell): "".join(cell["source"])
    for cell in bank.released()["cells"]
    if bank.grade_id(cell) in bank.QUESTIONS and bank.grade_id(cell) != "q3"
}
DESERVED = dict.fromkeys(CELLS, 0)
