"""One loop does not end, by an honest mistake; the others are right."""

CELLS = {
    "q4": """
def bits_needed(w, target_db):
    b = 2
    while True:
        s = w.double().abs().max() / (2 ** (b - 1) - 1)
        n = ((w - s * torch.round(w / s)) ** 2).sum() if s > 0 else 0
        if n == 0 or 10 * torch.log10((w.double() ** 2).sum() / n) >= target_db:
            return b
        b = min(b + 1, 8)
"""
}
DESERVED = {"q4": (0, 3)}  # the first properties may be through before the time is up
TAME = False
