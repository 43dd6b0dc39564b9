"""Ends the process from the cell itself, before any function is called."""

CELLS = {"q3": "import os\n\nos._exit(0)\n"}
DESERVED = {"q3": 0, "q1": (0, 4), "q2": (0, 4), "q4": (0, 4), "q5": (0, 4)}
STATUS = {"graded", "needs_manual", "recovered", "failed"}
TAME = False
