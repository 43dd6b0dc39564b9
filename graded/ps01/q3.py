"""ps01.q3: where the error comes from"""

import math

import torch

from course_lib.checks import Case
from course_lib.grading import Mistake, agrees, question, rows


def split_error(w, s, b):
    """Where the squared error of the round trip of w (n,) with step s comes from: three Python floats in a dict."""
    w = w.double()
    qmax = 2 ** (b - 1) - 1
    code = torch.round(w / s)
    squared = (w - s * torch.clip(code, -qmax, qmax)) ** 2
    clipped = code.abs() > qmax
    signal, noise = (w**2).sum().item(), squared.sum().item()
    return {
        "rounding": squared[~clipped].sum().item(),
        "clipping": squared[clipped].sum().item(),
        "sqnr_db": 10 * math.log10(signal / noise) if noise > 0 else math.inf,
    }


def _split(w, s, b, edge=0.5, power=2, mean=False, sqnr=lambda signal, noise: 10 * math.log10(signal / noise)):
    w, qmax = w.double(), 2 ** (b - 1) - 1
    error = (w - s * torch.clip(torch.round(w / s), -qmax, qmax)).abs()
    clipped = (w / s).abs() > qmax + edge
    parts = [(error[k] ** power).sum().item() for k in (~clipped, clipped)]
    signal, noise = (w**2).sum().item(), (error**2).sum().item()
    n = len(w) if mean else 1
    return {"rounding": parts[0] / n, "clipping": parts[1] / n, "sqnr_db": sqnr(signal, noise) if noise else math.inf}


def _rounding_everywhere(w, s, b):
    result, w = split_error(w, s, b), w.double()
    rounding = ((w - s * torch.round(w / s)) ** 2).sum().item()
    return {**result, "rounding": rounding, "clipping": result["rounding"] + result["clipping"] - rounding}


def _no_infinity(w, s, b):
    result = split_error(w, s, b)
    return {**result, "sqnr_db": 0.0 if result["sqnr_db"] == math.inf else result["sqnr_db"]}


def _centred(w, s, b):
    noise = sum(split_error(w, s, b)[k] for k in ("rounding", "clipping"))
    signal = ((w.double() - w.double().mean()) ** 2).sum().item()
    return {**split_error(w, s, b), "sqnr_db": 10 * math.log10(signal / noise) if noise else math.inf}


NAMES = ("rounding: weights whose code fits", "clipping: weights whose code does not fit",
         "sqnr_db of the whole row", "a perfect round trip: infinitely many decibels")  # fmt: skip

WRONG = [
    Mistake(
        "clipped from qmax·s on",
        lambda w, s, b: _split(w, s, b, edge=0.0),
        "A weight up to half a step beyond qmax·s rounds to qmax by itself: clipping changes nothing there.",
        loses=NAMES[:2],
    ),
    Mistake(
        "twenty instead of ten",
        lambda w, s, b: _split(w, s, b, sqnr=lambda signal, noise: 20 * math.log10(signal / noise)),
        "20·log10 is for amplitudes. Your sums are of squares already: 10·log10.",
        loses=NAMES,
    ),
    Mistake(
        "upside down",
        lambda w, s, b: _split(w, s, b, sqnr=lambda signal, noise: 10 * math.log10(noise / signal)),
        "Signal over noise: a good round trip has many decibels, not many below zero.",
        loses=NAMES,
    ),
    Mistake(
        "means instead of sums",
        lambda w, s, b: _split(w, s, b, mean=True),
        "The two parts are sums of squared errors; you divided them by the number of weights.",
        loses=(NAMES[0], NAMES[1], NAMES[3]),
    ),
    Mistake(
        "absolute errors",
        lambda w, s, b: _split(w, s, b, power=1),
        "The parts are sums of squares; you summed |w − ŵ|.",
        loses=(NAMES[0], NAMES[1], NAMES[3]),
    ),
    Mistake(
        "a rounding part in clipped weights",
        _rounding_everywhere,
        "You gave clipped weights a share of rounding error; here all of their error counts as clipping.",
        loses=NAMES[1:2],
    ),
    Mistake(
        "the mean taken off the signal",
        _centred,
        "The signal is Σw², not the variance: the grid is anchored at zero, not at the mean.",
        loses=NAMES,
    ),
    Mistake(
        "no infinity",
        _no_infinity,
        "Without noise the ratio has no upper bound: return math.inf.",
        loses=NAMES[3:],
    ),
]


def exercise(seed):
    def make(generator, n):
        return 0.05 * torch.randn(n, generator=generator) + 0.03

    def clear(row):  # no weight near a tie or near the last half step, for any step below
        steps = row.double() / 0.01
        return ((steps % 0.5).minimum(0.5 - steps % 0.5)).min() > 1e-4 and 0.13 < row.abs().max() < 0.2

    wide, narrow = rows(seed, 2, 60, make, clear)
    inside = [
        Case("nothing clips, 8 bits", wide, 0.01, 8),
        Case("in the last half step", torch.tensor([0.5, -7.25, 7.4, 3.3]), 1.0, 4),
    ]
    clips = [
        Case("some weights clip, 4 bits", wide, 0.01, 4),
        Case("most weights clip, 3 bits", narrow, 0.01, 3),
        Case("one outlier", torch.tensor([0.4, -0.3, 0.2, 12.0]), 0.1, 4),
    ]
    perfect = [
        Case("on the grid", torch.tensor([3.0, -7.0, 0.0, 1.0]) * 0.25, 0.25, 4),
        Case("nearly on the grid", torch.tensor([3.0, -7.0, 0.0, 1.125]) * 0.25, 0.25, 4),
    ]
    close = dict(rtol=1e-4, atol=1e-7)  # a float32 sum of 60 squares is as good
    return question(
        "ps01.q3",
        "Where the error comes from",
        "split_error(w, s, b) splits the squared error of a symmetric round trip into rounding and clipping.",
        split_error,
        properties=[
            agrees(NAMES[0], inside, "Up to half a step beyond qmax the code still is qmax.", **close),
            agrees(NAMES[1], clips, "All of a clipped weight's error is clipping error.", **close),
            agrees(NAMES[2], inside + clips, "10·log10 of Σw² over Σ(w − ŵ)².", part="sqnr_db", **close),
            agrees(NAMES[3], perfect, "No noise at all: math.inf.", **close),
        ],
        wrong=WRONG,
    )
