"""The cell itself never ends."""

CELLS = {"q4": "while True:\n    pass\n"}
DESERVED = {"q4": 0}
TAME = False
