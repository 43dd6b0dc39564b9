"""Known mistakes in three questions: each loses what the mistake loses, and keeps the rest."""

CELLS = {
    "q1": """
def spare_code(weights, bits):  # never clipped
    star = weights[weights.abs().argmax()].item()
    step = -star / 2 ** (bits - 1) if star else 1.0
    return (weights / step).round().to(torch.int8), step
""",
    "q2": """
def scale_up(s):  # to nearest
    return s.to(torch.bfloat16).to(torch.float32)
""",
    "q4": """
def bits_needed(w, target_db):  # nine instead of None
    for b in range(2, 9):
        s = w.double().abs().max() / (2 ** (b - 1) - 1)
        n = ((w - s * torch.round(w / s)) ** 2).sum() if s > 0 else 0
        if n == 0 or 10 * torch.log10((w.double() ** 2).sum() / n) >= target_db:
            return b
    return 9
""",
}
DESERVED = {"q1": 2, "q2": 1, "q4": 3}
