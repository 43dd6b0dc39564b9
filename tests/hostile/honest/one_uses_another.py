"""Question 4 calls the answer to question 3, from another cell."""

CELLS = {
    "q4": """
def bits_needed(w, target_db):
    for b in range(2, 9):
        s = w.double().abs().max().item() / (2 ** (b - 1) - 1)
        if s == 0 or split_error(w, s, b)["sqnr_db"] >= target_db:
            return b
"""
}
