"""Returns one number where a row is asked for: it must not broadcast into a pass."""

CELLS = {
    "q1": """
def spare_code(w, b):
    return torch.tensor(0, dtype=torch.int8), 1.0
""",
    "q2": """
def scale_up(s):
    return s.max() * 1.999
""",
    "q5": """
def asym_round_trip(w, b):
    return float(w.mean())
""",
}
DESERVED = dict.fromkeys(CELLS, 0)
