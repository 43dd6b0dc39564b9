"""One function raises always, one has a typo in its name, one returns nothing; the others are right."""

CELLS = {
    "q1": "def spare_code(w, b):\n    return torch.quantize(w, b)\n",
    "q3": "def splitt_error(w, s, b):\n    return {}\n",
    "q4": "def bits_needed(w, target_db):\n    b = 4\n",
}
DESERVED = dict.fromkeys(CELLS, 0)
