"""ch05.int8_linear: a linear layer in whole numbers, one scale a token and one scale an output."""

import torch

from course_lib.checks import Case, Exercise, Wrong, equals_reference, law, relation
from course_lib.checks.inputs import float32, normal


def int8_linear(x, w):
    tops = [t.abs().amax(dim=1, keepdim=True) for t in (x, w)]  # (tokens, 1), (out, 1)
    sx, sw = (torch.where(top > 0, top / 127, 1.0) for top in tops)
    qx = torch.round(x / sx).to(torch.int8)
    qw = torch.round(w / sw).to(torch.int8)
    whole = qx.int() @ qw.int().T  # (tokens, out), sums in 32 bits
    return whole * sx * sw.T


def _scale(top, qmax=127):
    return torch.where(top > 0, top / qmax, 1.0)


def _rows(t, qmax=127):
    return _scale(t.abs().amax(dim=1, keepdim=True), qmax)


def _with(sx=_rows, sw=_rows, code=lambda t, s: torch.round(t / s), sums=lambda a, b: a.int() @ b.int().T, out=None):
    """The reference with one step done in another way."""

    def variant(x, w):
        a, b = sx(x), sw(w)
        qx, qw = (code(t, s).to(torch.int8) for t, s in ((x, a), (w, b)))
        whole = sums(qx, qw)
        return (out or (lambda whole, a, b: whole * a * b.T))(whole, a, b)

    return variant


def _one(t):
    return _scale(t.abs().max().reshape(1, 1))


def _per_channel(x, w):
    """One scale a channel of x: it belongs inside the sum, and taking it out needs one number for all."""
    sx, sw = _scale(x.abs().amax(dim=0, keepdim=True)), _rows(w)
    whole = torch.round(x / sx).int() @ torch.round(w / sw).int().T
    return whole * sx.mean() * sw.T


def _no_zero_guard(x, w):
    sx, sw = (t.abs().amax(dim=1, keepdim=True) / 127 for t in (x, w))
    qx, qw = torch.round(x / sx), torch.round(w / sw)
    return (qx @ qw.T) * sx * sw.T


def _flat_scales(x, w, scale=_scale, dtype=torch.float32):
    """Scales (tokens,) and (out,): they are laid along the channels, and then along the outputs."""
    sx, sw = (scale(t.abs().amax(dim=1)) for t in (x, w))
    qx, qw = torch.round(x / sx).to(dtype).float(), torch.round(w / sw).to(dtype).float()
    return (qx @ qw.T) * sx * sw


def _signed(t):
    return _scale(t.amax(dim=1, keepdim=True))


def _wrap(t, bits):
    return (t + 2 ** (bits - 1)) % 2**bits - 2 ** (bits - 1)


def _bound(got, x, w):
    """|y - xw| <= Σ |x| s_w/2 + |w| s_x/2 + s_x s_w / 4."""
    sx, sw = _rows(x), _rows(w)
    allowed = x.abs().sum(1, keepdim=True) * sw.T / 2 + sx / 2 * w.abs().sum(1) + x.shape[1] * sx * sw.T / 4
    off = (got - x @ w.T).abs()
    if not torch.isfinite(got).all():
        return "Your result holds NaN or infinity. What is the scale of a token of nothing but zeros?"
    bad = (off > allowed * 1.001 + 1e-5).nonzero()
    if len(bad) == 0:
        return True
    t, o = bad[0].tolist()
    return f"y[{t}, {o}] = {got[t, o]:.4g}; x @ w.T gives {(x @ w.T)[t, o]:.4g}. Rounding explains {allowed[t, o]:.2g}."


def _cancels(got, x, w):
    """Where the products of the codes add up to 0, so does the output: whole numbers leave no rest, floats do."""
    whole = torch.round(x / _rows(x)).int() @ torch.round(w / _rows(w)).int().T
    rest = ((whole == 0) & (got != 0)).nonzero()
    if len(rest) == 0:
        return True
    t, o = rest[0].tolist()
    return f"The products of the codes of token {t} and output {o} add up to exactly 0, and y is {got[t, o]:.3g}."


def _alone(run, x, w):
    alone, among = run(x[:1], w), run(torch.cat([x[:1], 10 * x + 1]), w)[:1]
    close = torch.allclose(alone, among, rtol=1e-5, atol=1e-6)
    return close or "The result of token 0 changes with the tokens beside it. Each token needs a scale of its own."


EXERCISE = Exercise(
    id="ch05.int8_linear",
    title="A layer in whole numbers",
    spec="int8_linear(x, w): codes −127 … 127, one scale a token and one an output; sums in int32, scales afterwards.",
    kind="build",
    stub='''
def int8_linear(x, w):
    """y (tokens, out) float32 from x (tokens, in) and w (out, in): int8 codes, int32 sums; zeros get the scale 1."""
    ...
''',
    reference=int8_linear,
    piece="int8_linear",
    cases=[
        Case("one token, one output", float32([1.0, -0.5]), float32([0.3, 0.4])),
        Case(
            "a quiet token beside a loud one", float32([0.5, -1.0], [30.0, 64.0]), float32([0.25, 0.125], [-2.0, 1.0])
        ),
        Case("a token of zeros", float32([0.0, 0.0], [0.00113, 0.00236]), float32([0.5, 0.25], [1.0, -1.0])),
        Case("an output of zeros", float32([1.0, 2.0], [0.5, 0.75]), float32([0.0, 0.0], [0.00236, -0.00113])),
        Case("three tokens, two outputs", normal(1, 3, 3), normal(2, 2, 3)),
        Case("a loud channel", normal(3, 2, 4) * float32([1.0, 40.0, 1.0, 1.0]), normal(4, 3, 4)),
        Case(
            "products that cancel",
            float32([3141.6, 2473.7, -915.3], [2718.3, 2140.4, -791.9]),
            float32([1113.5, -1414.2, 0.0], [412.0, 0.0, 1414.2], [-1760.7, 2236.1, 0.0]),
        ),
        Case("large sums", torch.full((1, 6), 2.0), torch.full((2, 6), 0.5)),
    ],
    properties=[
        law("as near as rounding allows", _bound, "Each factor is off by half a step at most."),
        law("whole numbers cancel exactly", _cancels, "Codes are multiplied and added first, and only then scaled."),
        relation("a token is served alone", _alone, "The answer to one customer must not depend on another's text."),
        equals_reference(rtol=1e-5, atol=1e-6, why="Whole numbers, then two products in float32."),
    ],
    wrong=[
        Wrong(
            "one scale for all tokens",
            _with(sx=_one),
            "The loudest token sets the step of all others. Take the largest |x| of each row: dim=1, keepdim=True.",
        ),
        Wrong(
            "one scale for all of w",
            _with(sw=_one),
            "w has one scale for the whole matrix here. Each output, a row of w, can have its own at no cost.",
        ),
        Wrong(
            "one scale for each side",
            _with(sx=_one, sw=_one),
            "One scale for all tokens and one for all of w: a row of each can have its own, amax(dim=1, keepdim=True).",
        ),
        Wrong(
            "one scale a channel",
            _per_channel,
            "A scale for each *channel* belongs inside the sum. Only a token's scale can be taken out of it.",
        ),
        Wrong(
            "sums in 8 bits",
            _with(sums=lambda a, b: _wrap(a.int() @ b.int().T, 8)),
            "127 · 127 is more than int8 holds, and torch wraps around silently. Sum in int32: qx.int() @ qw.int().T.",
        ),
        Wrong(
            "sums in 16 bits",
            _with(sums=lambda a, b: _wrap(a.int() @ b.int().T, 16)),
            "Three products of 127 · 127 are more than 16 bits hold. Sum in int32.",
        ),
        Wrong(
            "w's scale forgotten",
            _with(out=lambda whole, sx, sw: whole * sx),
            "Only the inputs' scale came back. A product of codes needs both: s_x · s_w.",
        ),
        Wrong(
            "divided by the scales",
            _with(out=lambda whole, sx, sw: whole / sx / sw.T),
            "Codes are numbers divided by s. On the way back you multiply.",
        ),
        Wrong(
            "w's scales down the tokens",
            _with(out=lambda whole, sx, sw: whole * sx * sw),
            "sw is a column (out, 1), and outputs run along the row: multiply by sw.T.",
        ),
        Wrong(
            "cut off instead of rounded",
            _with(code=lambda t, s: torch.trunc(t / s)),
            ".to(torch.int8) cuts off what stands behind the point. Round first.",
        ),
        Wrong(
            "127 and 128 mixed up",
            _with(
                sx=lambda t: _rows(t, 128),
                sw=lambda t: _rows(t, 128),
                code=lambda t, s: (t / s).round().clamp(-128, 127),
            ),
            "With 128 steps to the largest number it gets a code that int8 does not have. Symmetric ends at 127.",
        ),
        Wrong(
            "nothing rounded",
            lambda x, w: x @ w.T,
            "That is the exact product. Round x and w to codes first, and multiply the codes.",
        ),
        Wrong(
            "decoded, then multiplied in floats",
            lambda x, w: (torch.round(x / _rows(x)) * _rows(x)) @ (torch.round(w / _rows(w)) * _rows(w)).T,
            "You turned the codes back into numbers and multiplied those: near, but no integer unit was used. Multiply "
            "the codes as int32, and the sums by the scales.",
        ),
        Wrong(
            "only the weights rounded",
            lambda x, w: x @ (torch.round(w / _rows(w)) * _rows(w)).T,
            "That is W8A16: the inputs have kept all their digits. Round x, too.",
        ),
        Wrong(
            "scales laid along the wrong side",
            _flat_scales,
            "amax(dim=1) gives a row (tokens,), and x / sx then divides *channels* by it. keepdim=True keeps a column.",
        ),
        Wrong(
            "scales laid along the wrong side, and zeros divided by zero",
            lambda x, w: _flat_scales(x, w, lambda top: top / 127, torch.int8),
            "amax(dim=1) gives a row (tokens,), and x / sx then divides *channels* by it. keepdim=True keeps a column. "
            "(And a token of zeros needs the scale 1.)",
        ),
        Wrong(
            "the largest, not the largest magnitude",
            _with(sx=_signed, sw=_signed),
            "amax without abs misses a row whose largest number is negative: its codes run over.",
        ),
        Wrong(
            "the largest, not the largest magnitude, and clamped",
            _with(sx=_signed, sw=_signed, code=lambda t, s: torch.round(t / s).clamp(-127, 127)),
            "amax without abs misses a row whose largest number is negative: clamp then cuts it off.",
        ),
        Wrong(
            "both scales left out",
            _with(out=lambda whole, sx, sw: whole),
            "Those are the sums of codes. Multiply them by s_x and by s_w, and they are numbers again.",
        ),
        Wrong(
            "zeros divided by zero",
            _no_zero_guard,
            "A token of zeros has the largest value 0, and 0 / 0 is NaN. Let its scale be 1.",
        ),
    ],
    hints=[
        "Five lines: two scales, two tensors of codes, one product. Which of them does each scale multiply at the end?",
        "x = [1, −0.5], w = [0.3, 0.4]: s_x = 1/127, codes 127 −64; s_w = 0.4/127, codes 95 127. "
        "127·95 − 64·127 = 3937; times s_x · s_w = 0.0976. Exact: 0.1.",
        "    sx = x.abs().amax(dim=____, keepdim=True) / 127\n    sx = torch.where(sx > 0, sx, 1.0)  # the same for w\n"
        "    qx = torch.round(____).to(torch.int8)\n    whole = qx.int() @ ____\n    return whole * ____ * ____",
    ],
    passed="Every multiplication is a whole number now, and two scales an output are all the floating point there is.",
)
