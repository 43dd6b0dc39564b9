"""ps06.q5: two four-bit grids, judged by the inputs"""

import torch

from course_lib.checks import Case
from course_lib.grading import Mistake, agrees, question


def two_grids(w, x):
    """Relative output-weighted errors of int4 in groups of 32, of Q4_0, and of Q4_0 with refitted d; who wins where."""
    groups = w.reshape(-1, 32)
    h = x.square().mean(dim=0).expand_as(w).reshape(-1, 32)

    def errors(codes, d):
        return (h * (codes * d.half().float() - groups).square()).sum(dim=1)

    top = groups.gather(1, groups.abs().argmax(dim=1, keepdim=True))
    s = top.abs() / 7
    int4 = errors(torch.round(groups / s).clamp(-7, 7), s)
    d = top / -8
    codes = (groups / d + 8.5).floor().clamp(0, 15) - 8
    q4_0 = errors(codes, d)
    fitted = (h * groups * codes).sum(dim=1, keepdim=True) / (h * codes.square()).sum(dim=1, keepdim=True)
    total = (h * groups.square()).sum()
    return {
        "int4": (int4.sum() / total).item(),
        "q4_0": (q4_0.sum() / total).item(),
        "fitted": (errors(codes, fitted).sum() / total).item(),
        "wins": int((q4_0 < int4).sum()),
    }


def _square(x):
    return x.square().mean(dim=0)


def _grids(w, x, loud=_square, group=32, levels=7, ends=(-7, 7), sign=True, half=8, shift=8.5, stored=torch.half,
           weighed=True, refit="same", relative=True, won=lambda a, b: (b < a).sum()):  # fmt: skip
    """The reference with one part changed."""
    h = loud(x).expand_as(w)

    def rows(t, n):
        return t.reshape(-1, n)

    def errors(codes, d, n=32):
        off = rows(h, n) * (codes * d.to(stored).float() - rows(w, n)).square()
        return off.reshape(-1, 32).sum(dim=1)

    g = rows(w, group)
    s = g.abs().amax(dim=1, keepdim=True) / levels
    int4 = errors(torch.round(g / s).clamp(*ends), s, group)
    g = rows(w, 32)
    top = g.gather(1, g.abs().argmax(dim=1, keepdim=True))
    d = (top if sign else top.abs()) / -half
    codes = (g / d + shift).floor().clamp(0, 15) - 8
    q4_0 = errors(codes, d)
    by = rows(h, 32) if weighed else 1
    fitted = (by * g * codes).sum(1, keepdim=True) / (by * codes.square()).sum(1, keepdim=True)
    again = codes if refit == "same" else (g / fitted + 8.5).floor().clamp(0, 15) - 8
    total = (h * w.square()).sum() if relative else 1.0
    return {
        "int4": float(int4.sum() / total),
        "q4_0": float(q4_0.sum() / total),
        "fitted": float(errors(again, fitted).sum() / total),
        "wins": int(won(int4, q4_0)),
    }


NAMES = ("int4 in groups of 32", "Q4_0", "Q4_0 with the best d", "groups that Q4_0 wins")


def _parts(w, x):
    """Groups, their columns' loudness, Q4_0's codes, and int4's errors."""
    g, h = w.reshape(-1, 32), _square(x).expand_as(w).reshape(-1, 32)
    top = g.gather(1, g.abs().argmax(dim=1, keepdim=True))
    s = top.abs() / 7
    int4 = (h * (torch.round(g / s).clamp(-7, 7) * s.half().float() - g).square()).sum(1)
    return g, h, (g / (top / -8) + 8.5).floor().clamp(0, 15) - 8, int4


def _fitted_wins(w, x):
    g, h, q, int4 = _parts(w, x)
    d = ((h * g * q).sum(1, keepdim=True) / (h * q * q).sum(1, keepdim=True)).half().float()
    return int(((h * (q * d - g).square()).sum(1) < int4).sum())


def _one_d(w, x):
    g, h, q, _ = _parts(w, x)
    d = ((h * g * q).sum() / (h * q * q).sum()).half().float()
    return ((h * (q * d - g).square()).sum() / (h * g.square()).sum()).item()


WRONG = [
    Mistake(
        "all columns alike",
        lambda w, x: _grids(w, x, loud=lambda x: torch.ones(x.shape[1])),
        "A column that meets loud inputs counts more: weigh each squared error with the mean of x² of its column.",
        loses=NAMES,
    ),
    Mistake(
        "loudness instead of its square",
        lambda w, x: _grids(w, x, loud=lambda x: x.abs().mean(dim=0)),
        "The error of an output is a sum of x (ŵ − w), squared: a column's weight is the mean of x², not of |x|.",
        loses=NAMES,
    ),
    Mistake(
        "one scale a row",
        lambda w, x: _grids(w, x, group=w.shape[1]),
        "Both sides are to pay the same 4.5 bits: int4 has a scale for every 32 weights as well.",
        loses=(NAMES[0], NAMES[3]),
    ),
    Mistake(
        "an eighth code on the positive side",
        lambda w, x: _grids(w, x, levels=7.5, ends=(-8, 7)),
        "This int4 is the symmetric one of chapter 04: the largest |w| becomes ±7.",
        loses=(NAMES[0], NAMES[3]),
    ),
    Mistake(
        "Q4_0 with a positive d",
        lambda w, x: _grids(w, x, sign=False),
        "The number of largest magnitude is −8 steps, whichever sign it has: d = w / −8, with the sign opposite to it.",
        loses=NAMES[1:],
    ),
    Mistake(
        "Q4_0 over seven steps",
        lambda w, x: _grids(w, x, half=7),
        "Q4_0 has −8 … 7. The largest number is −8 steps: d = w / −8.",
        loses=NAMES[1:],
    ),
    Mistake(
        "cut off, not rounded",
        lambda w, x: _grids(w, x, shift=8.0),
        "The + 8.5 is the 8 of the offset and the ½ of rounding.",
        loses=NAMES[1:],
    ),
    Mistake(
        "d kept in float32",
        lambda w, x: _grids(w, x, stored=torch.float32),
        "What is stored is float16. Near the end of its range that costs as much as the codes do: measure d as stored.",
        loses=NAMES,
    ),
    Mistake(
        "the best d for all columns alike",
        lambda w, x: _grids(w, x, weighed=False),
        "d = Σ h w q / Σ h q²: the same weights as in the error that it is to make small.",
        loses=NAMES[2:3],
    ),
    Mistake(
        "new codes for the new d",
        lambda w, x: _grids(w, x, refit="again"),
        "The codes stay, only d changes: that is the least-squares step inside ggml's searches.",
        loses=NAMES[2:3],
    ),
    Mistake(
        "not relative",
        lambda w, x: _grids(w, x, relative=False),
        "Divide by Σ h w²: an error without its scale says nothing.",
        loses=NAMES[:3],
    ),
    Mistake(
        "the other side's wins",
        lambda w, x: _grids(w, x, won=lambda a, b: (a < b).sum()),
        "Count the groups in which Q4_0 has the *lower* error.",
        loses=NAMES[3:],
    ),
    Mistake(
        "a winner for all",
        lambda w, x: _grids(w, x, won=lambda a, b: len(a) * (b.sum() < a.sum())),
        "The sums decide nothing about single groups: compare group by group, and count.",
        loses=NAMES[3:],
    ),
    Mistake(
        "roots of the errors",
        lambda w, x: {k: v if k == "wins" else v**0.5 for k, v in two_grids(w, x).items()},
        "The error is a ratio of sums of squares, without a root.",
        loses=NAMES[:3],
    ),
    Mistake(
        "wins of the fitted d",
        lambda w, x: two_grids(w, x) | {"wins": _fitted_wins(w, x)},
        "Count where Q4_0 as it is beats int4, not Q4_0 with the refitted d.",
        loses=NAMES[3:],
    ),
    Mistake(
        "one d for the whole matrix",
        lambda w, x: two_grids(w, x) | {"fitted": _one_d(w, x)},
        "Every group of 32 has its own d: sum over its 32 weights, not over the matrix.",
        loses=NAMES[2:3],
    ),
]


def _case(name, seed, rows, cols, tokens, size):
    """The first layer drawn from this seed on in which no number lies where rounding is a matter of taste."""
    for k in range(1000):
        generator = torch.Generator().manual_seed(seed + 10_000 * k)
        w = size * torch.randn(rows, cols, generator=generator)
        x = torch.randn(tokens, cols, generator=generator) * 2.0 ** (1.5 * torch.randn(cols, generator=generator))
        groups = w.reshape(-1, 32)
        top = groups.gather(1, groups.abs().argmax(dim=1, keepdim=True))
        if all(((groups * levels / top) % 1 - 0.5).abs().min() > 1e-4 for levels in (7, 8)):
            return Case(name, w, x)
    raise ValueError("every layer has a number between two codes")


def _cases(seed):
    return [
        _case("ten groups", seed, 5, 64, 20, 0.02),
        _case("scales near the end of float16", seed + 1, 8, 64, 12, 8e-7),
        _case("long rows", seed + 2, 6, 128, 30, 1.0),
    ]


def _apart(cases):
    """Whether each mistake that should, counts other wins somewhere."""
    right = [two_grids(*case.args)["wins"] for case in cases]
    losing = [mistake for mistake in WRONG if NAMES[3] in mistake.loses]
    return all(any(m.answer(*c.args)["wins"] != r for c, r in zip(cases, right, strict=True)) for m in losing)


def exercise(seed):
    cases = next(cases for cases in (_cases(seed + 10 * i) for i in range(500)) if _apart(cases))
    near = dict(rtol=1e-3, atol=1e-9)
    return question(
        "ps06.q5",
        "Two four-bit grids",
        "two_grids(w, x): weighted errors of int4, of Q4_0 and of Q4_0 with another d, and the groups that Q4_0 wins.",
        two_grids,
        properties=[
            agrees(NAMES[0], cases, "s = max |w| / 7 of 32 neighbours.", part="int4", **near),
            agrees(NAMES[1], cases, "d = the largest / −8, codes −8 … 7.", part="q4_0", **near),
            agrees(NAMES[2], cases, "Weighted least squares, codes kept.", part="fitted", **near),
            agrees(NAMES[3], cases, "Group by group.", part="wins"),
        ],
        wrong=WRONG,
    )
