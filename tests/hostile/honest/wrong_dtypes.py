"""Right numbers in the wrong dtype: codes in int64, float64 for float32; a number as a string."""

CELLS = {
    "q1": """
def spare_code(w, b):
    star, top = w[w.abs().argmax()].item(), 2 ** (b - 1)
    s = -star / top if star else 1.0
    return (w / s).round().clamp(-top, top - 1).long(), s
""",
    "q4": """
def bits_needed(w, target_db):
    for b in range(2, 9):
        s = w.double().abs().max() / (2 ** (b - 1) - 1)
        n = ((w - s * torch.round(w / s)) ** 2).sum() if s > 0 else 0
        if n == 0 or 10 * torch.log10((w.double() ** 2).sum() / n) >= target_db:
            return str(b)
""",
    "q5": """
def asym_round_trip(w, b):
    w = w.double()
    lo, hi = min(w.min().item(), 0.0), max(w.max().item(), 0.0)
    s = (hi - lo) / (2**b - 1) or 1.0
    z = round(-lo / s)
    return s * (((w / s).round() + z).clamp(0, 2**b - 1) - z)
""",
}
DESERVED = {"q1": 0, "q4": 0, "q5": 0}
