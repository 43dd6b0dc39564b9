"""Other known mistakes: always a step up, no infinity, a row of zeros divides by zero, the last of two equals."""

CELLS = {
    "q1": """
def spare_code(w, b):
    big = w.abs().max()
    star = w[w.abs() == big][-1].item()  # the last one
    s = -star / 2 ** (b - 1) if star else 1.0
    return (w / s).round().clamp(-(2 ** (b - 1)), 2 ** (b - 1) - 1).to(torch.int8), s
""",
    "q2": """
def scale_up(s):
    return ((s.view(torch.int32) & -65536) + 65536).view(torch.float32)
""",
    "q3": """
def split_error(w, s, b):
    w, top = w.double(), 2 ** (b - 1) - 1
    code = (w / s).round()
    e = (w - s * code.clamp(-top, top)) ** 2
    out = code.abs() > top
    noise = e.sum().item()
    db = 10 * math.log10((w**2).sum().item() / noise) if noise else 0.0
    return {"rounding": e[~out].sum().item(), "clipping": e[out].sum().item(), "sqnr_db": db}
""",
    "q5": """
def asym_round_trip(w, b):
    lo = w.min().clamp(max=0)
    hi = w.max().clamp(min=0)
    s = (hi - lo) / (2**b - 1)
    z = torch.round(-lo / s)
    return (((w / s).round() + z).clip(0, 2**b - 1) - z) * s
""",
}
DESERVED = {"q1": 3, "q2": 3, "q3": 3, "q5": 3}
