"""ch05.smooth_scales: SmoothQuant's factor for every channel, from the ranges of inputs and weights."""

import torch

from course_lib.checks import Case, Exercise, Wrong, equals_reference, law
from course_lib.checks.inputs import float32, normal


def smooth_scales(x, w, alpha):
    x_max, w_max = x.abs().amax(dim=0), w.abs().amax(dim=0)  # (in,) each
    s = x_max**alpha / w_max ** (1 - alpha)
    return torch.where((x_max > 0) & (w_max > 0), s, 1.0)


def _guarded(s, x_max, w_max):
    return torch.where((x_max > 0) & (w_max > 0), s, 1.0)


def _with(formula, top=lambda t: t.abs().amax(dim=0)):
    """The reference with another formula of the two ranges, or other ranges."""

    def variant(x, w, alpha):
        x_max, w_max = top(x), top(w)
        return _guarded(formula(x_max, w_max, alpha), x_max, w_max)

    return variant


def _right(x_max, w_max, alpha):
    return x_max**alpha / w_max ** (1 - alpha)


def _unguarded(x, w, alpha):
    return _right(x.abs().amax(dim=0), w.abs().amax(dim=0), alpha)


def _only_inputs_guarded(x, w, alpha):
    x_max, w_max = x.abs().amax(dim=0), w.abs().amax(dim=0)
    return torch.where(x_max > 0, _right(x_max, w_max, alpha), 1.0)


def _only_infinity_caught(x, w, alpha):
    s = _unguarded(x, w, alpha)
    return torch.where(torch.isfinite(s), s, 1.0)


def _clamped(x, w, alpha):
    """As SmoothQuant's own code guards, which has no rule for channels of zeros but a least number."""
    x_max, w_max = x.abs().amax(dim=0), w.abs().amax(dim=0).clamp(min=1e-5)
    return _right(x_max, w_max, alpha).clamp(min=1e-5)


def _along_the_rows(x, w, alpha):
    x_max, w_max = x.abs().amax(dim=1), w.abs().amax(dim=1)
    return _guarded(_right(x_max, w_max, alpha), x_max, w_max)


def _usable(got, x, w, alpha):
    bad = (~(torch.isfinite(got) & (got > 0))).nonzero().flatten()
    return len(bad) == 0 or f"s[{bad[0]}] = {got[bad[0]]:.4g}. One side is divided by s, the other multiplied by it."


def _meet(got, x, w, alpha):
    """At one half both sides reach equally far: max|x| / s = max|w| · s."""
    if alpha != 0.5:
        return True
    x_max, w_max = x.abs().amax(dim=0), w.abs().amax(dim=0)
    after_x, after_w = x_max / got, w_max * got
    off = ((after_x - after_w).abs() > 1e-4 * after_x) & (x_max > 0) & (w_max > 0)
    if not off.any():
        return True
    j = off.nonzero()[0].item()
    return f"Channel {j}: with your s inputs reach {after_x[j]:.4g} and weights {after_w[j]:.4g}. At α = ½ they meet."


EXERCISE = Exercise(
    id="ch05.smooth_scales",
    title="How much to move",
    spec="smooth_scales(x, w, alpha): s_j = max|x_j|^α / max|w_j|^(1−α) for channel j; 1 where either is all zeros.",
    kind="build",
    stub='''
def smooth_scales(x, w, alpha):
    """s (in,) from inputs x (tokens, in) and weights w (out, in); 1.0 for a channel of zeros in x or in w."""
    ...
''',
    reference=smooth_scales,
    piece="smooth_scales",
    cases=[
        Case("a loud channel and a quiet one", float32([64.0, 1.0]), float32([0.25, 1.0]), 0.5),
        Case("the largest is negative", float32([-16.0, 0.5], [2.0, -1.0]), float32([-0.25, 1.0], [0.5, 0.25]), 0.5),
        Case("all of it moved", float32([8.0, 0.5], [2.0, 4.0]), float32([0.5, 0.25], [1.0, 2.0]), 1.0),
        Case("the weights made even", float32([8.0, 0.5], [2.0, 4.0]), float32([0.5, 0.25], [1.0, 4.0]), 0.0),
        Case("a channel without inputs", float32([0.0, 4.0], [0.0, 1.0]), float32([0.5, 1.0]), 0.5),
        Case("a channel without weights", float32([3.0, 4.0], [2.0, 1.0]), float32([0.0, 1.0]), 0.5),
        Case("three tokens, two outputs", normal(0, 3, 4), normal(1, 2, 4), 0.75),
    ],
    properties=[
        law("every s can be divided by", _usable, "A factor of 0, infinity or NaN would end up in the model."),
        law("at α = ½ the two sides meet", _meet, "√(max|x| · max|w|) is then the range of both."),
        equals_reference(rtol=1e-5, why="Two powers and a quotient in float32."),
    ],
    wrong=[
        Wrong(
            "exponents swapped",
            _with(lambda x, w, a: x ** (1 - a) / w**a),
            "α says how much of the trouble leaves the *inputs*: max|x|^α, and 1 − α belongs to the weights.",
        ),
        Wrong(
            "always the square root",
            _with(lambda x, w, a: (x / w).sqrt()),
            "That is α = ½. For another α the exponents differ: α above, 1 − α below.",
        ),
        Wrong(
            "upside down",
            _with(lambda x, w, a: w ** (1 - a) / x**a),
            "That is 1 / s. Loud inputs need a large s, since they are divided by it.",
        ),
        Wrong(
            "multiplied, not divided",
            _with(lambda x, w, a: x**a * w ** (1 - a)),
            "Small weights have room: a channel with small weights may take *more*. So divide by max|w|^(1−α).",
        ),
        Wrong(
            "the same exponent twice",
            _with(lambda x, w, a: x**a / w**a),
            "(max|x| / max|w|)^α: the exponent of the weights is 1 − α.",
        ),
        Wrong(
            "signs not taken off",
            _with(_right, top=lambda t: t.amax(dim=0).clamp(min=0)),
            "The largest number of a channel may be negative. Take abs() before the maximum.",
        ),
        Wrong(
            "signs not taken off, and a power of them",
            lambda x, w, alpha: torch.where(
                (x.amax(dim=0) == 0) | (w.amax(dim=0) == 0), 1.0, _right(x.amax(dim=0), w.amax(dim=0), alpha)
            ),
            "Where all numbers of a channel are negative, a power of their largest is NaN. Take abs() before amax.",
        ),
        Wrong(
            "means in place of maxima",
            _with(_right, top=lambda t: t.abs().mean(dim=0)),
            "A step is made from the *largest* |x|, so that is what has to shrink. (Means are AWQ's, chapter 07.)",
        ),
        Wrong(
            "ranges of tokens, not of channels",
            _along_the_rows,
            "The maximum runs over the tokens and over the outputs: dim=0 of both. What is left is one a channel.",
        ),
        Wrong(
            "a channel of zeros divides by zero",
            _unguarded,
            "max|x| or max|w| may be 0 on a short text. Then there is nothing to move: s = 1.",
        ),
        Wrong(
            "only infinity caught",
            _only_infinity_caught,
            "A channel without *inputs* has s = 0, which is finite, and x / 0 comes later. There s = 1, too.",
        ),
        Wrong(
            "a least number in place of 1",
            _clamped,
            "SmoothQuant's own code clamps at 1e-5, and then a channel of zeros scales the other side by 1e5. Here it "
            "gets s = 1 and stays as it is.",
        ),
        Wrong(
            "only s clamped",
            lambda x, w, alpha: _unguarded(x, w, alpha).clamp(min=1e-5),
            "A channel without weights still has s = ∞, and one without inputs 1e-5. Both get s = 1.",
        ),
        Wrong(
            "only the inputs guarded",
            _only_inputs_guarded,
            "A channel without *weights* divides by zero as well. There s = 1, too.",
        ),
        Wrong(
            "1 − α without its brackets",
            _with(lambda x_max, w_max, alpha: x_max**alpha / w_max**1 - alpha),
            "`w ** 1 - alpha` is `(w ** 1) - alpha`: a power binds tighter than a minus. Write `w ** (1 - alpha)`.",
        ),
    ],
    hints=[
        "One maximum over the tokens, one over the outputs. Then a formula of the two, channel by channel.",
        "max|x| = 64, max|w| = ¼, α = ½: s = 8 / ½ = 16. Then inputs reach 64 / 16 = 4, weights ¼ · 16 = 4.",
        "    x_max, w_max = x.abs().amax(dim=____), w.abs().amax(dim=____)\n    s = x_max**____ / w_max**____\n"
        "    return torch.where(____, s, 1.0)",
    ],
    passed="One number a channel, found before the model runs. What remains is to hide it where it costs nothing.",
)
