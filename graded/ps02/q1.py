"""ps02.q1: does it fit?"""

import math
from fractions import Fraction

from course_lib.checks import Case
from course_lib.grading import Mistake, agrees, question
from graded.ps02.draw import draw


def spare_bytes(file, card, reserve):
    """Whole bytes left on a card after a file, below zero if it does not fit; reserve in percent of the card."""
    units = {"B": 1}
    for power, letter in enumerate("kMGT", start=1):
        units[letter + "B"], units[letter.upper() + "iB"] = 1000**power, 1024**power

    def size(text):
        number, unit = text.split()
        return Fraction(number) * units[unit]

    usable = size(card) * (100 - reserve) / 100
    return math.floor(usable) - math.ceil(size(file))


def _size(text, ten=1000, two=1024, number=Fraction):
    value, unit = text.split()
    return number(value) * (two if "i" in unit else ten) ** " KMGT".index(unit[0].upper().replace("B", " "))


def _spare(file, card, reserve, down=math.floor, up=math.ceil, left=None, **units):
    card, file = _size(card, **units), _size(file, **units)
    if left is not None:
        return left(card, file, reserve)
    return down(card * (100 - reserve) / 100) - up(file)


NAMES = ("powers of ten and powers of two", "the reserve comes off the card", "exact to the byte",
         "rounded against you: the file up, the memory down")  # fmt: skip

WRONG = [
    Mistake(
        "powers of ten everywhere",
        lambda *a: _spare(*a, two=1000),
        "KiB, MiB, GiB and TiB are powers of 1024.",
        loses=(NAMES[0], NAMES[1], NAMES[3]),
    ),
    Mistake(
        "powers of two everywhere",
        lambda *a: _spare(*a, ten=1024),
        "kB, MB, GB and TB are powers of 1000: that is how files and bandwidths are sold.",
        loses=NAMES[:3],
    ),
    Mistake(
        "floats, cut off",
        lambda *a: _spare(*a, number=float, down=int, up=int),
        "float('8.29') · 10^9 is a little below 8290000000, and int() cuts it. Use Fraction or Decimal.",
        loses=NAMES[2:],
    ),
    Mistake(
        "rounded to the nearest byte",
        lambda *a: _spare(*a, down=round, up=round),
        "A file needs its last, half-filled byte, and memory ends with its last whole one.",
        loses=NAMES[3:],
    ),
    Mistake(
        "the card rounded first",
        lambda *a: _spare(*a, left=lambda c, f, r: math.floor(math.floor(c) * (100 - r) / 100) - math.ceil(f)),
        "The usable memory is rounded, not the card: take the reserve off first, and round once.",
        loses=NAMES[3:],
    ),
    Mistake(
        "the reserve off what is left",
        lambda *a: _spare(*a, left=lambda c, f, r: math.floor((c - f) * (100 - r) / 100)),
        "The reserve is a share of the card, not of what the file leaves.",
        loses=NAMES[1:],
    ),
    Mistake(
        "the reserve on top of the file",
        lambda *a: _spare(*a, left=lambda c, f, r: math.floor(c) - math.ceil(f * (100 + r) / 100)),
        "The reserve is a share of the card, however large the file is.",
        loses=NAMES[1:],
    ),
    Mistake(
        "never below zero",
        lambda *a: max(0, spare_bytes(*a)),
        "How much is missing is the interesting part: let the result go below zero.",
        loses=(NAMES[0], NAMES[1], NAMES[3]),
    ),
    Mistake(
        "floats, rounded the right way",
        lambda *a: _spare(*a, number=float),
        "float('8.29') · 10^9 is not 8290000000: rounded up or down it may be off by a byte. Use Fraction.",
        loses=NAMES[2:3],
    ),
    Mistake(
        "the file rounded down, too",
        lambda *a: _spare(*a, up=math.floor),
        "int() and // cut a file's last, half-filled byte off: a file is rounded up, only the memory down.",
        loses=NAMES[3:],
    ),
    Mistake(
        "rounded once, at the end",
        lambda *a: _spare(*a, left=lambda c, f, r: math.floor(c * (100 - r) / 100 - f)),
        "File and memory are whole bytes each: round the one up and the other down before you subtract.",
        loses=NAMES[3:],
    ),
    Mistake(
        "the reserve rounded, not the rest",
        lambda *a: _spare(*a, left=lambda c, f, r: math.floor(c) - math.floor(c * r / 100) - math.ceil(f)),
        "Rounding the reserve down leaves a byte too much: round what is usable down, once.",
        loses=NAMES[3:],
    ),
    Mistake(
        "the reserve forgotten",
        lambda file, card, reserve: spare_bytes(file, card, 0),
        "A part of the card is not yours: take reserve percent of it off.",
        loses=NAMES[1:],
    ),
    Mistake(
        "only the reserve used",
        lambda file, card, reserve: spare_bytes(file, card, 100 - reserve),
        "The reserve is what you may not use; usable is the other part of the card.",
        loses=NAMES,
    ),
    Mistake(
        "the file minus the card",
        lambda *a: -spare_bytes(*a),
        "The result is above zero where there is room: usable memory minus file.",
        loses=NAMES,
    ),
]


def exercise(seed):
    a, b, c, d = draw(seed, (3, 60), (2, 20), (1, 7), (3, 9))
    units = [
        Case("GB on GiB", f"{a} GB", f"{a + c} GiB", 0),
        Case("MB on MiB", f"{100 * b + 99} MB", f"{100 * b} MiB", 0),
        Case("kB on KiB", f"{c} kB", f"{c} KiB", 0),
        Case("GiB on TB", f"{b} GiB", f"{c} TB", 0),
        Case("too large, TiB", "1 TiB", f"{d}00 GB", 0),
    ]
    reserve = [
        Case("a quarter", f"{4 * b} GB", f"{8 * b} GiB", 25),
        Case("a half, too large", f"{8 * a} GB", f"{8 * a} GiB", 50),
    ]
    exact = [
        Case("an odd decimal", "8.29 GB", "16 GB", 0),
        Case("another one", f"{d}000 B", "2.51 GB", 0),
        Case("an odd decimal on the card", "1 GB", "8.29 GB", 0),
        Case("a file that a float makes larger", "4.07 GB", "16 GB", 0),
        Case("a reserve of 9 %", "1 GB", "80 GB", 9),
        Case("many digits", "4.123456789 GB", "9.999999999 TB", 0),
    ]
    against_you = [
        Case("a file of 1.3 GiB", "1.3 GiB", f"{c + 2} GiB", 0),
        Case("a card of 7.9 GiB", "1 GiB", "7.9 GiB", 0),
        Case("a reserve of 20 %", "2.7 GiB", f"{8 + d} GiB", 20),
        Case("too large by a little", f"{a}.3 KiB", f"{a}.3 KiB", 0),
        Case("a reserve of a card that ends within a byte", f"{a} B", "0.7 KiB", 20),
        Case("a card of few bytes", "1 B", "7 B", 20),
    ]
    return question(
        "ps02.q1",
        "Does it fit?",
        "spare_bytes(file, card, reserve) is the usable bytes of the card minus those of the file.",
        spare_bytes,
        properties=[
            agrees(NAMES[0], units, "GB is 10^9 bytes, GiB is 2^30."),
            agrees(NAMES[1], reserve, "The cache and the runtime live on the card, too."),
            agrees(NAMES[2], exact, "0.1 is no binary fraction; Fraction('0.1') is exact."),
            agrees(NAMES[3], against_you, "A byte that exists in part exists."),
        ],
        wrong=WRONG,
    )
