"""ps02.q3: how many bits can the rest have"""

import math

from course_lib.checks import Case
from course_lib.grading import Mistake, agrees, question
from graded.ps02.draw import draw


def widest(params, kept, budget_bytes, group):
    """Most bits, from 2 to 8, for all but `kept` of `params` weights within the budget; None if none fits."""
    rest = params - kept
    groups = math.ceil(rest / group)
    for b in range(8, 1, -1):
        total = 2 * kept + math.ceil(rest * b / 8) + 2 * groups + math.ceil(groups * b / 8)
        if total <= budget_bytes:
            return b
    return None


def _total(params, kept, group, b, scales=2, zeros=True, kept_bytes=2, all_quantized=False, short=math.ceil):
    rest = params if all_quantized else params - kept
    groups = short(rest / group)
    return math.ceil(kept_bytes * kept) + math.ceil(rest * b / 8) + scales * groups + zeros * math.ceil(groups * b / 8)


def _widest(params, kept, budget_bytes, group, none=None, top=8, strict=False, kept_as_rest=False, **total):
    for b in range(top, 1, -1):
        more = {"kept_bytes": b / 8} if kept_as_rest else {}
        if _total(params, kept, group, b, **total, **more) <= budget_bytes - strict:
            return b
    return none


NAMES = ("ordinary budgets", "a budget that is used to the last byte", "nothing fits, or everything does")


def _none_of(widths, params, kept, budget_bytes, group):
    found = [b for b in widths if _total(params, kept, group, b) <= budget_bytes]
    return found[0] if found else None


WRONG = [
    Mistake(
        "scales and zero points forgotten",
        lambda *a: _widest(*a, scales=0, zeros=False),
        "Each group stores 16 bits of scale and b bits of zero point, beside its codes.",
        loses=(NAMES[0], NAMES[2]),
    ),
    Mistake(
        "zero points forgotten",
        lambda *a: _widest(*a, zeros=False),
        "An asymmetric group stores a zero point of b bits as well.",
        loses=(NAMES[0], NAMES[2]),
    ),
    Mistake(
        "kept weights counted twice",
        lambda *a: _widest(*a, all_quantized=True),
        "Weights that stay at 16 bits have no codes: the rest is params − kept.",
        loses=NAMES,
    ),
    Mistake(
        "kept weights at b bits",
        lambda *a: _widest(*a, kept_as_rest=True),
        "The kept weights need 2 bytes each, whatever b is.",
        loses=NAMES,
    ),
    Mistake(
        "the short group forgotten",
        lambda *a: _widest(*a, short=math.floor),
        "The last group may be short; it has a scale and a zero point all the same.",
        loses=NAMES[2:],
    ),
    Mistake(
        "strictly below the budget",
        lambda *a: _widest(*a, strict=True),
        "Use ≤: a file of exactly the budget fits.",
        loses=NAMES[1:2],
    ),
    Mistake(
        "two instead of None",
        lambda *a: _widest(*a, none=2),
        "When not even 2 bits fit, there is no such width: return None.",
        loses=NAMES[2:],
    ),
    Mistake(
        "more than eight bits",
        lambda *a: _widest(*a, top=16),
        "The kernels at hand stop at 8 bits.",
        loses=NAMES[2:],
    ),
    Mistake(
        "kept weights for nothing",
        lambda *a: _widest(*a, kept_bytes=0),
        "The kept weights are in the file, too: 2 bytes each.",
        loses=NAMES,
    ),
    Mistake(
        "sixteen bytes for a kept weight",
        lambda *a: _widest(*a, kept_bytes=16),
        "Kept weights have 16 bits, which are 2 bytes.",
        loses=NAMES,
    ),
    Mistake(
        "the fewest bits",
        lambda *a: _none_of(range(2, 9), *a),
        "The first width that fits, counted from 2, is the smallest. Asked for is the largest: begin at 8.",
        loses=NAMES,
    ),
    Mistake(
        "stops at seven bits",
        lambda *a: _widest(*a, top=7),
        "range(2, 8) ends at 7; eight bits are a width, too.",
        loses=NAMES[2:],
    ),
    Mistake(
        "only 2, 3, 4 and 8 bits",
        lambda *a: _none_of((8, 4, 3, 2), *a),
        "Five, six and seven bits are widths, too.",
        loses=NAMES[:2],
    ),
    Mistake(
        "zero instead of None",
        lambda *a: _widest(*a, none=0),
        "0 bits are no answer that anybody can use: return None where no width fits.",
        loses=NAMES[2:],
    ),
    Mistake(
        "zero points of 16 bits",
        lambda *a: _widest(*a, scales=4, zeros=False),
        "A zero point is a code: it has b bits. Only the scale has 16.",
        loses=NAMES,
    ),
]


def exercise(seed):
    a, b, c = draw(seed, (6, 9), (60, 80), (11, 14))
    models = [(a * 10**9, 5 * 10**8, 128), (b * 10**9, 2 * 10**9, 64), (c * 10**8, 13 * 10**7, 32)]
    nearly = [
        Case(f"{bits} bits, a little short of one more", p, k, _total(p, k, g, bits + 1) - 1000, g)
        for bits, (p, k, g) in zip((4, 3, 5), models, strict=True)
    ]
    roomy = [
        Case(f"{bits} bits and a little", p, k, _total(p, k, g, bits) + 1000, g)
        for bits, (p, k, g) in zip((5, 4, 3), models, strict=True)
    ]
    full = [
        Case(f"{bits} bits to the last byte", p, k, _total(p, k, g, bits), g)
        for bits, (p, k, g) in zip((3, 6, 4), models, strict=True)
    ]
    p, k, g = models[0]
    scales_bytes = 2 * math.ceil((p - k) / g)
    half_the_scales = _total(p, k, g, 5, zeros=False) - scales_bytes // 2
    roomy.append(Case("5 bits and a little, nothing kept", p, 0, _total(p, 0, g, 5) + 1000, g))
    nearly.append(Case("4 bits, short by zero points and half of the scales", p, k, half_the_scales, g))
    odd = p + 77  # its last group is short
    ends = [
        Case("not even two bits", p, k, _total(p, k, g, 2) - 10**6, g),
        Case("not even two bits, by one byte", odd, k, _total(odd, k, 128, 2) - 1, 128),
        Case("room for twelve", p, k, _total(p, k, g, 12) + 1000, g),
        Case("two bits, just", p, k, _total(p, k, g, 2) + 10**6, g),
    ]
    return question(
        "ps02.q3",
        "What is left for the rest",
        "widest(params, kept, budget_bytes, group) is the most bits, 2 to 8, that the quantized weights may have.",
        widest,
        properties=[
            agrees(NAMES[0], nearly + roomy, "Count all that is stored.", points=2),
            agrees(NAMES[1], full, "A budget that is met is kept."),
            agrees(NAMES[2], ends, "The text says what holds there."),
        ],
        wrong=WRONG,
    )
