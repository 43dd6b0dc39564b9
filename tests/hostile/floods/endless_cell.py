"""The cell itself never ends."""

CELLS = {"q4": "while True:\n    pass\n"}
DESERVED = {"q4": 0, "q1": (0, 4), "q2": (0, 4), "q3": (0, 4), "q5": (0, 4)}
STATUS = {"graded", "needs_manual", "recovered", "failed"}
TAME = False
