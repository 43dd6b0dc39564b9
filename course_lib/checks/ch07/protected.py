"""ch07.protected: multiply columns by s, round, and take s back out: what the layer then computes with."""

import torch

from course_lib.checks import Case, Exercise, Wrong, equals_reference, law, relation
from course_lib.checks.inputs import float32, normal


def protected(w, s, b):
    scaled = w * s
    step = scaled.abs().amax(dim=1, keepdim=True) / (2 ** (b - 1) - 1)
    return torch.round(scaled / step) * step / s


def _rounded(w, b, step=None):
    step = w.abs().amax(dim=1, keepdim=True) / (2 ** (b - 1) - 1) if step is None else step
    return torch.round(w / step) * step


def _old_step(w, s, b):
    q = 2 ** (b - 1) - 1
    step = w.abs().amax(dim=1, keepdim=True) / q
    return (torch.round(w * s / step).clamp(-q, q)) * step / s


def _old_step_unclipped(w, s, b):
    step = w.abs().amax(dim=1, keepdim=True) / (2 ** (b - 1) - 1)
    return torch.round(w * s / step) * step / s


def _steps(qmax=lambda b: 2 ** (b - 1) - 1, size=torch.abs, dim=1, to_code=torch.round, back=True):
    """The reference with one thing changed."""

    def variant(w, s, b):
        step = size(w * s).amax(dim=dim, keepdim=True) / qmax(b)
        return to_code(w * s / step) * (step if back else 1) / s

    return variant


def _ones_change_nothing(run, w, s, b):
    same, plain = run(w, torch.ones_like(s), b), _rounded(w, b)
    if same.shape != w.shape:
        return f"w has the shape {tuple(w.shape)}, yours {tuple(same.shape)}."
    off = (~torch.isclose(same, plain, rtol=1e-5)).nonzero()
    if len(off) == 0:
        return True
    i, j = off[0].tolist()
    told = f"With s = 1 everywhere, w[{i}, {j}] = {w[i, j]:.4g} became {same[i, j]:.4g}"
    return f"{told}; plain rounding to {b} bits makes it {plain[i, j]:.4g}."


def _half_a_step(got, w, s, b):
    """Column j may err by half a step of the scaled row, divided by s_j."""
    step = (w * s).abs().amax(dim=1, keepdim=True) / (2 ** (b - 1) - 1)
    over = ((got - w).abs() > step / s / 2 * 1.001 + 1e-6).nonzero()
    if len(over) == 0:
        return True
    i, j = over[0].tolist()
    return f"w[{i}, {j}] = {w[i, j]:.4g} became {got[i, j]:.4g}. Half a step over s is {step[i, 0] / s[j] / 2:.4g}."


EXERCISE = Exercise(
    id="ch07.protected",
    title="Scale, round, take it back",
    spec="protected(w, s, b): Q(w · s) / s, where Q rounds each row to b bits, symmetric, one scale a row.",
    kind="build",
    stub='''
def protected(w, s, b):
    """What the layer computes with: columns of w (out, in) times s (in,), rounded to b bits a row, divided by s."""
    ...
''',
    reference=protected,
    piece="protected",
    cases=[
        Case("one channel protected", float32([0.3, 1.0]), float32(2.0, 1.0), 3),
        Case("its largest number grows, too", float32([1.0, 0.3]), float32(2.0, 1.0), 3),
        Case("two rows, two channels", float32([0.3, 1.0], [-0.7, 0.4]), float32(2.0, 0.5), 3),
        Case("two rows, three channels", normal(0, 2, 3), float32(4.0, 1.0, 0.25), 4),
        Case("a square", normal(1, 3, 3), float32(1.5, 0.75, 1.0), 4),
        Case("all alike", normal(2, 3, 4), torch.full((4,), 2.0), 4),
        Case("8 bits", normal(3, 4, 6), torch.linspace(0.5, 3, 6), 8),
    ],
    properties=[
        relation("s = 1 is plain rounding", _ones_change_nothing, "Nothing is protected then."),
        law("error ≤ half a step over s", _half_a_step, "The step belongs to the scaled row; the division shrinks it."),
        equals_reference(rtol=1e-5, why="A product, a rounding, a product, a quotient."),
    ],
    wrong=[
        Wrong(
            "not taken back",
            lambda w, s, b: _rounded(w * s, b),
            "These are weights for inputs divided by s. Asked is what the layer computes with: divide by s.",
        ),
        Wrong(
            "taken back before rounding",
            lambda w, s, b: _rounded(w * s / s, b),
            "w · s / s is w again, so nothing was protected. Round while the columns are scaled.",
        ),
        Wrong(
            "the wrong way round",
            lambda w, s, b: _rounded(w / s, b) * s,
            "You divided first: that makes the loud columns *smaller*, and their rounding error s times larger.",
        ),
        Wrong(
            "the step of the old row",
            _old_step,
            "Your step comes from w, so scaled weights clip. Take the largest |w · s| of each row.",
        ),
        Wrong(
            "rows scaled",
            lambda w, s, b: _rounded(w * s[:, None], b) / s[:, None],
            "s has one number for each *input* channel, so it multiplies columns: w * s, which broadcasts along rows.",
        ),
        Wrong(
            "one step for the whole matrix",
            lambda w, s, b: _rounded(w * s, b, (w * s).abs().max() / (2 ** (b - 1) - 1)) / s,
            "Each row has a scale of its own: amax(dim=1, keepdim=True).",
        ),
        Wrong(
            "steps laid along the wrong side",
            lambda w, s, b: _rounded(w * s, b, (w * s).abs().amax(dim=1) / (2 ** (b - 1) - 1)) / s,
            "amax(dim=1) without keepdim=True is a row of steps, and dividing by it gives *columns* a step.",
        ),
        Wrong(
            "1 taken off the quotient",
            lambda w, s, b: _rounded(w * s, b, (w * s).abs().amax(dim=1, keepdim=True) / 2 ** (b - 1) - 1) / s,
            "`top / 2 ** (b - 1) - 1` divides first and takes 1 off then. Write top / (2 ** (b - 1) - 1).",
        ),
        Wrong(
            "2^(b−1) steps",
            _steps(qmax=lambda b: 2 ** (b - 1)),
            "The largest code is 2^(b−1) − 1, as in chapter 01: 3 for 3 bits. You divided by one more.",
        ),
        Wrong(
            "2^b − 1 steps",
            _steps(qmax=lambda b: 2**b - 1),
            "Half of the b bits' codes are for negative weights: the largest is 2^(b−1) − 1, not 2^b − 1.",
        ),
        Wrong(
            "rounded down",
            _steps(to_code=torch.floor),
            "You cut off what is behind the point. Nearest: torch.round.",
        ),
        Wrong(
            "sizes with a sign",
            _steps(size=lambda t: t),
            "A row's largest |w · s| may be negative: take abs() before amax.",
        ),
        Wrong(
            "a step a column",
            _steps(dim=0),
            "You took the largest of each column. A step belongs to a row: amax(dim=1, keepdim=True).",
        ),
        Wrong(
            "codes, not weights",
            _steps(back=False),
            "Codes count steps. Multiply them by the step before you divide by s.",
        ),
        Wrong(
            "rounded without a step",
            lambda w, s, b: torch.round(w * s) / s,
            "The integers of b bits have to reach over the row. Divide by the step before rounding, multiply after.",
        ),
        Wrong(
            "the step of the old row, and nothing clips",
            _old_step_unclipped,
            "Your step comes from w, and codes of w · s then need more than b bits. Take the largest |w · s|.",
        ),
    ],
    hints=[
        "Three moves: multiply the columns, round as in chapter 04 with one scale a row, divide the columns.",
        "w = [0.2, 1], s = [2, 1], 3 bits: w·s = [0.4, 1], step 1/3, codes [1, 3], back to [0.333, 1], divided by s: "
        "[0.167, 1]. Without s the codes are the same, but 0.2 became 0.333: off by 0.133, and now by 0.033 only.",
        "    scaled = w * ____\n    step = ____.abs().amax(dim=1, keepdim=True) / (2 ** (b - 1) - 1)\n"
        "    return torch.round(scaled / step) * step / ____",
    ],
    passed="The protected column errs s times less, as long as the step did not grow. Sometimes it does.",
)
