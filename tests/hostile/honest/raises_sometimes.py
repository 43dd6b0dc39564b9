"""Raises for some inputs: a list index, a division by zero, not implemented for one case; the rest is right."""

CELLS = {
    "q1": """
def spare_code(w, b):
    star = max(w.tolist(), key=abs)
    s = -star / 2 ** (b - 1)
    return (w / s).round().clamp(-(2 ** (b - 1)), 2 ** (b - 1) - 1).to(torch.int8), s if 1 / s else 1.0
""",
    "q4": """
def bits_needed(w, target_db):
    for b in range(2, 9):
        s = w.double().abs().max() / (2 ** (b - 1) - 1)
        n = ((w - s * torch.round(w / s)) ** 2).sum() if s > 0 else 0
        if n == 0 or 10 * torch.log10((w.double() ** 2).sum() / n) >= target_db:
            return b
    raise ValueError("more than eight bits")
""",
}
DESERVED = {"q1": 3, "q4": 3}
