"""ps07.q2: one byte for a block"""

import math

import torch

from course_lib.checks import Case
from course_lib.grading import Mistake, agrees, question


def scale_bytes(amax, largest, m):
    """The E8M0 bytes, uint8, of blocks with these maxima under the rules floor, ceil, even and rceil."""
    fraction, exponent = torch.frexp(amax)
    fraction, exponent = 2 * fraction, exponent - 1  # amax = fraction · 2^exponent, 1 <= fraction < 2
    p = math.floor(math.log2(largest))
    above = {
        "floor": torch.zeros_like(amax, dtype=torch.bool),
        "ceil": fraction > 1,
        "even": fraction >= 2 - 2.0 ** -(m + 1),  # rounds up to 2
        "rceil": fraction > largest / 2**p,
    }
    powers = {rule: torch.where(amax > 0, exponent - p + up, -127) for rule, up in above.items()}
    return {rule: (k.clamp(-127, 127) + 127).to(torch.uint8) for rule, k in powers.items()}


RULES = ("floor", "ceil", "even", "rceil")


def _bytes(amax, largest, m, p=lambda largest: math.floor(math.log2(largest)), bias=127, zero=-127,
           ends=lambda k: k.clamp(-127, 127), **changed):  # fmt: skip
    """The reference from float64 logarithms, with one part or some rules changed; a rule: (a, p, largest, m) -> k."""
    a, p = amax.double(), p(largest)
    floor = torch.floor(torch.log2(a))
    step = 2.0 ** (floor - m)
    rules = {
        "floor": lambda a, p, largest, m: floor - p,
        "ceil": lambda a, p, largest, m: torch.ceil(torch.log2(a)) - p,
        "even": lambda a, p, largest, m: torch.floor(torch.log2(torch.round(a / step) * step)) - p,
        "rceil": lambda a, p, largest, m: torch.ceil(torch.log2(a / largest)),
    } | changed
    powers = {name: torch.where(a > 0, rule(a, p, largest, m), zero) for name, rule in rules.items()}
    return {name: (ends(k) + bias).to(torch.int32).to(torch.uint8) for name, k in powers.items()}


def _rounded_to(bits):
    def rule(a, p, largest, m):
        step = 2.0 ** (torch.floor(torch.log2(a)) - bits(m))
        return torch.floor(torch.log2(torch.round(a / step) * step)) - p

    return rule


def _half_down(a, p, largest, m):
    step = 2.0 ** (torch.floor(torch.log2(a)) - m)
    return torch.floor(torch.log2(torch.ceil(a / step - 0.5) * step)) - p


def _in_float32(amax, largest, m):
    """Logarithms in float32, which round to a whole number beside a power of two."""
    log = torch.log2(amax.clamp(min=1e-38))
    return _bytes(
        amax,
        largest,
        m,
        floor=lambda a, p, largest, m: torch.floor(log) - p,
        ceil=lambda a, p, largest, m: torch.ceil(log) - p,
    )


NAMES = ("floor", "ceil", "even", "rceil", "zeros, and the ends of a byte")


def _rceil_in_float32(amax, largest, m):
    k = torch.ceil(torch.log2(amax / largest)).clamp(-127, 127) + 127
    return scale_bytes(amax, largest, m) | {"rceil": torch.where(amax > 0, k, 0).to(torch.uint8)}


WRONG = [
    Mistake(
        "the largest element left out",
        lambda *a: _bytes(*a, p=lambda largest: 0, rceil=lambda a, p, largest, m: torch.ceil(torch.log2(a))),
        "The scale has to bring amax down to the format's largest number, not to 1: take its exponent off.",
        loses=NAMES,
    ),
    Mistake(
        "no bias",
        lambda *a: _bytes(*a, bias=0),
        "A byte has no sign: E8M0 stores k + 127.",
        loses=NAMES,
    ),
    Mistake(
        "a bias of 128",
        lambda *a: _bytes(*a, bias=128),
        "The bias is 127, as in float32: the scale 1 has the byte 127.",
        loses=NAMES,
    ),
    Mistake(
        "the floor of the quotient",
        lambda *a: _bytes(*a, floor=lambda a, p, largest, m: torch.floor(torch.log2(a / largest))),
        "Round both logarithms down first, then subtract: for 4 and E2M1 that is 2 − 2 = 0, and ⌊log2(4/6)⌋ is −1.",
        loses=NAMES[:1],
    ),
    Mistake(
        "ceil of the quotient",
        lambda *a: _bytes(*a, ceil=lambda a, p, largest, m: torch.ceil(torch.log2(a / largest))),
        "That is rceil. Under ceil log2(amax) alone is rounded up.",
        loses=NAMES[1:2],
    ),
    Mistake(
        "logarithms in float32",
        _in_float32,
        "Beside a power of two a float32 logarithm is a whole number already. `torch.frexp` is exact.",
        loses=NAMES[:2],
    ),
    Mistake(
        "ceil always one more",
        lambda *a: _bytes(*a, ceil=lambda a, p, largest, m: torch.floor(torch.log2(a)) + 1 - p),
        "A power of two is its own ceiling.",
        loses=NAMES[1:2],
    ),
    Mistake(
        "even rounds to a power of two",
        lambda *a: _bytes(*a, even=_rounded_to(lambda m: 0)),
        "amax is rounded to m mantissa bits, as an element would be, and only then to a power of two, downwards.",
        loses=NAMES[2:3],
    ),
    Mistake(
        "even one bit too fine",
        lambda *a: _bytes(*a, even=_rounded_to(lambda m: m + 1)),
        "m counts the bits behind the leading 1: amax has 1 + m significant bits after rounding.",
        loses=NAMES[2:3],
    ),
    Mistake(
        "even's tie goes down",
        lambda *a: _bytes(*a, even=_half_down),
        "Just below a power of two the tie goes to the even neighbour, and that is the power of two.",
        loses=NAMES[2:3],
    ),
    Mistake(
        "rceil with room to spare",
        lambda *a: _bytes(*a, rceil=lambda a, p, largest, m: torch.floor(torch.log2(a / largest)) + 1),
        "Where amax is exactly largest · 2^k it fits: nothing is clipped.",
        loses=NAMES[3:4],
    ),
    Mistake(
        "rceil like ceil",
        lambda *a: _bytes(*a, rceil=lambda a, p, largest, m: torch.ceil(torch.log2(a)) - p),
        "The elements reach beyond the power of two, up to `largest`: less scale is enough.",
        loses=NAMES[3:4],
    ),
    Mistake(
        "a scale of 1 for zeros",
        lambda *a: _bytes(*a, zero=0),
        "A block of zeros gets the byte 0, as in the library and in torchao.",
        loses=NAMES[4:],
    ),
    Mistake(
        "no ends",
        lambda *a: _bytes(*a, ends=lambda k: k),
        "k lies between −127 and 127. Beyond that a byte wraps around, or means NaN.",
        loses=NAMES[4:],
    ),
    Mistake(
        "byte 0 not used",
        lambda *a: _bytes(*a, ends=lambda k: k.clamp(-126, 127)),
        "E8M0 has no zero and no subnormals: the byte 0 is simply 2^−127.",
        loses=NAMES[4:],
    ),
    Mistake(
        "byte 255 used",
        lambda *a: _bytes(*a, ends=lambda k: k.clamp(-127, 128)),
        "255 is E8M0's NaN. The largest scale is 2^127, byte 254.",
        loses=NAMES[4:],
    ),
    Mistake(
        "rceil from a float32 logarithm",
        _rceil_in_float32,
        "Just above largest · 2^k the logarithm in float32 is k itself. Compare fractions, or largest · 2^k with amax.",
        loses=NAMES[3:4],
    ),
]
ELEMENTS = {"E2M1": (6.0, 1), "E2M3": (7.5, 3), "E3M2": (28.0, 2), "E4M3": (448.0, 3), "E5M2": (57344.0, 2)}


def exercise(seed):
    generator = torch.Generator().manual_seed(seed)

    def case(element):
        """Around the borders of every rule, and far from them."""
        largest, m = ELEMENTS[element]
        top, tie = largest / 2 ** math.floor(math.log2(largest)), 2 - 2.0 ** -(m + 1)
        fine = 2.0 ** -(m + 3)
        borders = [1.0, 1 + fine, top - fine, top, top + fine / 2, tie - fine, tie, tie + fine, 1.4]
        powers = torch.randint(-20, 20, (len(borders),), generator=generator)
        amax = torch.ldexp(torch.tensor(borders), powers)
        beside = torch.tensor([1 + 2.0**-23, 2 - 2.0**-23]) * 2.0 ** torch.randint(12, 20, (2,), generator=generator)
        above = torch.nextafter(torch.tensor(top), torch.tensor(math.inf)) * 2.0 ** torch.arange(17, 20)
        amax = torch.cat([amax, beside, above])
        more = torch.exp2(30 * torch.rand(4, generator=generator) - 15)
        return Case(f"elements of {element}", torch.cat([amax, more]), largest, m)

    ends = [
        Case("zeros", torch.tensor([0.0, 1.9, 0.0]), 6.0, 1),
        Case("too small for a byte", torch.tensor([2.0**-126, 2.0**-125, 2.0**-124, 1.5 * 2.0**-120]), 448.0, 3),
        Case("too large for a byte", torch.tensor([1.9, 1.999]) * 2.0**127, 1.75, 2),
    ]
    cases = [case(element) for element in ELEMENTS]
    whys = (
        "⌊log2 amax⌋ less the exponent of the largest element.",
        "⌈log2 amax⌉ less the exponent of the largest element.",
        "As floor, of amax rounded to m mantissa bits, ties to even.",
        "The smallest k with largest · 2^k at least amax.",
    )
    return question(
        "ps07.q2",
        "One byte for a block",
        "scale_bytes(amax, largest, m): the E8M0 bytes of these blocks under floor, ceil, even and rceil.",
        scale_bytes,
        properties=[
            *(agrees(n, cases, why, points=0.75, part=n) for n, why in zip(RULES, whys, strict=True)),
            agrees(NAMES[4], ends, "Byte 0 for zeros; k from −127 to 127."),
        ],
        wrong=WRONG,
    )
