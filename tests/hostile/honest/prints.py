"""Prints a lot, in cells and in functions, with an end and a flush of its own."""

from tests.hostile import bank

FIRST = ("print('hello', end='', flush=True)\nfor i in range(300):\n    print(i, 'thinking aloud')",)
CELLS = {
    "q2": 'import sys\n\n\ndef scale_up(s):\n    print("s is", s, file=sys.stderr)\n    sys.stdout.write("…")\n'
    + bank.RIGHT["q2"].split("\n", 1)[1]
}
