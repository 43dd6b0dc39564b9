"""Raises and returns text that no encoder takes: lone surrogates, NUL bytes, terminal codes."""

CELLS = {
    "q1": """
def spare_code(w, b):
    raise ValueError("\\ud800 \\x00 \\x1b[2J \\x1b]0;owned\\x07 \\u202e \\r\\n")
""",
    "q3": "def split_error(w, s, b):\n    return {'\\ud800\\x00': 1.0}\n",
    "q4": "def bits_needed(w, target_db):\n    return '\\udfff\\x00' * 1000\n",
}
DESERVED = dict.fromkeys(CELLS, 0)
ABSENT = (r"\x1b\[2J", r"\x1b\]0;")
