"""Cells that do not even parse: a merge conflict, an unclosed bracket, a NUL byte, an indentation."""

CELLS = {
    "q1": "<<<<<<< HEAD\ndef spare_code(w, b):\n=======\n>>>>>>> mine\n",
    "q2": "def scale_up(s):\n    return (s\n",
    "q3": "def split_error(w, s, b):\n    return '\x00'\n",
    "q5": "  def asym_round_trip(w, b):\n\treturn w\n",
}
DESERVED = dict.fromkeys(CELLS, 0)
