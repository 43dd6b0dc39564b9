"""Sends the hidden inputs out in the name of its exception's class, its module and its notes."""

CELLS = {
    "q1": """
def spare_code(w, b):
    said = "EXFIL " + " ".join(f"{x:.4f}" for x in w.tolist()) + f" bits {b} END"
    error = type(said, (Exception,), {"__module__": said, "__qualname__": said})()
    error.add_note(said)
    raise error
""",
}
DESERVED = dict.fromkeys(CELLS, 0)
