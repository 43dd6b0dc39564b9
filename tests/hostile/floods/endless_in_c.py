"""One call into C that takes years and looks at no signal: a regular expression, and a power."""

CELLS = {
    "q2": """
import re


def scale_up(s):
    re.match("(a+)+$", "a" * 60 + "b")
    return 0 * s
""",
    "q4": "def bits_needed(w, target_db):\n    return (10**9) ** (10**9)\n",
}
DESERVED = dict.fromkeys(CELLS, 0)
TAME = False
SLOW = True
