"""Answers bound to lambdas and partial functions."""

CELLS = {
    "q2": "scale_up = lambda s: ((s.view(torch.int32) + 65535) // 65536 * 65536).view(torch.float32)\n",
    "q5": """
import functools


def grid(w, b, floor):
    lo, hi = min(floor, w.min().item()), max(floor, w.max().item())
    s = (hi - lo) / (2**b - 1) or 1.0
    z = round(-lo / s)
    return s * (((w / s).round() + z).clamp(0, 2**b - 1) - z)


asym_round_trip = functools.partial(grid, floor=0.0)
""",
}
