"""Raises an exception whose text has 200 MB, with a cause whose cause has a cause, ten thousand times."""

CELLS = {
    "q1": "def spare_code(w, b):\n    raise ValueError('flood ' * 30_000_000)\n",
    "q5": """
def asym_round_trip(w, b):
    error = ValueError("flood")
    for number in range(10_000):
        link = ValueError(f"flood {number}")
        link.__cause__ = error
        error = link
    raise error
""",
}
DESERVED = dict.fromkeys(CELLS, 0)
TAME = False
SLOW = True
