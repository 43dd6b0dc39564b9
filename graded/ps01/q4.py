"""ps01.q4: how many bits does it take"""

import math

import torch

from course_lib.checks import Case
from course_lib.grading import Mistake, agrees, question, rows


def bits_needed(w, target_db):
    """Fewest bits, from 2 to 8, whose symmetric round trip of w (n,) reaches target_db; None if none does."""
    w = w.double()
    for b in range(2, 9):
        s = w.abs().max() / (2 ** (b - 1) - 1)
        noise = ((w - s * torch.round(w / s)) ** 2).sum().item() if s > 0 else 0.0
        if noise == 0 or 10 * math.log10((w**2).sum().item() / noise) >= target_db:
            return b
    return None


def _sqnr(w, b, levels=None):
    s = w.double().abs().max() / (levels or 2 ** (b - 1) - 1)
    if s == 0:
        return math.inf
    noise = ((w.double() - s * torch.round(w.double() / s)) ** 2).sum().item()
    return 10 * math.log10((w.double() ** 2).sum().item() / noise) if noise else math.inf


def _from_above(w, target_db):
    b = 9
    while b > 2 and _sqnr(w, b - 1) >= target_db:
        b -= 1
    return b if b < 9 else None


def _first(widths, w, target_db, none=None, factor=1.0, levels=lambda b: None):
    return next((b for b in widths if factor * _sqnr(w, b, levels(b)) >= target_db), none)


def _six_decibels(w, target_db):
    b = max(2, math.ceil(target_db / 6.02))
    return b if b <= 8 else None


def _between(b, row):
    """A target that 2^(b−1) steps would reach with b bits, and the right grid does not; None where it is too close."""
    right, wrong = _sqnr(row, b), _sqnr(row, b, 2 ** (b - 1))
    return round((right + wrong) / 2, 2) if right + 0.4 < wrong < _sqnr(row, b + 1) else None


NAMES = ("the width of ordinary rows", "the first width that reaches it, not the last one that fails",
         "None, and two bits at the other end")  # fmt: skip


def _best_of_less(row):
    return max(_sqnr(row, b) for b in range(2, 8))


def _upright(row):
    return row if row.max() == row.abs().max() else -row


def _last_one(w, target_db):
    return _first(range(8, 1, -1), w, target_db)


def _halving(w, target_db):
    low, high = 2, 9
    while low < high:
        b = (low + high) // 2
        low, high = (low, b) if _sqnr(w, b) >= target_db else (b + 1, high)
    return low if low < 9 else None


def _largest_not_magnitude(w, target_db):
    for b in range(2, 9):
        qmax = 2 ** (b - 1) - 1
        s = w.double().max().item() / qmax or 1.0
        noise = ((w - s * torch.clip(torch.round(w.double() / s), -qmax, qmax)) ** 2).sum().item()
        if noise == 0 or 10 * math.log10((w.double() ** 2).sum().item() / noise) >= target_db:
            return b
    return None


def _no_noise(w, target_db):
    return (
        1 / 0
        if any(_sqnr(w, b) == math.inf for b in range(2, (bits_needed(w, target_db) or 8) + 1))
        else _first(range(2, 9), w, target_db)
    )


def _whole_range(w, target_db):
    w = w.double()
    for b in range(2, 9):
        s = (w.max() - w.min()).item() / (2**b - 1) or 1.0
        noise = ((w - s * torch.round(w / s)) ** 2).sum().item()
        if noise == 0 or 10 * math.log10((w**2).sum().item() / noise) >= target_db:
            return b
    return None


WRONG = [
    Mistake(
        "six decibels a bit",
        _six_decibels,
        "6.02 dB a bit holds when the row fills the whole range evenly; a real row must be measured.",
        loses=NAMES,
    ),
    Mistake(
        "searched from above",
        _from_above,
        "You came down from 8 bits and stopped where a width fails; a lower one may still reach the target.",
        loses=NAMES[1:2],
    ),
    Mistake(
        "nine instead of None",
        lambda w, target_db: _first(range(2, 9), w, target_db, none=9),
        "When not even 8 bits reach the target, the answer is None.",
        loses=NAMES[2:],
    ),
    Mistake(
        "starts at three bits",
        lambda w, target_db: _first(range(3, 9), w, target_db),
        "Two bits have the codes −1, 0 and 1; for some rows that is enough.",
        loses=NAMES[1:],
    ),
    Mistake(
        "2^(b−1) steps",
        lambda w, target_db: _first(range(2, 9), w, target_db, levels=lambda b: 2 ** (b - 1)),
        "qmax is 2^(b−1) − 1: the largest weight must get the code qmax.",
        loses=NAMES[:2],
    ),
    Mistake(
        "twenty instead of ten",
        lambda w, target_db: _first(range(2, 9), w, target_db, factor=2.0),
        "20·log10 of a ratio of powers promises twice the decibels.",
        loses=(NAMES[0], NAMES[2]),
    ),
    Mistake(
        "eight instead of None",
        lambda w, target_db: bits_needed(w, target_db) or 8,
        "Eight bits do not reach it either; whoever is told 8 believes that they do. The text asks for None.",
        loses=NAMES[2:],
    ),
    Mistake(
        "stops at seven bits",
        lambda w, target_db: _first(range(2, 8), w, target_db),
        "range(2, 8) ends at 7; eight bits are a width, too.",
        loses=NAMES[2:],
    ),
    Mistake(
        "the most bits, not the fewest",
        _last_one,
        "You went on after a width had reached the target, or began at 8: the first one from 2 upwards is asked for.",
        loses=NAMES,
    ),
    Mistake(
        "halving the widths",
        _halving,
        "Bisection needs decibels that only rise; here a width may fail between two that reach the target.",
        loses=NAMES[1:2],
    ),
    Mistake(
        "the maximum, not the largest magnitude",
        _largest_not_magnitude,
        "w.max() overlooks a large weight below zero: the step comes from max |w|.",
        loses=NAMES[:1],
    ),
    Mistake(
        "the natural logarithm",
        lambda w, target_db: _first(range(2, 9), w, target_db, factor=math.log(10)),
        "math.log is the natural logarithm; decibels take math.log10.",
        loses=(NAMES[0], NAMES[2]),
    ),
    Mistake(
        "a row of zeros reaches nothing",
        lambda w, target_db: bits_needed(w, target_db) if w.any() else None,
        "For a row of zeros s is 0, and 0/0 is NaN, which is not ≥ any target. The text says what such a row needs.",
        loses=NAMES[2:],
    ),
    Mistake(
        "no noise is divided by",
        _no_noise,
        "A round trip without error has noise 0, and Python does not divide by 0: such a width reaches every target.",
        loses=NAMES[1:],
    ),
    Mistake(
        "a step from minimum to maximum",
        _whole_range,
        "(max − min)/(2^b − 1) is the step of the asymmetric grid; the symmetric one has max|w| / (2^(b−1) − 1).",
        loses=NAMES[:2],
    ),
    Mistake(
        "minus one instead of None",
        lambda w, target_db: _first(range(2, 9), w, target_db, none=-1),
        "−1 is a number like others to whoever calls this: return None where no width will do.",
        loses=NAMES[2:],
    ),
    Mistake(
        "more than eight bits",
        lambda w, target_db: _first(range(2, 17), w, target_db),
        "The widths end at 8: where 8 bits do not reach the target the answer is None, even if 9 would.",
        loses=NAMES[2:],
    ),
]


def exercise(seed):
    widths = (3, 4, 5)
    drawn = rows(
        seed, 3, 48, ok=lambda row: all(_between(b, row) for b in widths) and _sqnr(row, 8) > _best_of_less(row) + 1
    )
    ordinary = [Case("a Gaussian row", row, _between(b, row)) for b, row in zip(widths, drawn, strict=True)]
    outlier = torch.cat([drawn[0], torch.tensor([-40.0])])
    ordinary += [Case("with an outlier", outlier, round(_sqnr(outlier, 6) - 0.5, 2))]
    up_and_down = [
        Case("made for 3 bits", torch.tensor([3.0, 1.0, -2.0, -1.0]), 60.0),
        Case("made for 4 bits", torch.tensor([7.0, -3.0, 5.0, 2.0, -1.0]) * 0.125, 40.0),
        Case("made for 2 bits", torch.tensor([0.5, -0.5, 0.0]), 100.0),
    ]
    ends = [
        Case("more than eight bits can give", drawn[0], 120.0),
        Case("nine bits would do", drawn[0], round(_sqnr(drawn[0], 8) + 3, 2)),
        Case("eight bits, and no fewer", _upright(drawn[1]), round(_sqnr(drawn[1], 8) - 0.5, 2)),
        Case("two bits would do for much less", outlier, -20.0),
        Case("a row of zeros", torch.zeros(4), 30.0),
    ]
    return question(
        "ps01.q4",
        "How many bits does it take?",
        "bits_needed(w, target_db) is the fewest bits from 2 to 8 whose round trip reaches target_db, or None.",
        bits_needed,
        properties=[
            agrees(NAMES[0], ordinary, "Measure each width; do not guess.", points=2),
            agrees(NAMES[1], up_and_down, "More bits are a finer grid, but another one."),
            agrees(NAMES[2], ends, "The text says what holds there."),
        ],
        wrong=WRONG,
    )
