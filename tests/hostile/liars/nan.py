"""Returns NaN and infinities everywhere: they must not compare as near."""

CELLS = {
    "q2": "def scale_up(s):\n    return s * float('nan')\n",
    "q3": """
def split_error(w, s, b):
    return {"rounding": math.nan, "clipping": math.inf, "sqnr_db": -math.inf}
""",
    "q5": "def asym_round_trip(w, b):\n    return torch.where(w == 0, 0 * w, w * float('inf'))\n",
}
DESERVED = {"q2": 0, "q3": 0, "q5": (0, 1)}  # 0.0 comes back as 0.0: one point
