"""ps01.q1: the spare code"""

import torch

from course_lib.checks import Case
from course_lib.grading import Mistake, agrees, question, rows


def spare_code(w, b):
    """Codes of w (n,) in two's complement, and their signed scale: (q int8, s a Python float)."""
    top = 2 ** (b - 1)
    largest = w[w.abs().argmax()].item()
    s = largest / -top if largest != 0 else 1.0
    q = torch.clip(torch.round(w / s), -top, top - 1).to(torch.int8)
    return q, s


def _spare(w, b, largest=None, divisor=None, lo=None, hi=None, clip=True, whole=torch.round):
    top = 2 ** (b - 1)
    largest = w[w.abs().argmax()].item() if largest is None else largest
    s = largest / (-top if divisor is None else divisor) if largest != 0 else 1.0
    q = whole(w / s)
    q = torch.clip(q, -top if lo is None else lo, top - 1 if hi is None else hi) if clip else q
    return q.to(torch.int8), s


def _wrapped(w, b):
    q, s = _spare(w, b, clip=False)
    top = 2 ** (b - 1)
    return ((q.int() + top) % (2 * top) - top).to(torch.int8), s


def _no_zero_row(w, b):
    top = 2 ** (b - 1)
    s = w[w.abs().argmax()] / -top
    return torch.clip(torch.nan_to_num(torch.round(w / s)), -top, top - 1).to(torch.int8), s.item()


def _lopsided(seed, sign):
    """Rows whose largest weight has this sign, the rest being at most 0.8 of it, and nothing near a tie."""

    def make(generator, n):
        row = 1.6 * torch.rand(n, generator=generator) - 0.8
        row[3] = sign
        return 0.37 * row

    def clear(row):
        steps = row / row[3] * 128
        return all(((steps / 2**k) % 1 - 0.5).abs().min() > 1e-3 for k in range(7))

    return rows(seed, 3, 24, make, clear)


NAMES = ("a largest weight below zero gets the spare code", "a largest weight above zero turns the scale's sign",
         "the other end is clipped", "a row of zeros, and two weights of equal size")  # fmt: skip


def _of_two(w, wins):
    return (w.max() if wins(w.max(), -w.min()) else w.min()).item()


WRONG = [
    Mistake(
        "a scale without a sign",
        lambda w, b: _spare(w, b, largest=-w.abs().max().item()),
        "You divide the magnitude. Keep the sign of w*: then w*/s is −2^(b−1) on either side.",
        loses=NAMES[1:2] + NAMES[3:],
    ),
    Mistake(
        "the restricted grid",
        lambda w, b: _spare(w, b, w.abs().max().item(), 2 ** (b - 1) - 1, lo=1 - 2 ** (b - 1)),
        "That is chapter 01's grid, −qmax … qmax, which leaves one code unused.",
        loses=NAMES,
    ),
    Mistake(
        "not clipped",
        lambda w, b: _spare(w, b, clip=False),
        "A weight on the other side may round to 2^(b−1), which b bits cannot hold.",
        loses=NAMES[2:],
    ),
    Mistake(
        "wrapped instead of clipped",
        _wrapped,
        "2^(b−1) became −2^(b−1): the largest weight of the other side changed its sign. Clip before you cast.",
        loses=NAMES[2:],
    ),
    Mistake(
        "the maximum, not the largest magnitude",
        lambda w, b: _spare(w, b, largest=w.max().item()),
        "w.max() is the most positive weight; look for the largest |w|, and then take the weight itself.",
        loses=(NAMES[0], NAMES[2], NAMES[3]),
    ),
    Mistake(
        "the last of two equal weights",
        lambda w, b: _spare(w, b, largest=w[w.abs() == w.abs().max()][-1].item()),
        "On equal magnitudes the first weight decides.",
        loses=NAMES[3:],
    ),
    Mistake(
        "a row of zeros divides by zero",
        _no_zero_row,
        "Without a largest weight there is no scale to compute: the text gives such a row s = 1.",
        loses=NAMES[3:],
    ),
    Mistake(
        "cut off, not rounded",
        lambda w, b: _spare(w, b, whole=torch.trunc),
        "A cast to int8 cuts what stands behind the point: 2.9 becomes 2. Round to the nearest first.",
        loses=NAMES[:3],
    ),
    Mistake(
        "rounded down",
        lambda w, b: _spare(w, b, whole=torch.floor),
        "floor takes the code below, so that −1.1 becomes −2. The nearest one is asked for.",
        loses=NAMES[:3],
    ),
    Mistake(
        "the minus sign of the divisor forgotten",
        lambda w, b: _spare(w, b, divisor=2 ** (b - 1)),
        "You divide w* by +2^(b−1): its code is then +2^(b−1), one more than there is. Divide by −2^(b−1).",
        loses=NAMES,
    ),
    Mistake(
        "the spare code clipped away",
        lambda w, b: _spare(w, b, lo=1 - 2 ** (b - 1)),
        "The codes begin at −2^(b−1), not at −(2^(b−1) − 1): that is the code which w* gets.",
        loses=NAMES,
    ),
    Mistake(
        "four bits, whatever b is",
        lambda w, b: spare_code(w, 4),
        "The codes run from −8 to 7 for b = 4 only: work the ends out from b.",
        loses=NAMES,
    ),
    Mistake(
        "of two equal weights the positive one",
        lambda w, b: _spare(w, b, largest=_of_two(w, torch.ge)),
        "On equal magnitudes the sign does not decide: the weight that comes first is w*.",
        loses=NAMES[3:],
    ),
    Mistake(
        "of two equal weights the negative one",
        lambda w, b: _spare(w, b, largest=_of_two(w, torch.gt)),
        "On equal magnitudes w* is the weight that comes first, not the one below zero.",
        loses=NAMES[3:],
    ),
]


def exercise(seed):
    below = [Case(f"largest below zero, {b} bits", w, b) for b, w in zip((3, 4, 8), _lopsided(seed, -1.0), strict=True)]
    above = [
        Case(f"largest above zero, {b} bits", w, b) for b, w in zip((3, 5, 4), _lopsided(seed + 1, 1.0), strict=True)
    ]
    far_end = [
        Case("the other end, 4 bits", torch.tensor([-2.0, 1.98, 0.5]), 4),
        Case("just below and above a half, 8 bits", torch.tensor([-128.0, 101.48, 77.52, -64.51]), 8),
        Case("the other end, 8 bits", torch.tensor([0.25, -1.0, 0.9999, 0.5]), 8),
    ]
    odd_rows = [
        Case("zeros", torch.zeros(5), 4),
        Case("two of equal size", torch.tensor([0.25, -1.0, 1.0, 0.5]), 4),
        Case("two of equal size, 3 bits", torch.tensor([0.5, 2.0, 0.0, -2.0]), 3),
    ]
    return question(
        "ps01.q1",
        "The spare code",
        "spare_code(w, b) is (q, s): s = w*/(−2^(b−1)) for the weight w* of largest magnitude; q uses all 2^b codes.",
        spare_code,
        properties=[
            agrees(NAMES[0], below, "−2^(b−1) is a code, too."),
            agrees(NAMES[1], above, "w*/s must be −2^(b−1), so s is negative when w* is not."),
            agrees(NAMES[2], far_end, "The codes end at 2^(b−1) − 1 on the other side."),
            agrees(NAMES[3], odd_rows, "The text says what holds there."),
        ],
        wrong=WRONG,
    )
