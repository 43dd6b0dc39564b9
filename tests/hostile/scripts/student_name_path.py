"""The student's folder has a name that is no valid UTF-8, with a line's end and terminal codes in it."""

STUDENT = "bad\udcff\nname\x1b[2J"
STATUS = {"graded", "needs_manual", "recovered", "unreadable", "failed"}
DESERVED = dict.fromkeys(("q1", "q2", "q3", "q4", "q5"), (0, 4))
ABSENT = (r"\x1b\[2J",)
