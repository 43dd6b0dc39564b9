"""Works in place on the rows that it is given."""

CELLS = {
    "q5": """
def asym_round_trip(w, b):
    lo, hi = min(w.min().item(), 0.0), max(w.max().item(), 0.0)
    s = (hi - lo) / (2**b - 1) or 1.0
    z = round(-lo / s)
    w /= s
    w.round_().add_(z).clamp_(0, 2**b - 1).sub_(z).mul_(s)
    return w
"""
}
