"""ps07.q3: rounded twice"""

import torch

from course_lib.checks import Case, law
from course_lib.grading import Mistake, agrees, on, question


def rounded_twice(values, p):
    """Between any two neighbours: a number that a detour over p significant bits spoils, and where such numbers lie."""
    low, high = values[:-1], values[1:]
    tie = (low + high) / 2
    reach = torch.ldexp(torch.ones_like(tie), torch.frexp(tie)[1] - 1 - p)  # half a unit in the last of p bits
    low_is_even = torch.arange(len(tie)) % 2 == 0
    side = torch.where(low_is_even, 1.0, -1.0).double()
    return {"x": tie + side * reach / 2, "reach": reach, "share": reach / (high - low)}


def _wide(x, p):
    """x rounded to p significant bits, ties to even."""
    fraction, exponent = torch.frexp(x)
    return torch.ldexp(torch.round(fraction * 2.0**p), exponent - p)


def _codes(x, values):
    """The code of each x (n,) among values[i] and values[i + 1], i = 0 … n - 1, a tie to the even one; -1 outside."""
    i = torch.arange(len(x))
    tie = (values[:-1] + values[1:]) / 2
    up = (x > tie) | ((x == tie) & (i % 2 == 1))
    inside = (x >= values[:-1]) & (x <= values[1:])
    return torch.where(inside, i + up.int(), -1)


def _spoiled(got, values, p):
    x = got["x"]
    if x.dtype != torch.float64 or x.shape != values[1:].shape:
        return "x should be a float64 tensor with one number for each pair of neighbours."
    once, twice = _codes(x, values), _codes(_wide(x, p), values)
    return bool(((once >= 0) & (twice >= 0) & (once != twice)).all())


def _twice(values, p, side=lambda even: torch.where(even, 1.0, -1.0), far=0.5, bits=lambda p: p,
           at=lambda low, tie, high: tie, share=lambda reach, low, high: reach / (high - low), wide=1):  # fmt: skip
    """The reference with one part changed."""
    low, high = values[:-1], values[1:]
    tie = (low + high) / 2
    even = torch.arange(len(tie)) % 2 == 0
    reach = 2.0 ** (torch.floor(torch.log2(at(low, tie, high))) - bits(p))
    x = tie + far * side(even).double() * 2.0 ** (torch.floor(torch.log2(tie)) - p)
    return {"x": x, "reach": wide * reach, "share": wide * share(reach, low, high)}


NAMES = ("a number spoiled on the way through float32", "through 16 bits", "how far they reach", "which share of them")

WRONG = [
    Mistake(
        "the tie itself",
        lambda *a: _twice(*a, far=0.0),
        "The tie goes to the even code both times. Only what lies *near* it is first pulled onto it.",
        loses=NAMES[:2],
    ),
    Mistake(
        "the side that comes out right",
        lambda *a: _twice(*a, side=lambda even: torch.where(even, -1.0, 1.0)),
        "Pulled onto the tie it goes to the even code. So the spoiled ones lie on the side of the odd code.",
        loses=NAMES[:2],
    ),
    Mistake(
        "always above the tie",
        lambda *a: _twice(*a, side=lambda even: torch.ones(len(even))),
        "Where the lower code is odd, the tie goes up, and a number *below* it is spoiled.",
        loses=NAMES[:2],
    ),
    Mistake(
        "too far from the tie",
        lambda *a: _twice(*a, far=1.5),
        "The wide format still tells this number from the tie. Stay within half of *its* step.",
        loses=NAMES[:2],
    ),
    Mistake(
        "a whole step of the wide format",
        lambda *a: _twice(*a, wide=2),
        "A number is pulled onto the tie from within *half* a step of the wide format.",
        loses=NAMES[2:],
    ),
    Mistake(
        "the leading 1 not counted",
        lambda *a: _twice(*a, bits=lambda p: p + 1),
        "p counts the leading 1: float32 has 24, of which 23 are stored.",
        loses=NAMES[2:],
    ),
    Mistake(
        "the step at the upper neighbour",
        lambda *a: _twice(*a, at=lambda low, tie, high: high),
        "What matters is the wide format's step at the tie. The upper neighbour may be a power of two further up.",
        loses=NAMES[2:],
    ),
    Mistake(
        "both sides of the tie",
        lambda *a: _twice(*a, share=lambda reach, low, high: 2 * reach / (high - low)),
        "On the other side of the tie the detour gives the right code all the same. Only one side is spoiled.",
        loses=NAMES[3:],
    ),
    Mistake(
        "a share of the number",
        lambda *a: _twice(*a, share=lambda reach, low, high: 2 * reach / (low + high)),
        "Asked is the share of all numbers between the two neighbours: divide by their distance.",
        loses=NAMES[3:],
    ),
]


def _numbers(e, m, bias):
    """The numbers of a float from 0 up, every code one."""
    k, f = torch.arange(2 ** (e + m)) >> m, torch.arange(2 ** (e + m)) & (2**m - 1)
    return torch.exp2((k.clamp(min=1) - bias).double()) * ((k > 0).double() + f.double() / 2**m)


def exercise(seed):
    generator = torch.Generator().manual_seed(seed)

    def case(name, e, m, p):
        bias = torch.randint(1, 2**e, (1,), generator=generator).item()
        count = 2 ** (e + m) - torch.randint(1, 4, (1,), generator=generator).item()  # the last codes are no numbers
        return Case(name, _numbers(e, m, bias)[:count], p)

    single = [case("E2M1's kind, float32", 2, 1, 24), case("E4M3's kind, float32", 4, 3, 24)]
    half = [
        case("E2M1's kind, bfloat16", 2, 1, 8),
        case("E4M3's kind, bfloat16", 4, 3, 8),
        case("E2M3's kind, float16", 2, 3, 11),
        case("E3M2's kind, bfloat16", 3, 2, 8),
    ]
    return question(
        "ps07.q3",
        "Rounded twice",
        "rounded_twice(values, p): between any two neighbours a number that two roundings spoil, and where they lie.",
        rounded_twice,
        properties=[
            on(single, law(NAMES[0], _spoiled, "Rounded once and rounded twice give different codes.")),
            on(half, law(NAMES[1], _spoiled, "Rounded once and rounded twice give different codes.")),
            agrees(NAMES[2], single + half, "Half a step of the wide format at the tie.", part="reach"),
            agrees(NAMES[3], single + half, "On one side of the tie only.", ulps=4, part="share"),
        ],
        wrong=WRONG,
    )
