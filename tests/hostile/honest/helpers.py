"""Helper cells of its own at the beginning, used by three questions."""

FIRST = (
    "EDGE = lambda b: 2 ** (b - 1) - 1\n",
    """
def decibels(w, error):
    noise = error.double().square().sum().item()
    return 10 * math.log10(w.double().square().sum().item() / noise) if noise else math.inf


def trip(w, s, b):
    w = w.double()
    return s * (w / s).round().clamp(-EDGE(b), EDGE(b))
""",
)
CELLS = {
    "q3": """
def split_error(w, s, b):
    error = w.double() - trip(w, s, b)
    fits = (w.double() / s).round().abs() <= EDGE(b)
    parts = [error[k].square().sum().item() for k in (fits, ~fits)]
    return dict(zip(("rounding", "clipping", "sqnr_db"), (*parts, decibels(w, error))))
""",
    "q4": """
def bits_needed(w, target_db):
    if not w.any():
        return 2
    tried = (b for b in range(2, 9) if decibels(w, w - trip(w, w.double().abs().max() / EDGE(b), b)) >= target_db)
    return next(tried, None)
""",
}
