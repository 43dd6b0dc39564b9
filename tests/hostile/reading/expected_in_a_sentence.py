"""Returns a string where a number is asked for, hoping to read: expected the integer 7, got the string."""

CELLS = {
    "q4": "def bits_needed(w, target_db):\n    return 'seven'\n",
    "q3": "def split_error(w, s, b):\n    return {'rounding': 'a', 'clipping': 'b', 'sqnr_db': 'c'}\n",
}
DESERVED = dict.fromkeys(CELLS, 0)
ABSENT = (r"expected the (integer|number|string|truth)",)
