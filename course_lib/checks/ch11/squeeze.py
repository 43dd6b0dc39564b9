"""ch11.squeeze: a block of keys or values to b bits and back, each channel or each token with a range of its own."""

import torch

from course_lib.checks import Case, Exercise, Wrong, equals_reference, law
from course_lib.checks.inputs import float32, normal


def squeeze(x, b, per):
    axis = 0 if per == "channel" else 1
    low = x.amin(dim=axis, keepdim=True)
    step = (x.amax(dim=axis, keepdim=True) - low) / (2**b - 1)
    step = torch.where(step == 0, 1.0, step)
    return low + step * torch.round((x - low) / step)


def _variant(axis=lambda per: 0 if per == "channel" else 1, levels=lambda b: 2**b - 1, back=True, round_=torch.round,
             less=0, mend=lambda step: torch.where(step == 0, 1.0, step)):  # fmt: skip
    def wrong(x, b, per):
        dim = axis(per)
        low = x.amin(dim=dim, keepdim=True)
        step = (x.amax(dim=dim, keepdim=True) - low) / levels(b) - less
        step = mend(step)
        q = round_((x - low) / step)
        return (low if back else 0) + step * q

    return wrong


def _from_zero(x, b, per):
    dim = 0 if per == "channel" else 1
    step = (x.amax(dim=dim, keepdim=True) - x.amin(dim=dim, keepdim=True)) / (2**b - 1)
    step = torch.where(step == 0, 1.0, step)
    return step * torch.round(x / step)


def _whole_zero(x, b, per):
    dim = 0 if per == "channel" else 1
    low = x.amin(dim=dim, keepdim=True)
    step = (x.amax(dim=dim, keepdim=True) - low) / (2**b - 1)
    step = torch.where(step == 0, 1.0, step)
    zero = torch.round(-low / step)
    return step * (torch.clip(torch.round(x / step) + zero, 0, 2**b - 1) - zero)


_least_step = _variant(mend=lambda step: step.clamp(min=0.01))
_constant = _variant(mend=lambda step: step)


def _whole(x, b, per):
    low = x.amin()
    step = (x.amax() - low) / (2**b - 1)
    return low + step * torch.round((x - low) / (step if step else 1.0))


def _symmetric(x, b, per):
    top = x.abs().amax(dim=0 if per == "channel" else 1, keepdim=True)
    step = torch.where(top == 0, 1.0, top / (2 ** (b - 1) - 1))
    return step * torch.round(x / step)


def _through_zero(x, b, per):
    dim = 0 if per == "channel" else 1
    low, high = x.amin(dim=dim, keepdim=True).clamp(max=0), x.amax(dim=dim, keepdim=True).clamp(min=0)
    step = (high - low) / (2**b - 1)
    return low + step * torch.round((x - low) / torch.where(step == 0, 1.0, step))


def _codes(x, b, per):
    dim = 0 if per == "channel" else 1
    low = x.amin(dim=dim, keepdim=True)
    step = (x.amax(dim=dim, keepdim=True) - low) / (2**b - 1)
    return torch.round((x - low) / torch.where(step == 0, 1.0, step))


def _finite(got, x, b, per):
    return (
        bool(torch.isfinite(got).all()) or "There is a NaN or an infinity in it: what is the step where all are equal?"
    )


def _levels(got, x, b, per):
    rows = got.T if per == "channel" else got
    most = max(len(set(row.tolist())) for row in rows)
    return most <= 2**b or f"One {per} shows {most} different numbers. {b} bits have {2**b}."


def _half_a_step(got, x, b, per):
    axis = 0 if per == "channel" else 1
    step = (x.amax(dim=axis, keepdim=True) - x.amin(dim=axis, keepdim=True)) / (2**b - 1)
    off = (got - x).abs() - step / 2
    if (off <= 1e-5 * (1 + x.abs())).all():
        return True
    i, j = divmod(int(off.argmax()), x.shape[1])
    return f"Token {i}, channel {j}: {x[i, j]:.4g} came back as {got[i, j]:.4g}, further off than half a step."


EXERCISE = Exercise(
    id="ch11.squeeze",
    title="Keys by channel, values by token",
    spec='squeeze(x, b, per): x (tokens, dim) to b bits and back, a range for each "channel" or "token".',
    kind="build",
    stub='''
def squeeze(x, b, per):
    """x (tokens, dim) on 2^b equally spaced levels from the least to the largest number of each channel, or token.

    per is "channel" (a column of x) or "token" (a row). A range of one single number comes back as it was.
    """
    ...
''',
    reference=squeeze,
    piece="squeeze",
    cases=[
        Case("one channel", float32([0.0], [1.0], [2.2], [3.0]), 2, "channel"),
        Case("one token", float32([0.0, 1.0, 2.2, 3.0]), 2, "token"),
        Case("six tokens", float32([0.0], [0.9], [2.2], [3.1], [4.2], [6.0]), 2, "channel"),
        Case("three tokens", float32([0.0, 0.3], [4.0, 4.3], [10.0, 10.3]), 2, "token"),
        Case("far from zero", float32([10.0, 0.0], [10.9, 1.0], [13.0, 3.0]), 2, "channel"),
        Case("a loud channel, per token", float32([12.0, 0.1, -0.3], [12.4, -0.2, 0.3]), 2, "token"),
        Case(
            "a loud channel, per channel",
            float32([12.0, 0.15, -0.3], [12.4, -0.2, 0.3], [11.9, 0.4, 0.05]),
            2,
            "channel",
        ),
        Case("a quiet channel", float32([0.0], [0.0004], [0.0011], [0.003]), 2, "channel"),
        Case("three bits", float32([0.0], [1.2], [2.9], [6.0], [7.0]), 3, "channel"),
        Case("all equal", float32([5.0, 1.0], [5.0, 2.0], [5.0, 4.6]), 2, "channel"),
        Case("a single token, per channel", float32([3.0, -1.0]), 2, "channel"),
        Case("four bits", normal(0, 8, 6) + 3, 4, "channel"),
        Case("four bits, per token", normal(1, 6, 8) - 2, 4, "token"),
    ],
    properties=[
        law("finite", _finite, "A constant channel is not a fault of the model."),
        law("no more than 2^b numbers", _levels, "That is all that b bits can tell apart."),
        law("off by half a step at most", _half_a_step, "Rounding to the nearest of equally spaced levels."),
        equals_reference(
            atol=1e-5, rtol=1e-5, why="low + step · code; the codes are rounded, low is not, but for float32."
        ),
    ],
    wrong=[
        Wrong(
            "axes swapped",
            _variant(axis=lambda per: 1 if per == "channel" else 0),
            "Per channel, the numbers of one *column* share a range: take the minimum over the tokens, dim=0.",
        ),
        Wrong(
            "always per channel",
            _variant(axis=lambda per: 0),
            'With per="token" each row has a range of its own: dim=1.',
        ),
        Wrong(
            "always per token",
            _variant(axis=lambda per: 1),
            'With per="channel" each column has a range of its own: dim=0.',
        ),
        Wrong(
            "one range for all",
            _whole,
            "The whole block shares one range. A loud channel then decides for everybody.",
        ),
        Wrong(
            "symmetric about zero",
            _symmetric,
            "A range about zero wastes its levels on a channel that lies between 10 and 13. Start at the least number.",
        ),
        Wrong(
            "zero drawn into the range",
            _through_zero,
            "Weights need an exact 0 (chapter 02). Keys do not: the range runs from the least number to the largest.",
        ),
        Wrong(
            "2^b steps",
            _variant(levels=lambda b: 2**b),
            "2^b levels have 2^b − 1 steps between them. With one more, the largest number takes one code too many.",
        ),
        Wrong(
            "b², not 2^b",
            _variant(levels=lambda b: b**2 - 1),
            "b bits have 2**b levels. b**2 is the same for 2 and 4 bits, and wrong for 3 and 8.",
        ),
        Wrong(
            "levels counted from zero",
            _from_zero,
            "Your levels are whole multiples of the step. Here they start at the least number: round (x − low) / step.",
        ),
        Wrong(
            "a whole zero point",
            _whole_zero,
            "You rounded the zero point, as chapter 02 does. Here low itself is kept: round (x − low) / step.",
        ),
        Wrong(
            "a smallest step for all",
            _least_step,
            "clamp(min=…) also widens ranges that are really small: their numbers fall together. Mend step = 0 only.",
        ),
        Wrong(
            "the least number not added again",
            _variant(back=False),
            "Codes count from the least number. Add it again on the way back.",
        ),
        Wrong(
            "rounded down",
            _variant(round_=torch.floor),
            "The nearest level, not the next one below: round, not floor.",
        ),
        Wrong(
            "a step of zero",
            _constant,
            "Where all numbers are equal the step is 0, and 0 / 0 is NaN. Any other step will do there.",
        ),
        Wrong(
            "NaN painted over",
            lambda x, b, per: torch.nan_to_num(_constant(x, b, per)),
            "nan_to_num makes 0 of it. A range of one single number comes back as it was: mend the step before.",
        ),
        Wrong(
            "all left alone where one range is a single number",
            lambda x, b, per: torch.where(_constant(x, b, per).isnan().any(), x, _constant(x, b, per)),
            "One channel of equal numbers, and nothing is rounded. Mend its step only: torch.where(step == 0, …).",
        ),
        Wrong(
            "a step of 1 for all where one is 0",
            _variant(mend=lambda step: torch.ones_like(step) if (step == 0).any() else step),
            "One channel of equal numbers, and all lose their steps. Ask each step: torch.where(step == 0, 1.0, step).",
        ),
        Wrong(
            "1 taken off the step",
            _variant(levels=lambda b: 2**b, less=1),
            "`(high - low) / 2**b - 1` divides first and takes 1 off then. Write / (2**b - 1).",
        ),
        Wrong(
            "nothing rounded", lambda x, b, per: x.clone(), "That is x as it came. Round to the codes, then go back."
        ),
        Wrong("codes", _codes, "Those are the codes, 0 … 2^b − 1. Asked is what they stand for: low + step · code."),
    ],
    hints=[
        "Lowest value, step, code, and back. Over which axis is the minimum, so that one stays for each channel?",
        "Column (0, 1, 2.2, 3) at 2 bits: low 0, step (3 − 0)/3 = 1, codes 0 1 2 3, back 0 1 2 3. With keepdim=True "
        "low and step spread over x.",
        "    axis = 0 if per == ____ else 1\n    low = x.amin(dim=axis, keepdim=True)\n"
        "    step = (x.amax(dim=axis, keepdim=True) - low) / ____\n    step = torch.where(step == 0, ____, step)\n"
        "    return low + step * torch.round(____)",
    ],
    passed="One line decides between a cache that works at 2 bits and one that does not: the axis.",
)
