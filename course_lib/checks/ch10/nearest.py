"""ch10.nearest: codes of the nearest numbers, ties to the even code, clipped at the largest."""

import torch

from course_lib.checks import Case, Exercise, Wrong, equals_reference, law
from course_lib.formats import minifloat


def nearest(x, values):
    size, middles = x.abs(), (values[1:] + values[:-1]) / 2
    codes = torch.bucketize(size, middles)  # how many middles lie below: on a middle, the lower code
    tie = (codes < len(middles)) & (size == middles[codes.clamp(max=len(middles) - 1)])
    codes = codes + (tie & (codes % 2 == 1))
    return (codes + len(values) * (x < 0)).to(torch.uint8)


def _codes(x, values, right=False, sign=None):
    codes = torch.bucketize(x.abs(), (values[1:] + values[:-1]) / 2, right=right)
    sign = len(values) if sign is None else sign
    return (codes + sign * (x < 0)).to(torch.uint8)


def _unsigned(x, values):
    return nearest(x.abs(), values)


def _clamped_at_zero(x, values):
    return nearest(x.clamp(min=0), values)


def _odd(x, values):
    size, middles = x.abs(), (values[1:] + values[:-1]) / 2
    codes = torch.bucketize(size, middles)
    tie = (codes < len(middles)) & (size == middles[codes.clamp(max=len(middles) - 1)])
    return (codes + (tie & (codes % 2 == 0)) + len(values) * (x < 0)).to(torch.uint8)


def _even_number(x, values):
    middles = (values[1:] + values[:-1]) / 2
    lower, upper = (torch.bucketize(x.abs(), middles, right=right) for right in (False, True))
    codes = torch.where(values[lower] % 2 == 0, lower, upper)
    return (codes + len(values) * (x < 0)).to(torch.uint8)


def _below(x, values):
    codes = torch.bucketize(x.abs(), values, right=True) - 1
    return (codes + len(values) * (x < 0)).to(torch.uint8)


def _above(x, values):
    codes = torch.searchsorted(values, x.abs()).clamp(max=len(values) - 1)
    return (codes + len(values) * (x < 0)).to(torch.uint8)


def _sign_bit_8(x, values):
    return (nearest(x.abs(), values).int() + 8 * (x < 0)).to(torch.uint8)


def _complement(x, values):
    codes = nearest(x.abs(), values).int()
    return torch.where(x < 0, (2 * len(values) - codes) % (2 * len(values)), codes).to(torch.uint8)


def _even_steps(x, values):
    codes = torch.round(x.abs() / values[-1] * (len(values) - 1)).clamp(max=len(values) - 1)
    return (codes + len(values) * (x < 0)).to(torch.uint8)


def _lost_above(x, values):
    return torch.where(x.abs() > values[-1], len(values) * (x < 0), nearest(x, values).int()).to(torch.uint8)


def _nearly_ties(x, values):
    size, middles = x.abs(), (values[1:] + values[:-1]) / 2
    codes = torch.bucketize(size, middles)
    tie = (codes < len(middles)) & torch.isclose(size, middles[codes.clamp(max=len(middles) - 1)])
    return (codes + (tie & (codes % 2 == 1)) + len(values) * (x < 0)).to(torch.uint8)


def _one_for_all(x, values):
    size, middles = x.abs(), (values[1:] + values[:-1]) / 2
    codes = torch.bucketize(size, middles)
    tie = (size == middles[codes.clamp(max=len(middles) - 1)]).any()
    return (codes + (tie & (codes % 2 == 1)) + len(values) * (x < 0)).to(torch.uint8)


def _number(code, values):
    k = int(code) % len(values)
    return (-1 if int(code) >= len(values) else 1) * values[k].item()


def _is_nearest(got, x, values):
    for i, code in enumerate(got.tolist()):
        if not 0 <= code < 2 * len(values):
            return f"x[{i}] = {x[i]:.6g} has code {code}; there are codes 0 … {2 * len(values) - 1}."
        off = abs(_number(code, values) - x[i].item())
        best = min((values - x[i].abs()).abs()).item()
        if off > best * (1 + 1e-6):
            return (
                f"x[{i}] = {x[i]:.6g} has code {code}, which is {_number(code, values):.6g}: there is a nearer number."
            )
    return True


FP4 = torch.tensor([0, 0.5, 1, 1.5, 2, 3, 4, 6])
E3M2, E2M3 = (torch.from_numpy(minifloat.get(name).magnitudes).float() for name in ("e3m2", "e2m3"))


def _no_abs(x, values):
    return (nearest(x.clamp(min=0), values) + len(values) * (x < 0)).to(torch.uint8)


EXERCISE = Exercise(
    id="ch10.nearest",
    title="The nearest code",
    spec="nearest(x, values): the code of the nearest of ±values; ties to the even code; beyond the end, the end.",
    kind="build",
    stub='''
def nearest(x, values):
    """Codes uint8 (n,) of x (n,): k stands for values[k], which rise from 0; where x < 0, len(values) is added."""
    ...
''',
    reference=nearest,
    piece="nearest",
    cases=[
        Case("between two numbers", torch.tensor([1.2]), FP4),
        Case("a tie that goes down", torch.tensor([0.25]), FP4),
        Case("a tie that goes up", torch.tensor([0.75]), FP4),
        Case("a tie beside a number that is there", torch.tensor([0.75, 0.5]), FP4),
        Case("every tie of E2M1", torch.tensor([0.25, 0.75, 1.25, 1.75, 2.5, 3.5, 5.0]), FP4),
        Case("negative ones", torch.tensor([-2.5, -1.75, -0.1]), FP4),
        Case("a hair beside the ties", torch.tensor([2.4999998, 2.5000002, 3.4999998, 5.0000005]), FP4),
        Case("beyond the largest", torch.tensor([6.5, -100.0, 1e4]), FP4),
        Case("its own numbers", FP4.clone(), FP4),
        Case("E3M2", torch.tensor([0.03125, -0.09375, 3.25, 26.0, -40.0]), E3M2),
        Case("E2M3", torch.tensor([1.0625, 1.1875, -3.1, 0.0625, 7.9, -0.1875]), E2M3),
        Case("a format of four numbers", torch.tensor([0.4, -1.5, 2.5, -9.0, 0.5]), torch.tensor([0.0, 1, 2, 3])),
    ],
    properties=[
        law(
            "no number is nearer", _is_nearest, "Rounding to nearest: at most half the gap away, unless beyond the end."
        ),
        equals_reference(why="Codes are whole numbers; ties have one right answer, the even code."),
    ],
    wrong=[
        Wrong(
            "ties away from zero",
            lambda x, values: _codes(x, values, right=True),
            "A tie took the larger number each time. Of the two codes take the even one, or all ties push outwards.",
        ),
        Wrong(
            "ties towards zero",
            _codes,
            "A tie took the smaller number each time, as argmin and bucketize do by themselves. Take the even code.",
        ),
        Wrong(
            "ties to the odd code",
            _odd,
            "Your ties go to the odd code. Even means: the last bit is 0.",
        ),
        Wrong(
            "the even number",
            _even_number,
            "On a tie you asked whether the *number* is even. Ask the *code*: its last bit has to be 0.",
        ),
        Wrong(
            "nearly a tie",
            _nearly_ties,
            "3.4999998 is close to the middle 3.5, but no tie. Middles are exact here: compare with ==.",
        ),
        Wrong(
            "rounded towards zero",
            _below,
            "You took the largest number that is not above |x|. The nearest one may lie above.",
        ),
        Wrong(
            "the next one above",
            _above,
            "You took the smallest number that is not below |x|, as searchsorted does. The nearest may lie below.",
        ),
        Wrong(
            "where it would be sorted in",
            lambda x, values: (torch.searchsorted(values, x.abs()) + len(values) * (x < 0)).to(torch.uint8),
            "searchsorted finds the next number above, and beyond the end there is none. Compare with the middles.",
        ),
        Wrong(
            "the sign lost",
            _unsigned,
            "Negative x got the codes of positive ones. Add len(values), the sign bit, where x < 0.",
        ),
        Wrong(
            "negative ones became zero",
            _clamped_at_zero,
            "Negative x became 0. Round |x|, and add the sign bit afterwards.",
        ),
        Wrong(
            "8 as the sign bit of every format",
            _sign_bit_8,
            "8 is the sign bit of a 4-bit code. The table's length says which one it is here.",
        ),
        Wrong(
            "two's complement",
            _complement,
            "You negated the code. A float's sign is one bit of its own: the code of |x|, plus len(values).",
        ),
        Wrong(
            "evenly spaced marks",
            _even_steps,
            "You treated the numbers as evenly spaced, as an integer grid. Compare with the numbers in the table.",
        ),
        Wrong(
            "beyond the largest becomes zero",
            _lost_above,
            "What lies beyond the largest number saturates: it gets the largest number's code.",
        ),
        Wrong(
            "zero counted as negative",
            lambda x, values: (nearest(x, values) + len(values) * (x == 0)).to(torch.uint8),
            "`x <= 0` gives 0 the sign bit: that is the code of −0. A number is negative where x < 0.",
        ),
        Wrong(
            "negative ones not turned positive",
            _no_abs,
            "For x = −1.5 the nearest of your values is 0. Look for the nearest to |x|; the sign bit comes afterwards.",
        ),
        Wrong(
            "one tie moves them all",
            _one_for_all,
            "Once one number is a tie, all odd codes go up by one. Ask each number whether it is one: no `.any()`.",
        ),
    ],
    hints=[
        "Borders between neighbours are the middles of values. Which code does |x| get? What if it *is* a middle?",
        "values 0, 1, 2, 3: middles 0.5, 1.5, 2.5. 0.5 lies between codes 0 and 1, so 0; 1.5 between 1 and 2, so 2.",
        "    middles = ____\n    codes = torch.bucketize(x.abs(), middles)  # on a middle: the lower one\n"
        "    tie = ...  # is |x| the middle above its code?\n    codes = codes + (tie & (____))\n"
        "    return (codes + ____ * (x < 0)).to(torch.uint8)",
    ],
    passed="Ties are no detail: bf16 weights have few digits, so that a fair share of them lies exactly in the middle.",
)
