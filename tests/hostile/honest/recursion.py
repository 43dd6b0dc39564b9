"""Recursive functions instead of loops."""

CELLS = {
    "q3": """
def split_error(w, s, b, at=0, r=0.0, c=0.0, p=0.0):
    if at == len(w):
        n = r + c
        return {"rounding": r, "clipping": c, "sqnr_db": 10 * math.log10(p / n) if n else float("inf")}
    x, top = w[at].item(), 2 ** (b - 1) - 1
    code = round(x / s)
    e = (x - s * min(max(code, -top), top)) ** 2
    inside = abs(code) <= top
    return split_error(w, s, b, at + 1, r + e * inside, c + e * (not inside), p + x * x)
""",
    "q4": """
def bits_needed(w, target_db, b=2):
    if b > 8:
        return None
    w = w.double()
    s = w.abs().amax() / (2 ** (b - 1) - 1)
    n = ((w - s * torch.round(w / s)) ** 2).sum() if s > 0 else 0
    done = n == 0 or 10 * math.log10((w**2).sum() / n) >= target_db
    return b if done else bits_needed(w, target_db, b + 1)
""",
}
