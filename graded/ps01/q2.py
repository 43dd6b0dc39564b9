"""ps01.q2: a scale that is never too small"""

import math

import torch

from course_lib.checks import Case, law
from course_lib.grading import Mistake, agrees, on, question, rows


def scale_up(s):
    """The smallest bfloat16 value that is not below s, for each of s (n,); float32 of the same shape."""
    near = s.to(torch.bfloat16)
    above = torch.nextafter(near, torch.full_like(near, math.inf))
    return torch.where(near.float() < s, above, near).float()


def _is_stored_and_enough(got, s):
    if not torch.equal(got.bfloat16().float(), got):
        return "a value of the result is no bfloat16 value"
    return bool((got >= s).all() and (got < 2 * s + 1e-38).all()) or "a value of the result is below s, or far above"


def _bits(s, more):
    return ((s.view(torch.int32) & -65536) + more).view(torch.float32)


def _relative_step(s):
    near = s.bfloat16().float()
    return torch.where(near < s, (near * (1 + 2**-7)).bfloat16().float(), near)


def _half(s):
    near = s.half()
    return torch.where(near.float() < s, torch.nextafter(near, torch.full_like(near, math.inf)), near).float()


NAMES = ("a bfloat16 value stays as it is", "the result is a bfloat16 value, not below s",
         "and the smallest such value", "the edges: carries, and very large or small scales")  # fmt: skip


def _one_up(s):
    near = s.bfloat16()
    return torch.nextafter(near, torch.full_like(near, math.inf)).float()


def _one_up_if_changed(s):
    near = s.bfloat16().float()
    return torch.where(near == s, near, _one_up(s))


def _on_steps_of(digits):
    return lambda s: torch.ldexp(torch.ceil(torch.ldexp(s, digits - torch.frexp(s)[1])), torch.frexp(s)[1] - digits)


def _towards_zero(s):
    near = s.bfloat16()
    return torch.where(near.float() < s, torch.nextafter(near, torch.zeros_like(near)), near).float()


WRONG = [
    Mistake(
        "rounded to nearest",
        lambda s: s.bfloat16().float(),
        ".to(torch.bfloat16) rounds to the nearest value, which is below s about half of the time.",
        loses=NAMES[1:],
    ),
    Mistake(
        "cut off",
        lambda s: _bits(s, 0),
        "Clearing the lower 16 bits rounds towards zero; a positive scale must go the other way.",
        loses=NAMES[1:],
    ),
    Mistake(
        "always one step up",
        lambda s: _bits(s, 65536),
        "A scale that is a bfloat16 value already must stay: step up only where something was cut off.",
        loses=NAMES[:1],
    ),
    Mistake(
        "a relative step",
        _relative_step,
        "2^−7 of the value is up to twice the distance of two bfloat16 values; the last binary digit is not.",
        loses=NAMES[2:],
    ),
    Mistake(
        "float16 instead of bfloat16",
        _half,
        "float16 has 11 binary digits and a small range; bfloat16 has 8 and the range of float32.",
        loses=NAMES[1:],
    ),
    Mistake(
        "rounded, then one step up",
        _one_up,
        "Where the nearest value lies above s already, or is s itself, the step up is one too many: ask first.",
        loses=(NAMES[0], *NAMES[2:]),
    ),
    Mistake(
        "one step up wherever rounding changed the value",
        _one_up_if_changed,
        "Where the nearest value lies above s, it is the answer already: step up only where it lies below.",
        loses=NAMES[2:],
    ),
    Mistake(
        "nine binary digits",
        _on_steps_of(9),
        "Of bfloat16's 8 binary digits one is the leading 1, so its step is 2^(e−7) between 2^e and 2^(e+1).",
        loses=NAMES[1:],
    ),
    Mistake(
        "the next power of two",
        lambda s: torch.exp2(torch.ceil(torch.log2(s))),
        "A power of two is a bfloat16 value, but most have others between s and it: the smallest is asked for.",
        loses=(NAMES[0], NAMES[2], NAMES[3]),
    ),
    Mistake(
        "a step towards zero",
        _towards_zero,
        "The second argument of nextafter says in which direction: towards 0 is down. Go towards infinity.",
        loses=NAMES[1:],
    ),
    Mistake(
        "the same step for all scales",
        lambda s: torch.ceil(s * 256) / 256,
        "1/256 is the step between 0.5 and 1 only: smaller values lie closer together, larger ones farther apart.",
        loses=NAMES,
    ),
]


def exercise(seed):
    def make(generator, n):
        return torch.exp2(torch.empty(n).uniform_(-12, 3, generator=generator))

    ordinary = [Case(f"{n} scales", row) for n, row in zip((7, 40), rows(seed, 2, 40, make), strict=True)]
    stored = [Case(f"stored scales {i}", row.bfloat16().float()) for i, row in enumerate(rows(seed + 1, 2, 9, make))]
    edges = [
        Case("just below a power of two", torch.tensor([0.99999994, 3.9921876, 0.12499999])),
        Case("far outside the range of fp16", torch.tensor([3.0e-12, 2.5e20, 70001.0, 1.1e-38])),
        Case("just above a stored value", torch.tensor([1.0000001, 0.50000006, 1.9921876])),
    ]
    return question(
        "ps01.q2",
        "A scale that is never too small",
        "scale_up(s) is the smallest bfloat16 value that is not below s, as float32.",
        scale_up,
        properties=[
            agrees(NAMES[0], stored, "What is stored exactly needs no rounding."),
            on(ordinary, law(NAMES[1], _is_stored_and_enough, "A stored scale below s makes the grid too short.")),
            agrees(NAMES[2], ordinary, "A step that is larger than need be costs precision."),
            agrees(NAMES[3], edges, "bfloat16 has the exponents of float32, with 8 binary digits."),
        ],
        wrong=WRONG,
    )
