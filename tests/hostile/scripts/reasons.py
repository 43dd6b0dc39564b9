"""Exceptions, types and results whose text is active HTML, for a page that repeats them as reasons."""

from tests.hostile.active import HTML

CELLS = {
    "q1": f"def spare_code(w, b):\n    raise ValueError({HTML!r})\n",
    "q2": f"def scale_up(s):\n    return {HTML!r}\n",
    "q3": f"def split_error(w, s, b):\n    return {{{HTML!r}: 1.0}}\n",
    "q4": f"def bits_needed(w, target_db):\n    return type({HTML!r}, (), {{}})()\n",
    "q5": f"def asym_round_trip(w, b):\n    raise type({HTML!r}, (Exception,), {{}})({HTML!r})\n",
}
DESERVED = dict.fromkeys(CELLS, 0)
