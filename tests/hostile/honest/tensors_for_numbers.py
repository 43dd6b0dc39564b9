"""Returns tensors without axes where numbers are asked for, whole floats where integers are, lists for tuples."""

CELLS = {
    "q1": """
def spare_code(w, b):
    star, top = w[w.abs().argmax()], 2 ** (b - 1)
    s = torch.where(star == 0, torch.tensor(1.0), -star / top)
    return [(w / s).round().clamp(-top, top - 1).to(torch.int8), s]
""",
    "q3": """
def split_error(w, s, b):
    w, top = w.double(), 2 ** (b - 1) - 1
    code = torch.round(w / s)
    e = (w - s * code.clamp(-top, top)) ** 2
    out = code.abs() > top
    db = 10 * torch.log10((w**2).sum() / e.sum())
    return {"rounding": (e * ~out).sum(), "clipping": (e * out).sum(), "sqnr_db": db}
""",
    "q4": """
def bits_needed(w, target_db):
    for b in torch.arange(2.0, 9.0):
        s = w.double().abs().max() / (2 ** (b - 1) - 1)
        n = ((w - s * torch.round(w / s)) ** 2).sum() if s > 0 else torch.zeros(1)
        if n == 0 or 10 * torch.log10((w.double() ** 2).sum() / n) >= target_db:
            return b
""",
}
