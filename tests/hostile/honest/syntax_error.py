"""A bracket was never closed in one cell; the others are right."""

CELLS = {"q3": "def split_error(w, s, b):\n    return {'rounding': (1.0, 'clipping': 0.0\n"}
DESERVED = {"q3": 0}
