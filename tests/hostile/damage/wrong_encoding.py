"""Saved as UTF-16, as an editor of Windows may do."""

import json

STATUS = {"recovered", "unreadable"}
DESERVED = dict.fromkeys(("q1", "q2", "q3", "q4", "q5"), (0, 4))


def damage(notebook):
    return json.dumps(notebook).encode("utf-16")
