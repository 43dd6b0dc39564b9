"""Knows only the visible examples by heart."""

CELLS = {
    "q4": """
def bits_needed(w, target_db):
    return {1000: 7, 4: 3 if target_db == 100.0 else None}.get(len(w))
""",
    "q2": """
def scale_up(s):
    known = {0.7: 0.703125, 1.0: 1.0, 0.703125: 0.703125, 0.99999994: 1.0}
    return torch.tensor([known.get(round(x, 8), 0.5) for x in s.tolist()])
""",
}
DESERVED = {"q2": 0, "q4": 0}
