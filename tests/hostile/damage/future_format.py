"""nbformat 5.9, which nobody knows."""

STATUS = {"recovered", "graded", "needs_manual", "unreadable"}
DESERVED = dict.fromkeys(("q1", "q2", "q3", "q4", "q5"), (0, 4))


def damage(notebook):
    return notebook | {"nbformat": 5, "nbformat_minor": 9}
