"""Uses scipy, fractions, decimal, statistics, einsum and a Module of torch.nn."""

CELLS = {
    "q3": """
from fractions import Fraction
from statistics import fsum

import scipy.special


class Clip(torch.nn.Module):
    def __init__(self, top):
        super().__init__()
        self.top = top

    def forward(self, code):
        return torch.nn.functional.hardtanh(code, -self.top, self.top)


def split_error(w, s, b):
    w, top = w.to(torch.float64), int(Fraction(2) ** (b - 1)) - 1
    code = (w / s).round()
    e = (w - s * Clip(top)(code)) ** 2
    out = code.abs() > top
    noise = torch.einsum("i->", e).item()
    db = 10 / scipy.special.log1p(9) * math.log(fsum((w**2).tolist()) / noise) if noise else math.inf
    return {"clipping": fsum(e[out].tolist()), "rounding": fsum(e[~out].tolist()), "sqnr_db": db}
"""
}
