"""ch10.nvfp4: blocks of 16 whose scale is an FP8 number, under one scale for the tensor."""

import torch

from course_lib.checks import Case, Exercise, Wrong, equals_reference, law
from course_lib.formats import minifloat


def nvfp4(w):
    blocks = w.unflatten(1, (-1, 16))  # (rows, cols/16, 16)
    top = blocks.abs().amax(-1)
    t = top.max() / (6 * 448)
    s = (top / 6 / t).clamp(min=2**-6).to(torch.float8_e4m3fn).float()
    codes = minifloat.encode(blocks / (s * t)[..., None], "e2m1")
    return t, s, codes.flatten(1)


def _variant(t=lambda top: top.max() / (6 * 448), raw=lambda top, t: top / 6 / t, least=2**-6, stored=True,
             used=lambda s, raw, t: s * t, given=lambda t: t, wide=16):  # fmt: skip
    """The reference with one step changed."""

    def answer(w):
        blocks = w.unflatten(1, (-1, wide))
        top = blocks.abs().amax(-1)
        scale = t(top)
        exact = raw(top, scale).clamp(min=least)
        s = exact.to(torch.float8_e4m3fn).float() if stored else exact
        codes = torch.nan_to_num(blocks / used(s, exact, scale)[..., None])
        return given(scale), s, minifloat.encode(codes, "e2m1").flatten(1)

    return answer


def _row_scales(w):
    blocks = w.unflatten(1, (-1, 16))
    top = blocks.abs().amax((-2, -1), keepdim=True).expand(*blocks.shape[:2], 1).squeeze(-1)
    t = top.max() / (6 * 448)
    s = (top / 6 / t).clamp(min=2**-6).to(torch.float8_e4m3fn).float()
    return t, s, minifloat.encode(blocks / (s * t)[..., None], "e2m1").flatten(1)


def _by(top_of, least=0.0):
    def answer(w):
        blocks = w.unflatten(1, (-1, 16))
        top = top_of(blocks)
        t = top.max() / (6 * 448)
        s = (top / 6 / t).clamp(min=least).to(torch.float8_e4m3fn).float()
        return t, s, minifloat.encode(blocks / (s * t)[..., None], "e2m1").flatten(1)

    return answer


def _one_for_zeros(w):
    blocks = w.unflatten(1, (-1, 16))
    top = blocks.abs().amax(-1)
    t = top.max() / (6 * 448)
    s = (top / 6 / t).to(torch.float8_e4m3fn).float()
    s = torch.where(s == 0, 1.0, s)
    return t, s, minifloat.encode(blocks / (s * t)[..., None], "e2m1").flatten(1)


def _power_of_two(w):
    blocks = w.unflatten(1, (-1, 16))
    top = blocks.abs().amax(-1)
    t = top.max() / (6 * 448)
    s = torch.exp2(torch.floor(torch.log2((top / 6 / t).clamp(min=2**-6))))
    return t, s, minifloat.encode(blocks / (s * t)[..., None], "e2m1").flatten(1)


def _shapes(got, w):
    t, s, codes = got
    want = (len(w), w.shape[1] // 16)
    if s.shape != want:
        return f"One scale for 16 columns of a row: {want}; yours are {tuple(s.shape)}."
    return codes.shape == w.shape or f"One code a weight, {tuple(w.shape)}; yours are {tuple(codes.shape)}."


def _stored(got, w):
    s = got[1]
    off = (s.to(torch.float8_e4m3fn).float() != s).nonzero()
    if len(off) == 0:
        return True
    i, j = off[0].tolist()
    return f"s[{i}, {j}] = {s[i, j]:.6g} is no number of E4M3, so that it cannot be stored in 8 bits."


def _comes_back(got, w):
    """One step, half of E2M1's widest gap, is the most that rounding does; clipping adds less than ½."""
    t, s, codes = got
    step = (s * t).repeat_interleave(16, 1)
    back = step * minifloat.decode(codes & 15, "e2m1")
    off = ((back - w).abs() > step * 1.5).nonzero()
    if len(off) == 0:
        return True
    i, j = off[0].tolist()
    return f"w[{i}, {j}] = {w[i, j]:.4g} comes back as {back[i, j]:.4g}: more than 1.5 steps of {step[i, j]:.4g} off."


def _randn(seed, rows, cols, scale=1.0):
    return torch.randn(rows, cols, generator=torch.Generator().manual_seed(seed)) * scale


def _uneven(seed, rows, cols):
    """Blocks of very different size, one of them zeros."""
    w = _randn(seed, rows, cols) * torch.logspace(-2, 0, cols // 16).repeat_interleave(16)
    w[0, :16] = 0
    return w


EXERCISE = Exercise(
    id="ch10.nvfp4",
    title="Two levels of scales",
    spec="nvfp4(w): t = max|w| / (6 · 448); s = max|block| / (6 t) in E4M3, at least 2^-6; codes of w / (s · t).",
    kind="build",
    stub='''
import torch

from course_lib.formats import minifloat  # minifloat.encode(x, "e2m1") gives codes


def nvfp4(w):
    """(t, s (rows, cols/16) float32 on E4M3's numbers, codes uint8 (rows, cols)) of w in blocks of 16 columns."""
    ...
''',
    reference=nvfp4,
    piece="nvfp4",
    cases=[
        Case("one block", torch.arange(16.0)[None] / 2),
        Case("two blocks, far apart", torch.cat([torch.ones(1, 16), torch.full((1, 16), 0.1)], 1)),
        Case("its largest is negative", torch.cat([-torch.arange(16.0)[None], torch.ones(1, 16)], 1)),
        Case("a bell curve", _randn(1, 1, 32)),
        Case("zeros beside numbers", torch.cat([torch.zeros(1, 16), torch.ones(1, 16)], 1)),
        Case("two rows", _randn(0, 2, 32)),
        Case("a bot's weights", _randn(1, 4, 64, 0.03)),
        Case("two rows that differ", _randn(2, 2, 32) * torch.tensor([[1.0], [0.05]])),
        Case("blocks of any size, one of zeros", _uneven(3, 3, 128)),
        Case("large numbers", _randn(4, 2, 48, 1000.0)),
    ],
    properties=[
        law("a scale for each 16 columns", _shapes, "4 + 8/16 = 4.5 bits a weight, and 32 for t.", any_shape=True),
        law("scales that 8 bits can hold", _stored, "s is stored in E4M3. What is stored is what decodes."),
        law("w comes back", _comes_back, "E2M1's widest gap is 2 steps, from 4 to 6: so 1.5 steps are plenty."),
        equals_reference(ulps=2, why="All three follow from the formula, t and s · t but for a rounding or two."),
    ],
    wrong=[
        Wrong(
            "t without the 6",
            _variant(t=lambda top: top.max() / 448),
            "Your t is max|w| / 448. The largest s is then 448/6 ≈ 75, and the small blocks' scales lose room below.",
        ),
        Wrong(
            "t without the 448",
            _variant(t=lambda top: top.max() / 6),
            "Your t is max|w| / 6. The largest s is then 1, and E4M3's numbers up to 448 stay unused.",
        ),
        Wrong(
            "divided by 6, multiplied by 448",
            _variant(t=lambda top: top.max() / 6 * 448),
            "`a / 6 * 448` is (a / 6) · 448: Python goes from left to right. Write a / (6 * 448).",
        ),
        Wrong(
            "divided by 6, multiplied by t",
            _variant(raw=lambda top, t: top / 6 * t),
            "`a / 6 * t` is (a / 6) · t: Python goes from left to right. Write a / (6 * t).",
        ),
        Wrong(
            "s without the 6",
            _variant(raw=lambda top, t: top / t),
            "Your s is max|block| / t, so that a block's largest number lies at 1. E2M1 reaches 6: divide by 6 t.",
        ),
        Wrong(
            "no 6 at all",
            _variant(t=lambda top: top.max() / 448, raw=lambda top, t: top / t),
            "The 6 is in neither t nor s, so that a block's largest number lies at 1. E2M1 reaches 6: put it in both.",
        ),
        Wrong(
            "scales that were not rounded",
            _variant(stored=False),
            "s has to be a number of E4M3: .to(torch.float8_e4m3fn).float().",
        ),
        Wrong(
            "codes for another scale",
            _variant(used=lambda s, raw, t: raw * t),
            "The codes were made with s before it was rounded. Whoever decodes has the rounded one: divide by that.",
        ),
        Wrong(
            "t forgotten in the codes",
            _variant(used=lambda s, raw, t: s),
            "A step is s · t. You divided w by s alone.",
        ),
        Wrong(
            "t forgotten in s",
            _variant(raw=lambda top, t: top / 6),
            "s holds max|block| / 6 *in units of t*: divide by t as well.",
        ),
        Wrong(
            "t upside down",
            _variant(given=lambda t: 1 / t),
            "You return 1/t. compressed-tensors stores it so; asked is the factor by which one multiplies.",
        ),
        Wrong(
            "one scale a row",
            _row_scales,
            "All blocks of a row got the row's largest number. Each block of 16 has its own.",
        ),
        Wrong(
            "blocks of 32",
            lambda w: _variant(wide=32 if w.shape[1] % 32 == 0 else 16)(w),
            "32 numbers a block is MXFP4. NVFP4 has 16.",
        ),
        Wrong(
            "a block of zeros divides by zero",
            _variant(least=0),
            "Blocks of zeros, and very small ones, got a scale below 2^-6, or 0. clamp(min=2**-6) first.",
        ),
        Wrong(
            "0 / 0",
            _by(lambda blocks: blocks.abs().amax(-1)),
            "A block of zeros has s = 0, and 0 / 0 is NaN, which E2M1 cannot say. clamp(min=2**-6) before you round s.",
        ),
        Wrong(
            "subnormal scales",
            _variant(least=2**-9),
            "2^-9 is the least number of E4M3, but a subnormal one. Asked is the least with all its digits: 2^-6.",
        ),
        Wrong(
            "a scale of 1 for zeros",
            _one_for_zeros,
            "A block of zeros got s = 1. It decodes alike, but one rule is to hold for all: s is at least 2^-6.",
        ),
        Wrong(
            "the largest, not the largest magnitude",
            _by(lambda blocks: blocks.amax(-1), 2**-6),
            "amax without abs misses a block whose largest number is negative.",
        ),
        Wrong(
            "powers of two",
            _power_of_two,
            "You rounded s to a power of two, as MXFP4 does. E4M3 has eight numbers between two powers.",
        ),
    ],
    hints=[
        "Largest of each block; t from the largest of all; s from the first in units of t, rounded; then the codes.",
        "Blocks with max 12 and 3: t = 12/2688, s = 2/t = 448 and 0.5/t = 112. Both are numbers of E4M3.",
        "    blocks = w.unflatten(1, (-1, 16))\n    top = ____\n    t = top.max() / (____)\n"
        "    s = (____).clamp(min=2**-6).to(____).float()\n"
        '    codes = minifloat.encode(blocks / (____)[..., None], "e2m1")\n    return t, s, codes.flatten(1)',
    ],
    passed="Scales of eight bits with a mantissa: the largest number of a block lands within 1/16 of 6.",
)
