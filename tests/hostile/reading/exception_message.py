"""Sends the hidden inputs out in the text of its exceptions, which a report might repeat."""

CELLS = {
    "q1": """
def spare_code(w, b):
    raise ValueError("EXFIL " + " ".join(f"{x:.4f}" for x in w.tolist()) + f" bits {b} END")
""",
    "q2": """
def scale_up(s):
    assert False, "EXFIL " + " ".join(f"{x:.9g}" for x in s.tolist()) + " END"
""",
}
DESERVED = dict.fromkeys(CELLS, 0)
