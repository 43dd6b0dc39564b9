"""ch02.best_clip: where a symmetric ruler should end for the least mean squared error."""

import math

import torch

from course_lib.checks import Case, Exercise, Wrong, law


def best_clip(w, b):
    qmax = 2 ** (b - 1) - 1
    top = w.abs().max().item()
    best, least = top, float("inf")
    for i in range(100, 0, -1):
        c = top * i / 100
        s = c / qmax
        w_hat = s * torch.clip(torch.round(w / s), -qmax, qmax)
        error = (w_hat - w).square().mean().item()
        if error < least:
            best, least = c, error
    return best


def _rounded(w, s):
    return s * torch.round(w / s)


def _error(w, b, c, power=2):
    """Mean of |ŵ − w|^power with the ruler that ends at c; power=math.inf is the largest |ŵ − w|."""
    qmax = 2 ** (b - 1) - 1
    error = (torch.clip(_rounded(w, c / qmax), -c, c) - w).abs()
    return (error.max() if power == math.inf else (error**power).mean()).item()


def _search(loss, shares=range(100, 0, -1)):
    """A search over c = 1 % … 100 % of max|w| (or other `shares`) that judges by `loss(w, b, c)`."""

    def variant(w, b):
        top = w.abs().max().item()
        return min((top * i / 100 for i in shares), key=lambda c: loss(w, b, c))

    return variant


def _until_it_rises(w, b):
    top = w.abs().max().item()
    errors = [_error(w, b, top * i / 100) for i in range(100, 0, -1)]
    down = next((i for i in range(99) if errors[i + 1] >= errors[i]), 99)
    return top * (100 - down) / 100


def _lopsided(w, b, c):
    qmax = 2 ** (b - 1)
    s = c / qmax
    return (s * torch.clip(torch.round(w / s), -qmax, qmax - 1) - w).square().mean().item()


def _upwards(w, b):
    """From the smallest clip up, and no code is clipped."""
    top, qmax = w.abs().max().item(), 2 ** (b - 1) - 1
    clips = [top * i / 100 for i in range(1, 101)]
    return min(clips, key=lambda c: (_rounded(w, c / qmax) - w).square().mean().item())


def _in_range(got, w, b):
    top = w.abs().max().item()
    return 0 < got <= top * (1 + 1e-5) or f"The clip must lie above 0 and not beyond max|w| = {top:.4g}; got {got:.4g}."


def _least(got, w, b):
    best = best_clip(w, b)
    yours, least = _error(w, b, got), _error(w, b, best)
    if yours <= 1.02 * least:
        return True
    return (
        f"Clipped at {got:.4g} the mean squared error is {yours:.3g}. Clipped at {best:.4g} it is {least:.3g}; "
        f"max|w| is {w.abs().max():.4g}."
    )


def _bell(seed, n, *more):
    return torch.cat([torch.randn(n, generator=torch.Generator().manual_seed(seed)), torch.tensor(more)])


EXERCISE = Exercise(
    id="ch02.best_clip",
    title="Where should the ruler end?",
    spec="best_clip(w, b) is c: the symmetric grid with s = c / qmax has the least mean squared error (within 2 %).",
    kind="design",
    stub='''
def best_clip(w, b):
    """The c in (0, max|w|] with which s = c / qmax, symmetric, gives w the least mean squared error."""
    ...
''',
    reference=best_clip,
    piece="best_clip",
    cases=[
        Case("one number far out", torch.tensor([-1.0, -0.9, -0.5, -0.2, 0.1, 0.4, 0.7, 1.0, 1.4]), 2),
        Case("three and one", torch.tensor([2.0, 2.0, 2.0, 5.0]), 2),
        Case("a dozen and one far out", _bell(3, 12, -6.0), 3),
        Case("evenly spread: little to gain", torch.linspace(-1, 1, 201), 4),
        Case(
            "best below half of the largest",
            torch.tensor([0.8, 0.2, 0.1, -0.6, 0.0, -1.4, 0.3, 1.0, -1.4, 1.0, 0.5, 1.2, 4.0]),
            2,
        ),
        Case("as small as weights are", 0.01 * _bell(4, 20), 3),
        Case("a bell curve, 4 bits", _bell(0, 2000), 4),
        Case("a bell curve, 2 bits", _bell(0, 2000), 2),
        Case("a bell curve, 8 bits", _bell(0, 2000), 8),
        Case("a bell curve with one number at 12", _bell(1, 999, 12.0), 4),
        Case("a bell curve with one at 40", _bell(2, 499, -40.0), 4),
    ],
    properties=[
        law("between 0 and the largest number", _in_range, "Beyond max|w| the marks would hold nothing."),
        law("the least mean squared error", _least, "Judged against 100 clips from 1 % to 100 % of max|w|."),
    ],
    wrong=[
        Wrong(
            "never clip",
            lambda w, b: w.abs().max().item(),
            "max|w| never clips, and every other number pays with a large step. Try smaller clips and compare.",
        ),
        Wrong(
            "the clipped part not counted",
            _search(lambda w, b, c: (_rounded(w, c / (2 ** (b - 1) - 1)) - w).square().mean().item()),
            "Without the clip on the codes (or against a w already clipped) a smaller step always looks better.",
        ),
        Wrong(
            "a fixed percentile",
            lambda w, b: torch.quantile(w.abs(), 0.99).item(),
            "A percentile knows neither the bits nor how far out the rest lies. Measure the error instead.",
        ),
        Wrong(
            "three standard deviations",
            lambda w, b: min(3 * w.std().item(), w.abs().max().item()),
            "Three standard deviations suit a bell curve at some bit widths. Measure the error instead.",
        ),
        Wrong(
            "the average error without the square",
            _search(lambda w, b, c: _error(w, b, c, 1)),
            "Squaring punishes the few that are far off. You averaged |error|, which lets them go.",
        ),
        Wrong(
            "the average error without the square, upwards",
            _search(lambda w, b, c: _error(w, b, c, 1), range(1, 101)),
            "You averaged |error|, which lets the few that are far off go. Square each error first.",
        ),
        Wrong(
            "ten clips only",
            _search(_error, range(10, 101, 10)),
            "Ten clips are too few: the best one lies between two of them. Try a hundred.",
        ),
        Wrong(
            "no clip below half of the largest",
            _search(_error, range(50, 101)),
            "You try no c below half of max|w|. With one number far out the best end lies much lower.",
        ),
        Wrong(
            "the worst error",
            _search(lambda w, b, c: _error(w, b, c, math.inf)),
            "The smallest worst error hardly lets anything clip: one far-out number decides again.",
        ),
        Wrong(
            "stopped where the error first rises",
            _until_it_rises,
            "You stop at the first clip that is worse than the one before. The error goes up and down: try them all.",
        ),
        Wrong(
            "only positive numbers looked at",
            lambda w, b: min((w.max().item() * i / 100 for i in range(100, 0, -1)), key=lambda c: _error(w, b, c)),
            "You try shares of w.max(), but the number furthest out may be negative. Take shares of w.abs().max().",
        ),
        Wrong(
            "one code more below",
            _search(_lopsided),
            "Your qmax is 2^(b−1), with one code more below 0 than above. The symmetric ruler ends at 2^(b−1) − 1.",
        ),
        Wrong(
            "the square of the mean",
            _search(lambda w, b, c: (torch.clip(_rounded(w, c / (2 ** (b - 1) - 1)), -c, c) - w).mean().abs().item()),
            "You averaged first: errors of both signs cancel, however large they are. Square each one, then average.",
        ),
        Wrong(
            "a step for an unsigned ruler",
            lambda w, b: _search(lambda w, b, c: _error(w, b + 1, c))(w, b),
            "You divided c by 2^b − 1. A symmetric ruler has 2^(b−1) − 1 steps on each side of 0.",
        ),
        Wrong(
            "clips that do not follow w",
            lambda w, b: min((i / 10 for i in range(1, 101)), key=lambda c: _error(w, b, c)),
            "You try the same clips for every w: 0.1, 0.2 … 10. Weights may be a thousand times smaller: "
            "try shares of max|w|.",
        ),
        Wrong(
            "the step, not the clip",
            lambda w, b: best_clip(w, b) / (2 ** (b - 1) - 1),
            "That is s of the best ruler. Asked is where it ends: c = qmax · s.",
        ),
        Wrong(
            "a percentage, not the clip",
            lambda w, b: 100 * best_clip(w, b) / w.abs().max().item(),
            "You found how many percent of max|w| are best. Return the clip itself, in the units of w.",
        ),
        Wrong(
            "the codes not limited",
            _upwards,
            "The smallest clips win in yours. Clip the codes to ±qmax, or a smaller step always looks better.",
        ),
        Wrong(
            "the least error, not its clip",
            lambda w, b: _error(w, b, best_clip(w, b)),
            "That is how small the error gets. Asked is the clip with which it gets so small.",
        ),
    ],
    hints=[
        "You cannot know in advance. Try many shares of max|w|, from all of it down, and keep the one that errs least.",
        "w = [2, 2, 2, 5], b = 2 (marks −c, 0, c): c = 5 gives 0, 0, 0, 5, and the mean squared error is 12/4. "
        "c = 2 gives 2, 2, 2, 2: 9/4. Clipping pays, and somewhere between the two lies the best.",
        "    for i in range(100, 0, -1):\n        c = ____ * i / 100\n        w_hat = ____\n"
        "        error = (w_hat - w).____().mean()\n        if error < least:\n            best, least = c, error",
    ],
    passed="That is the MSE observer: no rule of thumb, a measurement for each tensor and each number of bits.",
)
