"""Results that require grad, are parameters, views with strides, or columns of a larger tensor."""

CELLS = {
    "q2": """
def scale_up(s):
    table = torch.zeros(len(s), 3)
    table[:, 1] = (s.view(torch.int32) + 65535 & -65536).view(torch.float32)
    return torch.nn.Parameter(table)[:, 1]
""",
    "q5": """
def asym_round_trip(w, b):
    w = w.clone().requires_grad_()
    lo, hi = w.min().clamp(max=0).detach(), w.max().clamp(min=0).detach()
    s = (hi - lo) / (2**b - 1) if hi > lo else torch.tensor(1.0)
    z = torch.round(-lo / s)
    return torch.flip(torch.flip(s * ((torch.round(w / s) + z).clamp(0, 2**b - 1) - z), [0]), [0])
""",
}
