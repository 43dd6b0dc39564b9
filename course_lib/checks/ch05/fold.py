"""ch05.fold: hide the division by s in the norm before, and the multiplication in the linears behind."""

import torch

from course_lib.checks import Case, Exercise, Wrong, equals_reference, law, relation
from course_lib.checks.inputs import float32, normal


def fold(gain, weights, s):
    return gain / s, [w * s for w in weights]


def _rows(gain, weights, s):
    return gain / s, [w * s[:, None] for w in weights]


def _same_function(run, gain, weights, s):
    """For normalized x: (x · gain) @ w.T before and after."""
    new_gain, new = run(gain, weights, s)
    x = torch.linspace(-2, 3, 2 * len(gain)).reshape(2, -1)
    for k, (old_w, new_w) in enumerate(zip(weights, new, strict=True)):
        before, after = (x * gain) @ old_w.T, (x * new_gain) @ new_w.T
        if not torch.allclose(before, after, rtol=1e-4, atol=1e-4):
            at = (before - after).abs().argmax()
            pair = f"{before.flatten()[at]:.4g} became {after.flatten()[at]:.4g}"
            return f"Linear {k} answers differently now: {pair}."
    return True


def _inputs_shrink(got, gain, weights, s):
    off = ((got[0] * s - gain).abs() > 1e-4 * gain.abs()).nonzero().flatten()
    if len(off) == 0:
        return True
    j = off[0].item()
    return f"Gain {j} should be {gain[j]:.4g} / {s[j]:.4g}, so that its inputs shrink. Yours is {got[0][j]:.4g}."


_GAIN, _S = float32(64.0, 1.0, 0.5), float32(16.0, 0.5, 2.0)

EXERCISE = Exercise(
    id="ch05.fold",
    title="Hide the factor",
    spec="fold(gain, weights, s): (gain, weights) with which inputs are divided by s and the outputs stay the same.",
    kind="build",
    stub='''
def fold(gain, weights, s):
    """The norm's gain (in,) and its linears' weights, each (out, in), with s (in,) folded in: (gain, list)."""
    ...
''',
    reference=fold,
    piece="fold",
    cases=[
        Case("one linear, one output", float32(64.0, 1.0), [float32([0.25, 1.0])], float32(16.0, 1.0)),
        Case("two outputs, two channels", float32(4.0, 1.0), [float32([1.0, 2.0], [3.0, 4.0])], float32(2.0, 4.0)),
        Case("a gain below zero", float32(-4.0, 1.0), [float32([1.0, 2.0])], float32(2.0, 0.5)),
        Case("three linears", _GAIN, [normal(k, 3, 3) for k in range(3)], _S),
        Case("linears of different heights", _GAIN, [normal(5, 2, 3), normal(6, 1, 3)], _S),
    ],
    properties=[
        relation("the function is the same", _same_function, "W·diag(s) · diag(1/s)·x = W·x."),
        law("the inputs are divided by s", _inputs_shrink, "Inputs are what is hard to round. They have to shrink."),
        equals_reference(ulps=4, why="One quotient or one product a number."),
    ],
    wrong=[
        Wrong(
            "the wrong way round",
            lambda gain, weights, s: (gain * s, [w / s for w in weights]),
            "The function is the same, but loud inputs became louder. Divide the gain by s, multiply the columns.",
        ),
        Wrong(
            "rows of w scaled",
            _rows,
            "Row i of w makes output i. Channel j of the inputs meets *column* j: w * s, which broadcasts along rows.",
        ),
        Wrong(
            "only the first linear",
            lambda gain, weights, s: (gain / s, [weights[0] * s, *weights[1:]]),
            "All linears behind the norm read the shrunken inputs: q, k and v, gate and up. Scale each of them.",
        ),
        Wrong(
            "the norm forgotten",
            lambda gain, weights, s: (gain.clone(), [w * s for w in weights]),
            "The weights grew and the inputs did not shrink: every answer has changed. Divide the gain by s.",
        ),
        Wrong(
            "the weights forgotten",
            lambda gain, weights, s: (gain / s, [w.clone() for w in weights]),
            "The inputs shrank, and nobody takes the factor back. Multiply column j of each weight by s_j.",
        ),
        Wrong(
            "both divided",
            lambda gain, weights, s: (gain / s, [w / s for w in weights]),
            "Divided twice. What the inputs lose, the weights must gain: multiply them.",
        ),
        Wrong(
            "both multiplied",
            lambda gain, weights, s: (gain * s, [w * s for w in weights]),
            "Multiplied twice. One side is divided: the gain.",
        ),
    ],
    hints=[
        "y = W·(gain · x). Put s / s between W and the bracket, and give one half to each side.",
        "gain = 64, w = 0.25, s = 16: gain / s = 4, w · s = 4. Before: 0.25 · 64 = 16. After: 4 · 4 = 16.",
        "def fold(gain, weights, s):\n    return gain ____ s, [w ____ s for w in ____]",
    ],
    passed="No extra work when the model runs: the factors have gone into numbers that were there anyway.",
)
