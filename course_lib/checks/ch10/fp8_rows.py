"""ch10.fp8_rows: a scale a row for FP8; the broken one forgot a sign and a row of zeros."""

import torch

from course_lib.checks import Case, Exercise, Wrong, law
from course_lib.checks.inputs import float32


def fp8_rows(x):
    top = x.abs().amax(dim=1, keepdim=True)
    s = torch.where(top > 0, top / 448, 1.0)
    return (x / s).to(torch.float8_e4m3fn).float(), s


def _scaled(x, s):
    return (x / s).to(torch.float8_e4m3fn).float(), s


def _top(x):
    return x.abs().amax(dim=1, keepdim=True)


def _nan_to_zero(x):
    s = _top(x) / 448
    return torch.nan_to_num((x / s).to(torch.float8_e4m3fn).float()), s


def _or_one(raw):
    return torch.where(raw > 0, raw, 1.0)


def _usable(got, x):
    s = got[1]
    if s.shape != (len(x), 1):
        return f"One s for each of the {len(x)} rows, ({len(x)}, 1); yours has the shape {tuple(s.shape)}."
    for i, v in enumerate(s.flatten().tolist()):
        if not 0 < v < float("inf"):
            return f"Row {i} gets s = {v:.4g}: one cannot divide by it."
    return True


def _numbers(got, x):
    q = got[0]
    if q.shape != x.shape:
        return f"x has the shape {tuple(x.shape)}, your numbers {tuple(q.shape)}."
    wrong = (q.to(torch.float8_e4m3fn).float() != q).nonzero()
    if len(wrong) == 0:
        return True
    i, j = wrong[0].tolist()
    return f"q[{i}, {j}] is {q[i, j]:.6g}, which is no number of E4M3."


def _filled(got, x):
    for i, row in enumerate(got[0]):
        if x[i].any() and row.abs().max() != 448:
            return f"Row {i}: the largest |x| is {x[i].abs().max():.4g}, and becomes {row.abs().max():.4g}, not 448."
    return True


def _comes_back(got, x):
    """Within 1/16 of itself (half a step of 3 bits), or half the smallest step, 2^-10."""
    back = got[0] * got[1]
    off = ((back - x).abs() > x.abs() / 16 * 1.001 + got[1] * 2.0**-10).nonzero()
    if len(off) == 0:
        return True
    i, j = off[0].tolist()
    return f"x[{i}, {j}] = {x[i, j]:.4g} comes back as {back[i, j]:.4g}."


EXERCISE = Exercise(
    id="ch10.fp8_rows",
    title="A token of zeros",
    spec="fp8_rows(x) is (q, s): q on E4M3's numbers, each row's largest on ±448, q · s near x; rows of zeros too.",
    kind="repair",
    stub='''
def fp8_rows(x):
    """(q (tokens, in), s (tokens, 1)): each row of x over its own s, on the numbers of E4M3, float32."""
    s = x.amax(dim=1, keepdim=True) / 448
    return (x / s).to(torch.float8_e4m3fn).float(), s
''',
    reference=fp8_rows,
    cases=[
        Case("all positive", float32([1.0, 3.0, 0.5])),
        Case("the largest is negative", float32([1.0, -7.0])),
        Case("all negative", float32([-1.0, -2.0])),
        Case("a row of zeros", float32([0.0, 0.0])),
        Case("zeros beside numbers", float32([0.0, 0.0, 0.0], [3.0, -4.0, 0.1])),
        Case("very small numbers", float32([1e-9, -3e-9], [2e-7, 0.0])),
        Case("rows far apart", float32([1000.0, -5.0, 0.2], [0.01, 0.02, -0.005])),
        Case("many", torch.randn(6, 16, generator=torch.Generator().manual_seed(1))),
    ],
    properties=[
        law(
            "an s for each row that one can divide by", _usable, "The next thing that happens is x / s.", any_shape=True
        ),
        law(
            "numbers of E4M3",
            _numbers,
            "q has 8 bits. NaN is no number: it would spread to the whole token.",
            any_shape=True,
        ),
        law("the largest number is used", _filled, "Smaller, and codes are left over; larger, and numbers clip."),
        law("x comes back", _comes_back, "Three bits of mantissa: within 1/16, down to the subnormals."),
    ],
    wrong=[
        Wrong(
            "zeros still divide by zero",
            lambda x: _scaled(x, _top(x) / 448),
            "The sign is mended. A row of zeros still has s = 0, and 0/0 is NaN: give it any s above 0, such as 1.",
        ),
        Wrong(
            "the sign still forgotten",
            lambda x: _scaled(x, _or_one(x.amax(1, keepdim=True) / 448)),
            "Zeros are mended. But amax without abs misses a row whose largest number is negative.",
        ),
        Wrong(
            "a smallest s for all",
            lambda x: _scaled(x, (_top(x) / 448).clamp(min=1e-8)),
            "clamp(min=…) also hits rows of very small numbers. Mend s = 0 only.",
        ),
        Wrong(
            "a little added to s",
            lambda x: _scaled(x, _top(x) / 448 + 1e-6),
            "Adding an epsilon moves every row off its scale, and drowns rows of small numbers. Mend s = 0 only.",
        ),
        Wrong(
            "NaN painted over",
            _nan_to_zero,
            "The NaN became 0, but s is still 0: whoever divides by it next meets the same fault.",
        ),
        Wrong(
            "1 for all rows once one is zero",
            lambda x: _scaled(x, _top(x) / 448 if _top(x).all() else torch.ones_like(_top(x))),
            "A single row of zeros gives all rows the scale 1. torch.where looks at each row by itself.",
        ),
        Wrong(
            "one scale for all rows",
            lambda x: _scaled(x, _or_one(_top(x).max() / 448).expand(len(x), 1).clone()),
            "You took the largest number of the whole tensor. Each token has its own: amax(dim=1, keepdim=True).",
        ),
        Wrong(
            "the other format's end",
            lambda x: _scaled(x, _or_one(_top(x) / 57344)),
            "57344 is the end of E5M2. E4M3 ends at 448, so all of it saturates.",
        ),
        Wrong(
            "AMD's end",
            lambda x: _scaled(x, _or_one(_top(x) / 240)),
            "240 is the end of E4M3FNUZ. Here numbers up to 448 exist and are left unused.",
        ),
        Wrong(
            "multiplied back",
            lambda x: (fp8_rows(x)[0] * fp8_rows(x)[1], fp8_rows(x)[1]),
            "You return q · s, what x comes back as. Asked is q itself, on E4M3's numbers, and s beside it.",
        ),
        Wrong(
            "s not used",
            lambda x: (x.to(torch.float8_e4m3fn).float(), _or_one(_top(x) / 448)),
            "x went to FP8 without being divided by s.",
        ),
    ],
    hints=[
        "Try it on [−7, 1] and on [0, 0]. What is s?",
        "[−7, 1]: the largest |x| is 7, s = 7/448 = 1/64, q = [−448, 64]. [0, 0]: any s above 0 will do.",
        "    top = x.____().amax(dim=1, keepdim=True)\n    s = torch.where(____, top / 448, ____)\n"
        "    return (x / s).to(torch.float8_e4m3fn).float(), s",
    ],
    passed="Padding and ReLU make rows of zeros every day, and one NaN takes the whole token.",
)
