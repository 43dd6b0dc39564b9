"""ps01.q3: where the error comes from"""

import math

import torch

from course_lib.checks import Case, law
from course_lib.grading import Mistake, agrees, on, question, rows


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


def _infinite_without_noise(got, w, s, b):
    return (got["sqnr_db"] == math.inf) == (split_error(w, s, b)["sqnr_db"] == math.inf)


def _one_code_more(w, s, b):
    code, top = torch.round(w.double() / s), 2 ** (b - 1)
    return _parts(w.double(), s * torch.clip(code, -top, top - 1), code, -top, top - 1)


def _parts(w, back, code, low, high):
    squared, clipped = (w - back) ** 2, (code < low) | (code > high)
    noise = squared.sum().item()
    return {
        "rounding": squared[~clipped].sum().item(),
        "clipping": squared[clipped].sum().item(),
        "sqnr_db": 10 * math.log10((w**2).sum().item() / noise) if noise else math.inf,
    }


def _clipped_if(low, high, whole=torch.round):
    def split(w, s, b):
        w, qmax = w.double(), 2 ** (b - 1) - 1
        code = whole(w / s)
        return _parts(w, s * torch.clip(code, -qmax, qmax), code, low(qmax), high(qmax))

    return split


def _only_rounding_is_noise(w, s, b):
    result = split_error(w, s, b)
    signal, noise = (w.double() ** 2).sum().item(), result["rounding"]
    return {**result, "sqnr_db": 10 * math.log10(signal / noise) if noise else math.inf}


def _swapped(w, s, b):
    result = split_error(w, s, b)
    return {**result, "rounding": result["clipping"], "clipping": result["rounding"]}


def _divided_anyway(w, s, b):
    result = split_error(w, s, b)
    return {**result, "sqnr_db": result["sqnr_db"] if result["rounding"] + result["clipping"] else 1 / 0}


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
        loses=NAMES[2:3],
    ),
    Mistake(
        "upside down",
        lambda w, s, b: _split(w, s, b, sqnr=lambda signal, noise: 10 * math.log10(noise / signal)),
        "Signal over noise: a good round trip has many decibels, not many below zero.",
        loses=NAMES[2:3],
    ),
    Mistake(
        "means instead of sums",
        lambda w, s, b: _split(w, s, b, mean=True),
        "The two parts are sums of squared errors; you divided them by the number of weights.",
        loses=NAMES[:2],
    ),
    Mistake(
        "absolute errors",
        lambda w, s, b: _split(w, s, b, power=1),
        "The parts are sums of squares; you summed |w − ŵ|.",
        loses=NAMES[:2],
    ),
    Mistake(
        "a rounding part in clipped weights",
        _rounding_everywhere,
        "You gave clipped weights a share of rounding error; here all of their error counts as clipping.",
        loses=NAMES[:2],
    ),
    Mistake(
        "the mean taken off the signal",
        _centred,
        "The signal is Σw², not the variance: the grid is anchored at zero, not at the mean.",
        loses=NAMES[2:3],
    ),
    Mistake(
        "no infinity",
        _no_infinity,
        "Without noise the ratio has no upper bound: return math.inf.",
        loses=NAMES[3:],
    ),
    Mistake(
        "the natural logarithm",
        lambda w, s, b: _split(w, s, b, sqnr=lambda signal, noise: 10 * math.log(signal / noise)),
        "math.log is the natural logarithm; decibels take the one to base ten, math.log10.",
        loses=NAMES[2:3],
    ),
    Mistake(
        "one code more below zero",
        _one_code_more,
        "This grid is symmetric: its codes run from −qmax to qmax, and −2^(b−1) is not among them.",
        loses=NAMES[:3],
    ),
    Mistake(
        "the last code taken for clipped",
        _clipped_if(lambda qmax: 1 - qmax, lambda qmax: qmax - 1),
        "A weight that rounds to qmax has a code. Clipped is what rounds to more: > qmax, not ≥.",
        loses=NAMES[:2],
    ),
    Mistake(
        "only large positive weights clip",
        _clipped_if(lambda qmax: -math.inf, lambda qmax: qmax),
        "A weight may lie below −qmax, too: compare the magnitude of its code.",
        loses=NAMES[:2],
    ),
    Mistake(
        "clipping left out of the noise",
        _only_rounding_is_noise,
        "sqnr_db looks at all of Σ(w − ŵ)²; yours has only the rounding part below the line.",
        loses=NAMES[2:3],
    ),
    Mistake(
        "the two parts swapped",
        _swapped,
        "Your two sums are right, under each other's names.",
        loses=NAMES[:2],
    ),
    Mistake(
        "floor instead of round",
        _clipped_if(lambda qmax: -qmax, lambda qmax: qmax, torch.floor),
        "The code is the nearest whole number; floor takes the one below, so errors reach a whole step.",
        loses=NAMES[:3],
    ),
    Mistake(
        "no noise is divided by",
        _divided_anyway,
        "A perfect round trip has no noise, and Python does not divide by 0: ask first, and return math.inf.",
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
        Case("one code below the last", torch.tensor([-8.25, 3.25, -1.5]), 1.0, 4),
    ]
    perfect = [
        Case("on the grid", torch.tensor([3.0, -7.0, 0.0, 1.0]) * 0.25, 0.25, 4),
        Case("nearly on the grid", torch.tensor([3.0, -7.0, 0.0, 1.125]) * 0.25, 0.25, 4),
    ]

    def of(part):
        return dict(part=part, rtol=1e-4, atol=1e-7)  # a float32 sum of 60 squares is as good

    return question(
        "ps01.q3",
        "Where the error comes from",
        "split_error(w, s, b) splits the squared error of a symmetric round trip into rounding and clipping.",
        split_error,
        properties=[
            agrees(NAMES[0], inside + clips, "Up to half a step beyond qmax the code still is qmax.", **of("rounding")),
            agrees(NAMES[1], inside + clips, "All of a clipped weight's error is clipping error.", **of("clipping")),
            agrees(NAMES[2], inside + clips, "10·log10 of Σw² over Σ(w − ŵ)².", **of("sqnr_db")),
            on(perfect, law(NAMES[3], _infinite_without_noise, "No noise at all: math.inf."), "sqnr_db"),
        ],
        wrong=WRONG,
    )
