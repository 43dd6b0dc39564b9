"""ps07.q1: the ruler of any small float"""

import torch

from course_lib.checks import Case
from course_lib.grading import Mistake, agrees, question


def ruler(e, m, bias, top, x):
    """Facts of a float with e exponent and m mantissa bits: its ends, how many numbers, and its gaps at x."""
    last = 2**e - 2 if top == "inf" else 2**e - 1  # the highest exponent field that holds a number,
    most = 2**m - 2 if top == "nan" else 2**m - 1  # and the highest mantissa in it
    exponent = (torch.frexp(x)[1] - 1).clamp(min=1 - bias)  # below 2^(1 - bias) the gaps stay as they are
    return {
        "largest": 2.0 ** (last - bias) * (1 + most / 2**m),
        "normal": 2.0 ** (1 - bias),
        "least": 2.0 ** (1 - bias - m),
        "count": 2 * (last * 2**m + most) + 1,
        "gaps": torch.ldexp(torch.ones_like(x), torch.where(x == 0, 1 - bias, exponent) - m),
    }


def _numbers(e, m, bias, top):
    """All finite numbers from 0 up, code by code."""
    codes = range(2 ** (e + m))
    if top == "inf":
        codes = codes[: (2**e - 1) * 2**m]
    if top == "nan":
        codes = codes[:-1]
    fields = [(code >> m, code & (2**m - 1)) for code in codes]
    return [2.0 ** (max(k, 1) - bias) * ((k > 0) + f / 2**m) for k, f in fields]


def _gaps(numbers, x):
    grid = torch.tensor(numbers, dtype=torch.float64)
    below = torch.searchsorted(grid, x.abs().double(), right=True) - 1
    return (grid[below + 1] - grid[below]).to(x.dtype)


def _tell(e, m, bias, top, x, end=None, normal=lambda n, e, m, bias: n, least=lambda n, e, m, bias: n,
          count=lambda n: 2 * n - 1, gaps=None):  # fmt: skip
    """The reference from a list of all numbers, with one part changed; end: the `top` that is taken for granted."""
    right, numbers = _numbers(e, m, bias, top), _numbers(e, m, bias, end(top) if end else top)
    return {
        "largest": numbers[-1],
        "normal": normal(2.0 ** (1 - bias), e, m, bias),
        "least": least(numbers[1], e, m, bias),
        "count": count(len(numbers)),
        "gaps": gaps(e, m, bias, x) if gaps else _gaps(right, x),
    }


def _power(exponent, x):
    return torch.ldexp(torch.ones_like(x), exponent)


def _exponent(x, bias):
    """floor(log2 |x|) by counting, 0 taken for the smallest normal number."""
    return torch.where(x == 0, 1 - bias, torch.frexp(x)[1] - 1)


NAMES = ("the largest number", "the smallest normal number", "the smallest number of all", "how many numbers",
         "the gaps")  # fmt: skip

WRONG = [
    Mistake(
        "every code a number",
        lambda *a: _tell(*a, end=lambda top: "numbers"),
        "Some formats give their top codes away: all of the last exponent to infinity and NaN, or one code to NaN.",
        loses=(NAMES[0], NAMES[3]),
    ),
    Mistake(
        "a NaN costs the whole last exponent",
        lambda *a: _tell(*a, end=lambda top: "inf" if top == "nan" else top),
        "With top = 'nan' only the very last code is lost: the numbers just below it stay.",
        loses=(NAMES[0], NAMES[3]),
    ),
    Mistake(
        "infinity costs one code",
        lambda *a: _tell(*a, end=lambda top: "nan" if top == "inf" else top),
        "With top = 'inf' the last exponent holds no number at all: infinity, and NaN for every other mantissa.",
        loses=(NAMES[0], NAMES[3]),
    ),
    Mistake(
        "exponent 0 like the others",
        lambda *a: _tell(*a, normal=lambda n, e, m, bias: n / 2),
        "The exponent field 0 is kept for 0 and the subnormal numbers. The first normal one has field 1.",
        loses=NAMES[1:2],
    ),
    Mistake(
        "subnormals from one power lower",
        lambda *a: _tell(*a, least=lambda n, e, m, bias: n / 2),
        "Subnormal numbers have the exponent of the smallest *normal* ones, 1 − bias, and no leading 1.",
        loses=NAMES[2:3],
    ),
    Mistake(
        "no subnormals",
        lambda *a: _tell(*a, least=lambda n, e, m, bias: 2.0 ** (1 - bias)),
        "Below the smallest normal number there are 2^m − 1 more, in even steps down to 0.",
        loses=NAMES[2:3],
    ),
    Mistake(
        "0 counted twice",
        lambda *a: _tell(*a, count=lambda n: 2 * n),
        "+0 and −0 are two codes, but one number.",
        loses=NAMES[3:4],
    ),
    Mistake(
        "only one sign",
        lambda *a: _tell(*a, count=lambda n: n),
        "Every number but 0 has a negative twin.",
        loses=NAMES[3:4],
    ),
    Mistake(
        "codes counted",
        lambda e, m, *rest: _tell(e, m, *rest, count=lambda n: 2 ** (1 + e + m)),
        "That is the number of codes. Some are no numbers, and two of them are 0.",
        loses=NAMES[3:4],
    ),
    Mistake(
        "gaps shrink down to 0",
        lambda *a: _tell(*a, gaps=lambda e, m, bias, x: _power(_exponent(x, bias) - m, x)),
        "Below the smallest normal number the gaps stop shrinking: that is what subnormal numbers are for.",
        loses=NAMES[4:],
    ),
    Mistake(
        "gaps as shares",
        lambda *a: _tell(*a, gaps=lambda e, m, bias, x: (x.abs() / 2**m).clamp(min=2.0 ** (1 - bias - m))),
        "Between two powers of two all gaps are equal: 2^m of them. They do not grow with every number.",
        loses=NAMES[4:],
    ),
    Mistake(
        "negative numbers taken for tiny ones",
        lambda *a: _tell(*a, gaps=lambda e, m, bias, x: _power(
            _exponent(x.clamp(min=0), bias).clamp(min=1 - bias) - m, x)),
        "A float is the same on both sides of 0: look at |x|.",
        loses=NAMES[4:],
    ),
    Mistake(
        "the gap below a power of two",
        lambda *a: _tell(*a, gaps=lambda e, m, bias, x: _power(
            (_exponent(x, bias) - (torch.frexp(x)[0].abs() == 0.5).int()).clamp(min=1 - bias) - m, x)),
        "At a power of two the gap changes; asked is the one above it.",
        loses=NAMES[4:],
    ),
]  # fmt: skip


def exercise(seed):
    generator = torch.Generator().manual_seed(seed)

    def case(name, e, m, bias, top):
        """Every kind of place: 0, a subnormal and a normal number of either sign, a power of two, between numbers."""
        numbers = _numbers(e, m, bias, top)
        n, least = len(numbers), numbers[1]
        picked = torch.randint(2**m + 1, n - 1, (5,), generator=generator).tolist()
        x = [0.0, 0.4 * least, -least, 2.0 ** (2 - bias), *(numbers[i] for i in picked[:2])]
        x += [s * (0.7 * numbers[i] + 0.3 * numbers[i + 1]) for s, i in zip((1, -1, -1), picked[2:], strict=True)]
        return Case(name, e, m, bias, top, torch.tensor(x))

    drawn = torch.randint(0, 3, (4,), generator=generator).tolist()
    cases = [
        case("two bits and one", 2, 1, 1, "numbers"),
        case("infinity above", 3, 2, 3, "inf"),
        case("one NaN above", 4, 3, 7, "nan"),
        case("much range", 5, 2, 15 - drawn[0], "inf"),
        case("much precision", 2, 3 + drawn[1], 1, "numbers"),
        case("another bias", 4, 2 + drawn[2], 9, "nan"),
        case("seven bits of exponent and mantissa", 3, 4, 2 + drawn[3], "nan"),
        case("nothing above 1", 3, 2, 9, "inf"),
    ]
    return question(
        "ps07.q1",
        "The ruler of any small float",
        "ruler(e, m, bias, top, x): its largest, smallest normal and smallest number, their count, the gaps at x.",
        ruler,
        properties=[
            agrees(NAMES[0], cases, "The last code that is a number.", part="largest"),
            agrees(NAMES[1], cases, "Exponent field 1, mantissa 0.", points=0.5, part="normal"),
            agrees(NAMES[2], cases, "Exponent field 0, mantissa 1.", points=0.5, part="least"),
            agrees(NAMES[3], cases, "Each with two signs, and 0 once.", part="count"),
            agrees(NAMES[4], cases, "From the largest number that is at most |x| to the next.", part="gaps"),
        ],
        wrong=WRONG,
    )
