"""ch02.parameters: step and zero point of the grid that covers lo … hi, with 0 inside."""

import math

from course_lib.checks import Case, Exercise, Wrong, equals_reference, law


def parameters(lo, hi, b):
    s = (hi - lo) / (2**b - 1)
    z = round(-lo / s)
    return s, z


def _step(lo, hi, b):
    return (hi - lo) / (2**b - 1)


def _both_ends(got, lo, hi, b):
    s, z = got
    if not s > 0:
        return f"A step must be above zero, yours is {s:.4g}."
    if not math.isfinite(z):
        return f"z = {z} is not a number of steps."
    for name, code, end in (("lo", 0, lo), ("hi", 2**b - 1, hi)):
        value = s * (code - z)
        if abs(value - end) > s / 2 * (1 + 1e-6):
            return (
                f"Code {code} decodes to s·({code} − z) = {value:.4g}. It should be within s/2 of {name} = {end:.4g}."
            )
    return True


def _zero_has_a_code(got, lo, hi, b):
    z = got[1]
    return 0 <= z <= 2**b - 1 or f"z = {z} is not one of the codes 0 … {2**b - 1}."


EXERCISE = Exercise(
    id="ch02.parameters",
    title="Step and zero point",
    spec="parameters(lo, hi, b) is (s, z): codes 0 … 2^b − 1 cover lo … hi (lo ≤ 0 ≤ hi), and z is the code of 0.",
    kind="build",
    stub='''
def parameters(lo, hi, b):
    """(s, z) of the grid with 2**b codes from lo to hi. lo <= 0 <= hi and lo < hi; z is a whole number."""
    ...
''',
    reference=parameters,
    cases=[
        Case("the activations of the chapter", 0.0, 3.0, 4),
        Case("both signs", -1.0, 2.0, 4),
        Case("nothing above zero", -3.0, 0.0, 4),
        Case("two bits", -1.0, 2.0, 2),
        Case("a little below zero", -0.28, 6.0, 4),
        Case("three bits", -0.6, 1.5, 3),
        Case("eight bits", -1.2, 3.9, 8),
        Case("0 halfway between two marks", -2.5, 12.5, 4),
    ],
    properties=[
        law("0 has a code", _zero_has_a_code, "z is stored with b bits, and 0 must be a mark."),
        law("code 0 lies at lo, the last code at hi", _both_ends, "Then the marks cover the range and no more."),
        equals_reference(rtol=1e-6, why="The two ends fix s; rounding fixes z."),
    ],
    wrong=[
        Wrong(
            "2^b gaps",
            lambda lo, hi, b: ((hi - lo) / 2**b, round(-lo * 2**b / (hi - lo))),
            "2^b marks have 2^b − 1 gaps between them, as five fingers have four.",
        ),
        Wrong(
            "the symmetric grid",
            lambda lo, hi, b: (max(-lo, hi) / (2 ** (b - 1) - 1), 0),
            "That is chapter 01's ruler, with as much room below 0 as above it. Cover lo … hi, no more.",
        ),
        Wrong(
            "the gaps of one side",
            lambda lo, hi, b: ((hi - lo) / (2 ** (b - 1) - 1), round(-lo * (2 ** (b - 1) - 1) / (hi - lo))),
            "2^(b−1) − 1 gaps lie on one side of chapter 01's ruler. From lo to hi there are 2^b − 1.",
        ),
        Wrong(
            "^ is not a power in Python",
            lambda lo, hi, b: ((hi - lo) / (2 ^ b - 1), round(-lo / ((hi - lo) / (2 ^ b - 1)))),
            "In Python `^` compares bits, and 2 ^ 4 is 6. A power is written `**`: `2**b - 1`.",
        ),
        Wrong(
            "twice b, not two to the b",
            lambda lo, hi, b: ((hi - lo) / (2 * b - 1), round(-lo * (2 * b - 1) / (hi - lo))),
            "`2 * b` is twice b. b bits have `2**b` codes: each bit doubles their number.",
        ),
        Wrong(
            "15 gaps whatever b is",
            lambda lo, hi, b: ((hi - lo) / 15, round(-lo * 15 / (hi - lo))),
            "15 gaps belong to 4 bits. With b bits there are 2^b marks, and one gap fewer.",
        ),
        Wrong(
            "a range from 0 to hi",
            lambda lo, hi, b: (hi / (2**b - 1), 0),
            "That fits only if lo is 0. The marks must cover lo … hi, also where lo lies below 0.",
        ),
        Wrong(
            "zero point with the wrong sign",
            lambda lo, hi, b: (_step(lo, hi, b), round(lo / _step(lo, hi, b))),
            "Code 0 must decode to lo: s·(0 − z) = lo. So z = −lo/s, which is never negative.",
        ),
        Wrong(
            "zero point counted from the top",
            lambda lo, hi, b: (_step(lo, hi, b), round(hi / _step(lo, hi, b))),
            "hi/s is the number of steps from 0 up to the last code. z counts the steps from code 0 up to 0.",
        ),
        Wrong(
            "zero point in the middle",
            lambda lo, hi, b: (_step(lo, hi, b), 2 ** (b - 1)),
            "2^(b−1) is the code of 0 only when lo and hi are equally far out. Work it out from lo.",
        ),
        Wrong(
            "zero point cut instead of rounded",
            lambda lo, hi, b: (_step(lo, hi, b), int(-lo / _step(lo, hi, b))),
            "int() always cuts down. Then lo may lie almost a whole step beyond code 0. Round to the nearest.",
        ),
        Wrong(
            "zero point halfway rounded up",
            lambda lo, hi, b: (_step(lo, hi, b), math.floor(-lo / _step(lo, hi, b) + 0.5)),
            "2.5 lies halfway between 2 and 3. A tie goes to the even neighbour (chapter 01), as round() does.",
        ),
        Wrong(
            "zero point not rounded",
            lambda lo, hi, b: (_step(lo, hi, b), -lo / _step(lo, hi, b)),
            "z is stored as a code, and 0 must lie exactly on a mark. Round −lo/s to a whole number.",
        ),
        Wrong(
            "zero point in units of the weights",
            lambda lo, hi, b: (_step(lo, hi, b), round(-lo)),
            "z is a number of steps: how many lie between lo and 0? Divide by s before you round.",
        ),
        Wrong(
            "z before s",
            lambda lo, hi, b: (round(-lo / _step(lo, hi, b)), _step(lo, hi, b)),
            "The step comes first, then the zero point: return s, z.",
        ),
        Wrong(
            "signed codes",
            lambda lo, hi, b: (_step(lo, hi, b), round(-lo / _step(lo, hi, b)) - 2 ** (b - 1)),
            "You number the codes from −2^(b−1), as some libraries do. Here they run from 0 to 2^b − 1.",
        ),
    ],
    hints=[
        "How many gaps lie between the first mark and the last? And how many steps is it from lo up to 0?",
        "lo = −2, hi = 5, b = 3: eight marks, seven gaps, s = 7/7 = 1. From −2 up to 0 it is two steps: z = 2.",
        "def parameters(lo, hi, b):\n    s = (____) / (2**b - ____)\n    z = round(____ / s)\n    return s, z",
    ],
    passed="Two numbers fix the whole ruler: how far apart its marks are, and which of them is 0.",
)
