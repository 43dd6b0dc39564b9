"""ps01.q5: three tickets"""

import torch

from course_lib.checks import Case, law
from course_lib.grading import Mistake, agrees, on, question, rows


def asym_round_trip(w, b):
    """Quantize w (n,) to b bits with a zero point, asymmetric, and decode it again; float32 of the same shape."""
    low, high = min(w.min().item(), 0.0), max(w.max().item(), 0.0)
    s = (high - low) / (2**b - 1) if high > low else 1.0
    z = round(-low / s)
    q = torch.clip(torch.round(w / s) + z, 0, 2**b - 1)
    return s * (q - z)


BROKEN = '''
def asym_round_trip(w, b):
    """Quantize w (n,) to b bits with a zero point, asymmetric, and decode it again; float32 of the same shape."""
    lo, hi = w.min(), w.max()
    s = (hi - lo) / (2**b - 1)
    z = (-lo / s).to(torch.uint8)
    q = torch.round((w - lo) / s).to(torch.uint8)
    return s * (q - z)
'''


def _asym(w, b, zero_rows=True, whole=torch.round, wraps=False, from_low=False, widen=True, clips=True, sign=1):
    lo, hi = (w.min().clamp(max=0), w.max().clamp(min=0)) if widen else (w.min(), w.max())
    s = (hi - lo) / (2**b - 1)
    s = torch.tensor(1.0) if s == 0 and zero_rows else s
    z = whole(sign * -lo / s)
    q = torch.round((w - lo) / s) if from_low else torch.round(w / s) + z
    q = torch.clip(q, 0, 2**b - 1) if clips and not from_low else q
    steps = q.to(torch.uint8) - z.to(torch.uint8) if wraps else q - z
    return s * steps.float()


def _signed_codes(w, b):
    lo, hi = w.min().clamp(max=0), w.max().clamp(min=0)
    s = torch.where(hi > lo, (hi - lo) / (2**b - 1), 1.0)
    z = torch.round(-lo / s)
    q = torch.clip(torch.round(w / s) + z, 0, 2**b - 1).to(torch.int32).to(torch.int8)
    return s * (q - z)


def _silent_zero(got, w, b):
    return bool((got[w == 0] == 0).all() and got.abs().max() > 0)


NAMES = ("weights below zero come back below zero", "0.0 comes back as exactly 0.0",
         "rows that are constant, or on one side of zero", "every weight by the definition")  # fmt: skip


def _symmetric(w, b):
    s = (w.abs().max().item() or 1.0) / (2 ** (b - 1) - 1)
    return s * torch.round(w / s)


def _grid(w, b, low=lambda w: w.min().clamp(max=0), high=lambda w: w.max().clamp(min=0), steps=-1, ends=None):
    """Range, number of steps and ends of the codes that differ from the definition's."""
    s = (high(w) - low(w)) / (2**b + steps)
    s = s if s > 0 else torch.tensor(1.0)
    z = torch.round(-low(w) / s)
    return s, z, torch.clip(torch.round(w / s) + z, *(ends(b) if ends else (0, 2**b - 1)))


def _decoded(w, b, decode=lambda s, z, q: s * (q - z), **grid):
    return decode(*_grid(w, b, **grid))


def _zero_point_not_whole(w, b):
    low = w.min().clamp(max=0)
    s, _, _ = _grid(w, b)
    return s * (torch.clip(torch.round(w / s - low / s), 0, 2**b - 1) + low / s)


def _bytes_wrap(s, z, q):
    return s * (q.to(torch.int32).to(torch.int8) - int(z))


WRONG = [
    Mistake(
        "as found",
        lambda w, b: _asym(w, b, False, torch.trunc, wraps=True, from_low=True, widen=False),
        "This still does what the broken code does: none of the three tickets is closed.",
        loses=NAMES,
    ),
    Mistake(
        "the bytes still wrap",
        lambda w, b: _asym(w, b, wraps=True),
        "q − z of two uint8 tensors wraps around at zero: 2 − 5 is 253. Leave the unsigned bytes first.",
        loses=(NAMES[0], NAMES[2], NAMES[3]),
    ),
    Mistake(
        "the zero point still truncated",
        lambda w, b: _asym(w, b, whole=torch.trunc),
        "A cast cuts the zero point off instead of rounding it, so the far end of the range clips.",
        loses=NAMES[3:],
    ),
    Mistake(
        "truncated zero point, codes from the minimum",
        lambda w, b: _asym(w, b, whole=torch.trunc, from_low=True),
        "Codes counted from the minimum and a truncated zero point do not meet at 0.0.",
        loses=(NAMES[1], NAMES[3]),
    ),
    Mistake(
        "codes from the minimum",
        lambda w, b: _asym(w, b, from_low=True),
        "round((w − lo)/s) is not round(w/s) + z: a rounded zero point shifts the whole grid.",
        loses=NAMES[3:],
    ),
    Mistake(
        "a row of zeros still divides by zero",
        lambda w, b: _asym(w, b, zero_rows=False),
        "For a row of zeros hi = lo, so s is 0 and 0/0 is NaN: give such a row any scale, say 1.",
        loses=NAMES[2:3],
    ),
    Mistake(
        "a range without zero",
        lambda w, b: _asym(w, b, widen=False),
        "The range lost its 0, so a row on one side of zero needs a zero point outside 0 … 2^b − 1.",
        loses=NAMES[2:3],
    ),
    Mistake(
        "not clipped",
        lambda w, b: _asym(w, b, clips=False),
        "Where both ends are rounded up, the largest weight gets the code 2^b, which b bits cannot hold: clip.",
        loses=NAMES[3:],
    ),
    Mistake(
        "signed bytes",
        _signed_codes,
        "int8 ends at 127, and codes of 8 bits go to 255: the upper half turns negative.",
        loses=NAMES[3:],
    ),
    Mistake(
        "a symmetric grid",
        _symmetric,
        "That grid has as much room below 0 as above it, and no zero point. Here the range is that of w and 0.",
        loses=(NAMES[0], *NAMES[2:]),
    ),
    Mistake(
        "the zero point's sign",
        lambda w, b: _asym(w, b, sign=-1),
        "z is −lo/s, so it is not negative: it is the code of 0.0.",
        loses=NAMES,
    ),
    Mistake(
        "the zero point added twice",
        lambda w, b: _decoded(w, b, decode=lambda s, z, q: s * (q + z)),
        "Encoding adds z, so decoding takes it off again: s · (q − z).",
        loses=NAMES,
    ),
    Mistake(
        "the zero point not taken off",
        lambda w, b: _decoded(w, b, decode=lambda s, z, q: s * q),
        "s · q counts from lo. A code q stands for s · (q − z).",
        loses=NAMES,
    ),
    Mistake(
        "a zero point that is no whole number",
        _zero_point_not_whole,
        "z is stored as a code, so it is rounded by itself: round(w/s) + round(−lo/s).",
        loses=(NAMES[1], NAMES[3]),
    ),
    Mistake(
        "a step too many",
        lambda w, b: _decoded(w, b, steps=0),
        "Between 2^b codes there are 2^b − 1 steps.",
        loses=(NAMES[0], NAMES[2], NAMES[3]),
    ),
    Mistake(
        "signed codes",
        lambda w, b: _decoded(w, b, ends=lambda b: (-(2 ** (b - 1)), 2 ** (b - 1) - 1)),
        "With a zero point the codes run from 0 to 2^b − 1, and z makes room for what is below zero.",
        loses=(NAMES[0], NAMES[2], NAMES[3]),
    ),
    Mistake(
        "bytes with a sign that wrap",
        lambda w, b: _decoded(w, b, decode=_bytes_wrap),
        "int8 holds no code above 127, and q − z of int8 wraps besides. Take a wider type for both.",
        loses=NAMES[3:],
    ),
    Mistake(
        "a range without zero above",
        lambda w, b: _decoded(w, b, high=torch.max),
        "hi is at least 0, too: a row below zero has the range from its minimum up to 0.",
        loses=NAMES[2:3],
    ),
    Mistake(
        "mended for constant rows only",
        lambda w, b: w if (w == w[0]).all() else _asym(w, b, widen=False),
        "Constant rows are one example of #34: every row on one side of zero needs a range that includes 0.",
        loses=NAMES[2:3],
    ),
    Mistake(
        "the zero point rounded up",
        lambda w, b: _asym(w, b, whole=torch.ceil),
        "z is round(−lo/s), the *nearest* whole number: rounded up it moves the whole grid by one step.",
        loses=NAMES[3:],
    ),
]


def exercise(seed):
    def make(generator, n):
        row = torch.randn(n, generator=generator) + 0.8
        row[::7] = 0.0
        return row

    def clear(row):  # nothing near a tie, a zero point that truncation and rounding tell apart, codes likewise
        for b in (3, 4, 8):
            lo, s = row.min(), (row.max() - row.min()) / (2**b - 1)
            steps, zero = torch.cat([row[row != 0] / s, (row - lo)[row != 0][1:] / s]), (-lo / s).item()
            if ((steps % 1 - 0.5).abs() < 1e-4).sum() > 0 or not 0.55 < zero % 1 < 0.95 or zero < 1:
                return False
        return torch.unique(torch.round(row / s) - torch.round((row - lo) / s)).numel() > 1

    mixed = rows(seed, 3, 35, make, clear)
    exact = [
        Case("whole zero point", torch.tensor([-3.0, 0.5, 4.5, -1.0]), 4),
        Case("nearly all below zero", torch.tensor([-7.0, -6.0, -3.0, 0.0]), 3),
    ]
    padded = [Case(f"padding, {b} bits", w, b) for b, w in zip((4, 8, 3), mixed, strict=True)]
    degenerate = [
        Case("zeros", torch.zeros(6), 4),
        Case("a constant above zero", torch.full((3,), 0.75), 4),
        Case("far from zero", torch.tensor([10.0, 10.4, 15.0]), 4),
        Case("far below zero", torch.tensor([-10.0, -10.4, -15.0]), 4),
    ]
    both_up = Case("both ends are ties, 3 bits", torch.tensor([-3.5, 1.0, 3.5, 0.0]), 3)  # 4 + 4 is clipped to 7
    low = Case("a zero point of 2.3, 4 bits", torch.tensor([-2.3, 12.7, 5.2, 0.0]), 4)
    near = dict(ulps=8)
    return question(
        "ps01.q5",
        "Three tickets",
        "asym_round_trip(w, b) is s·(q − z) with q = clip(round(w/s) + z, 0, 2^b − 1) and a whole zero point.",
        asym_round_trip,
        kind="repair",
        stub=BROKEN,
        properties=[
            agrees(NAMES[0], exact, "Unsigned bytes have no values below zero.", **near),
            on(padded, law(NAMES[1], _silent_zero, "Padding and dead weights must stay silent.")),
            agrees(NAMES[2], degenerate, "The range includes 0, and s is never 0.", **near),
            agrees(NAMES[3], [*padded, both_up, low], "The definition fixes every code.", **near),
        ],
        wrong=WRONG,
    )
