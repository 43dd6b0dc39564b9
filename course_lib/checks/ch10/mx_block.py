"""ch10.mx_block: 32 numbers under one power of two."""

from math import ceil, floor, log2

import torch

from course_lib.checks import Case, Exercise, Wrong, equals_reference, law
from course_lib.formats import minifloat


def mx_block(x):
    top = x.abs().max().item()
    k = floor(log2(top)) - 2 if top > 0 else -127
    return k + 127, minifloat.encode(x / 2.0**k, "e2m1")


def _with(exponent, store=lambda k: k + 127, scale=lambda x, k: x / 2.0**k):
    """The reference with another exponent of the scale, another byte or another use of it."""

    def answer(x):
        top = x.abs().max().item()
        k = exponent(top) if top > 0 else -127
        return store(k), minifloat.encode(scale(x, k), "e2m1")

    return answer


def _floor(top):
    return floor(log2(top)) - 2


def _signed(x):
    top = x.max().item()
    k = _floor(top) if top > 0 else -127
    return k + 127, minifloat.encode(x / 2.0**k, "e2m1")


def _no_zero(x):
    k = _floor(x.abs().max().item())
    return k + 127, minifloat.encode(x / 2.0**k, "e2m1")


def _scale_one(x):
    return mx_block(x) if x.any() else (127, mx_block(x)[1])


def _signless(x):
    byte, codes = mx_block(x)
    return byte, codes & 7


def _fills(got, x):
    byte, codes = got
    top = x.abs().max().item()
    if not 0 <= byte <= 254:
        return f"A scale byte lies in 0 … 254; yours is {byte}."
    if top == 0:
        return True
    ratio = top / 2.0 ** (byte - 127)
    told = f"max|x| = {top:.4g} under 2^({byte} − 127) is {ratio:.4g}. OCP's rule puts it at 4 or above, below 8."
    return 4 <= ratio < 8 or told


def _block(*first, rest=0.0, n=32):
    return torch.tensor(list(first) + (n - len(first)) * [rest])


def _randn(seed, scale):
    return torch.randn(32, generator=torch.Generator().manual_seed(seed)) * scale


EXERCISE = Exercise(
    id="ch10.mx_block",
    title="An MXFP4 block",
    spec="mx_block(x) is (byte, codes): scale 2^(byte − 127) = 2^(floor(log2 max|x|) − 2), E2M1 codes of x over it.",
    kind="build",
    stub='''
from math import floor, log2

from course_lib.formats import minifloat  # minifloat.encode(x, "e2m1") gives codes


def mx_block(x):
    """(byte, codes uint8 (32,)) of x (32,) by OCP's rule; a block of zeros has byte 0."""
    exponent = floor(log2(6.5))  # an example, to replace: 2, since 6.5 lies between 2² and 2³
    ...
''',
    reference=mx_block,
    piece="mx_block",
    cases=[
        Case("the largest is 6", _block(6.0, 1.0, -0.5)),
        Case("the largest is 4", _block(4.0, -1.5, rest=0.25)),
        Case("the largest is 2.9", _block(2.9, -1.0, rest=0.5)),
        Case("the largest is 7.9", _block(7.9, 1.0, rest=-2.0)),
        Case("the largest is 1", _block(0.3, -1.0, rest=0.1)),
        Case("the largest is negative", _block(-3.5, 0.4, 0.2)),
        Case("all negative", _block(-3.5, rest=-1.0)),
        Case("small weights", _block(0.02, -0.013, rest=0.005)),
        Case("zeros", torch.zeros(32)),
        Case("a bell curve", _randn(0, 1.0)),
        Case("a bot's weights", _randn(1, 0.03)),
        Case("large numbers", _randn(2, 300.0)),
    ],
    properties=[
        law("the largest number at 4 … 8", _fills, "E2M1's largest, 6, is 1.5 · 2²: hence the −2."),
        equals_reference(why="Dividing by a power of two is exact, and so are codes."),
    ],
    wrong=[
        Wrong(
            "the −2 forgotten",
            _with(lambda top: floor(log2(top))),
            "Your scale brings the largest number to 1 … 2. E2M1 reaches 6 = 1.5 · 2²: take 2 off the exponent, or two "
            "thirds of the codes stay unused.",
        ),
        Wrong(
            "the example left in place",
            lambda x: (129, minifloat.encode(x / 4, "e2m1")),
            "6.5 is an example. Put the largest |x| of this block in its place, and take 2 off.",
        ),
        Wrong(
            "the example's exponent, less 2",
            lambda x: (127, minifloat.encode(x, "e2m1")),
            "6.5 is an example. Put the largest |x| of this block in its place: x.abs().max().",
        ),
        Wrong(
            "the byte counted downwards",
            _with(_floor, store=lambda k: 127 - k if k > -127 else 0),
            "The byte b means 2^(b − 127): it is the exponent plus 127.",
        ),
        Wrong(
            "1 taken off",
            _with(lambda top: floor(log2(top)) - 1),
            "You took 1 off the exponent. E2M1's largest power of two is 2² (6 = 1.5 · 2²): take 2 off, or the largest "
            "code, 6, is never used.",
        ),
        Wrong(
            "nothing may clip",
            _with(lambda top: ceil(log2(top / 6))),
            "That is the rule rceil. OCP's takes the floor of log2 max|x|, and lets numbers above 6 scales clip.",
        ),
        Wrong(
            "6 taken off before the logarithm",
            _with(lambda top: floor(log2(top / 6))),
            "floor(log2(max / 6)) puts the largest at 6 … 12 scales, where it clips. Asked is floor(log2 max), less 2.",
        ),
        Wrong(
            "ceil in place of floor",
            _with(lambda top: ceil(log2(top)) - 2),
            "You rounded the logarithm up. OCP's rule rounds it down.",
        ),
        Wrong(
            "rounded in place of floor",
            _with(lambda top: round(log2(top)) - 2),
            "You rounded the logarithm to nearest. OCP's rule rounds it down.",
        ),
        Wrong(
            "int() in place of floor",
            _with(lambda top: int(log2(top)) - 2),
            "int() cuts towards zero: −1.5 becomes −1. Below 1 that is one too many; floor gives −2.",
        ),
        Wrong(
            "the exponent without its bias",
            _with(_floor, store=lambda k: k if k > -127 else 0),
            "You return k. The byte of E8M0 is k + 127, so that it is never negative.",
        ),
        Wrong(
            "the scale, not its byte",
            _with(_floor, store=lambda k: 2.0**k),
            "You return the scale 2^k itself. What is stored is the byte k + 127.",
        ),
        Wrong(
            "the scale used upside down",
            _with(_floor, scale=lambda x, k: x * 2.0**k),
            "You multiplied x by the scale. Codes hold x / scale.",
        ),
        Wrong(
            "codes of x itself",
            _with(_floor, scale=lambda x, k: x),
            "The scale is right, but the codes were made from x. Divide by the scale first.",
        ),
        Wrong(
            "the largest, not the largest magnitude",
            _signed,
            "x.max() misses a block whose largest number is negative: take abs first.",
        ),
        Wrong(
            "zeros have no logarithm",
            _no_zero,
            "A block of zeros has no log2. Its byte is 0, and all its codes are 0.",
        ),
        Wrong(
            "a scale of 1 for zeros",
            _scale_one,
            "Byte 127, a scale of 1, decodes zeros as well. But files are compared byte by byte: here it is byte 0.",
        ),
        Wrong(
            "signs lost",
            _signless,
            "The sign bits are gone: minifloat.encode gives them, so do not take abs of x before it.",
        ),
    ],
    hints=[
        "Three steps: the largest |x|, the exponent of its power of two less 2, then codes of x over that power.",
        "max|x| = 3.5: log2 is 1.8, floor 1, less 2 gives −1. Byte 126, scale 0.5, and 3.5 / 0.5 = 7 clips to 6.",
        "    top = x.abs().max().item()\n    k = ____(log2(top)) - ____ if top > 0 else ____\n"
        '    return k + ____, minifloat.encode(____, "e2m1")',
    ],
    passed="32 numbers and a scale in 17 bytes: 4 + 8/32 = 4.25 bits a weight. gpt-oss was published in this format.",
)
