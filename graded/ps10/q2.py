"""ps10.q2: ten candidates, one lucky"""

import torch

from course_lib.checks import Case
from course_lib.grading import Mistake, agrees, question


def holm(p, alpha):
    """Holm's adjusted p-values, in the order of p, and which of them stay at or below alpha."""
    order = torch.argsort(p)
    left = torch.arange(len(p), 0, -1, dtype=p.dtype)  # how many hypotheses are still open
    steps = (p[order] * left).clamp(max=1.0)
    adjusted = torch.empty_like(p)
    adjusted[order] = torch.cummax(steps, dim=0).values
    return {"adjusted": adjusted, "worse": (adjusted <= alpha).tolist()}


def _holm(p, alpha, left=lambda m, i: m - i, cap=1.0, rising=True, back=True, within=lambda a, alpha: a <= alpha):
    """The reference with one part changed, one p-value after the other."""
    order = sorted(range(len(p)), key=lambda i: p[i].item())
    out, top = torch.zeros_like(p), 0.0
    for rank, i in enumerate(order):
        value = min(cap, p[i].item() * left(len(p), rank))
        top = max(top, value) if rising else value
        out[i if back else rank] = top
    return {"adjusted": out, "worse": [bool(within(a, alpha)) for a in out]}


def _from_above(p, alpha):
    """Hochberg's: worse is whatever has a passing p-value at its place or behind."""
    order = torch.argsort(p)
    passing = (p[order] * torch.arange(len(p), 0, -1, dtype=p.dtype) <= alpha).nonzero().flatten()
    worse = [False] * len(p)
    for i in order[: passing.max() + 1 if len(passing) else 0].tolist():
        worse[i] = True
    return {"adjusted": holm(p, alpha)["adjusted"], "worse": worse}


def _hochberg(p, alpha):
    """Benjamini and Hochberg's, which bounds the share of false alarms."""
    order = torch.argsort(p)
    m = len(p)
    steps = p[order] * m / torch.arange(1, m + 1, dtype=p.dtype)
    out = torch.empty_like(p)
    out[order] = steps.flip(0).cummin(0).values.flip(0).clamp(max=1.0)
    return {"adjusted": out, "worse": (out <= alpha).tolist()}


NAMES = ("adjusted, in order", "adjusted, in any order", "never falling, never above 1", "which are worse")

WRONG = [
    Mistake(
        "not adjusted",
        lambda p, alpha: _holm(p, alpha, left=lambda m, i: 1),
        "Who tries m candidates gets m chances to be fooled: the smallest p-value is multiplied by m.",
        loses=NAMES,
    ),
    Mistake(
        "Bonferroni's",
        lambda p, alpha: _holm(p, alpha, left=lambda m, i: m),
        "After the smallest one only m − 1 are open: multiply by m, then m − 1, and so on.",
        loses=NAMES,
    ),
    Mistake(
        "multiplied by the rank",
        lambda p, alpha: _holm(p, alpha, left=lambda m, i: i + 1),
        "The smallest p-value gets the largest factor.",
        loses=NAMES,
    ),
    Mistake(
        "one factor too small",
        lambda p, alpha: _holm(p, alpha, left=lambda m, i: max(1, m - i - 1)),
        "The first factor is m, the last is 1.",
        loses=NAMES,
    ),
    Mistake(
        "Benjamini and Hochberg's",
        _hochberg,
        "That bounds the share of false alarms among the alarms, not the chance of any.",
        loses=NAMES,
    ),
    Mistake(
        "allowed to fall",
        lambda p, alpha: _holm(p, alpha, rising=False),
        "A larger p-value may not get a smaller adjusted one: take the largest so far.",
        loses=NAMES[2:],
    ),
    Mistake(
        "searched from above",
        _from_above,
        "Holm's procedure stops at the first candidate that fails: no later one counts as worse.",
        loses=NAMES[3:],
    ),
    Mistake(
        "above 1",
        lambda p, alpha: _holm(p, alpha, cap=1e9),
        "No probability is above 1.",
        loses=NAMES[2:3],
    ),
    Mistake(
        "left in sorted order",
        lambda p, alpha: _holm(p, alpha, back=False),
        "Each candidate gets its own adjusted value, at its own place.",
        loses=NAMES[1:],
    ),
    Mistake(
        "strictly below alpha",
        lambda p, alpha: _holm(p, alpha, within=lambda a, alpha: a < alpha),
        "At or below alpha counts.",
        loses=NAMES[3:],
    ),
    Mistake(
        "the raw p against alpha",
        lambda p, alpha: holm(p, alpha) | {"worse": (p <= alpha).tolist()},
        "Compare the *adjusted* values with alpha: that is what they are for.",
        loses=NAMES[3:],
    ),
    Mistake(
        "adjusted twice",
        lambda p, alpha: holm(p, alpha) | {"worse": holm(p, alpha / len(p))["worse"]},
        "The adjusted values already carry the factor: compare them with alpha, not with alpha / m.",
        loses=NAMES[3:],
    ),
]


def exercise(seed):
    generator = torch.Generator().manual_seed(seed)

    def near(*values):
        """Values a little off those named, no step on the edge of another."""
        shift = 1 + 0.02 * torch.rand(len(values), generator=generator, dtype=torch.float64)
        return torch.tensor(values, dtype=torch.float64) * shift

    ordered = [
        Case("four in order", near(0.004, 0.02, 0.06, 0.3), 0.05),
        Case("three in order", near(0.012, 0.02, 0.2), 0.05),
    ]
    mixed = [
        Case("five mixed", near(0.15, 0.003, 0.04, 0.011, 0.5), 0.05),
        Case("six mixed", near(0.12, 0.3, 0.002, 0.02, 0.004, 0.07), 0.1),
    ]
    edges = [
        Case("close together", near(0.5, 0.02, 0.022, 0.024, 0.9), 0.1),
        Case("all large", near(0.9, 0.4, 0.6, 0.5), 0.05),
    ]
    quarter = torch.tensor([0.0625, 0.5, 0.015625, 0.75], dtype=torch.float64)
    decided = [
        Case("exactly at alpha", quarter, 0.0625),
        Case("the second fails", near(0.3, 0.009, 0.04, 0.02), 0.05),
        Case("a later one would pass", near(0.0215, 0.018, 0.9, 0.009), 0.05),
        Case("Bonferroni would miss one", near(0.014, 0.6, 0.01, 0.8), 0.05),
        Case("three that pass, mixed", near(0.02, 0.9, 0.001, 0.01, 0.7), 0.05),
    ]
    tight = dict(rtol=1e-9, part="adjusted")
    return question(
        "ps10.q2",
        "Ten candidates, one of them lucky",
        "holm(p, alpha): p-values adjusted for how many there are, and which are still at most alpha.",
        holm,
        properties=[
            agrees(NAMES[0], ordered, "m times the smallest, m − 1 times the next.", **tight),
            agrees(NAMES[1], mixed, "Sorted for the factors, given back in place.", **tight),
            agrees(NAMES[2], edges, "The largest so far, and at most 1.", **tight),
            agrees(NAMES[3], decided, "At most alpha.", part="worse"),
        ],
        wrong=WRONG,
    )
