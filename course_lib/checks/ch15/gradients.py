"""ch15.gradients: what rounding with a clip hands back to its weights and to its steps."""

import torch

from course_lib.checks import Case, Exercise, Wrong, equals_reference, relation
from course_lib.checks.inputs import normal


def gradients(w, s, b, g):
    qmax = 2 ** (b - 1) - 1
    rounded = torch.round(w / s)
    inside = rounded.abs() <= qmax
    q = rounded.clamp(-qmax, qmax)
    g_w = g * inside
    g_s = (g * (q - inside * w / s)).sum(-1, keepdim=True)
    return g_w, g_s


def _parts(w, s, b):
    qmax = 2 ** (b - 1) - 1
    rounded = torch.round(w / s)
    return rounded.clamp(-qmax, qmax), rounded.abs() <= qmax, rounded, w / s


def _variant(weights=lambda g, inside, s: g * inside, steps=lambda g, q, inside, rounded, u: g * (q - inside * u),
             add=lambda t: t.sum(-1, keepdim=True)):  # fmt: skip
    def wrong(w, s, b, g):
        q, inside, rounded, u = _parts(w, s, b)
        return weights(g, inside, s), add(steps(g, q, inside, rounded, u))

    return wrong


def _unrounded_mask(w, s, b, g):
    q, _, _, u = _parts(w, s, b)
    inside = u.abs() <= 2 ** (b - 1) - 1
    return g * inside, (g * (q - inside * u)).sum(-1, keepdim=True)


def _open_end(w, s, b, g):
    q, _, rounded, u = _parts(w, s, b)
    inside = rounded.abs() < 2 ** (b - 1) - 1
    return g * inside, (g * (q - inside * u)).sum(-1, keepdim=True)


def _one_number(w, s, b, g):
    g_w, g_s = gradients(w, s, b, g)
    return g_w, g_s.sum()


def _not_summed(w, s, b, g):
    q, inside, _, u = _parts(w, s, b)
    return g * inside, g * (q - inside * u)


def _levels(w, s, b, g):
    return gradients(w, s, b + 1, g)


def _twos_complement(w, s, b, g):
    low, high, u = -(2 ** (b - 1)), 2 ** (b - 1) - 1, w / s
    inside = (torch.round(u) >= low) & (torch.round(u) <= high)
    q = torch.round(u).clamp(low, high)
    return g * inside, (g * (q - inside * u)).sum(-1, keepdim=True)


def _swapped(w, s, b, g):
    return gradients(w, s, b, g)[::-1]


def _passes_or_not(run, w, s, b, g):
    weights = run(w, s, b, g)[0]
    same = (torch.isclose(weights, g, rtol=1e-5, atol=1e-6) | (weights == 0)).all()  # g · s / s may round
    return bool(same) or "Each weight gets either its part of g, unchanged, or 0."


EXERCISE = Exercise(
    id="ch15.gradients",
    title="Straight through",
    spec="gradients(w, s, b, g): from g = ∂L/∂ŵ to ∂L/∂w and ∂L/∂s, with round passed through and the clip respected.",
    kind="build",
    stub='''
def gradients(w, s, b, g):
    """(∂L/∂w, ∂L/∂s) of ŵ = s·clip(round(w/s), −qmax, qmax), given g = ∂L/∂ŵ; round counts as the identity.

    w, g (rows, n); s (rows, 1), one step a row; qmax = 2^(b−1) − 1. What rounds to beyond qmax is clipped.
    """
    ...
''',
    reference=gradients,
    piece="gradients",
    cases=[
        Case("one inside", torch.tensor([[0.4]]), torch.tensor([[1.0]]), 3, torch.tensor([[2.0]])),
        Case("one clipped", torch.tensor([[9.0]]), torch.tensor([[1.0]]), 3, torch.tensor([[2.0]])),
        Case("rounds to qmax", torch.tensor([[3.4, -3.3]]), torch.tensor([[1.0]]), 3, torch.tensor([[1.0, 0.5]])),
        Case("another step", torch.tensor([[0.15, -0.55]]), torch.tensor([[0.25]]), 3, torch.tensor([[1.0, -2.0]])),
        Case("two bits", torch.tensor([[0.3, -0.9, 2.0, -2.6]]), torch.tensor([[0.8]]), 2, torch.ones(1, 4)),
        Case("two rows", torch.tensor([[0.3, 5.0], [0.3, 5.0]]), torch.tensor([[0.5], [2.0]]), 3, torch.ones(2, 2)),
        Case("many", normal(0, 4, 16), torch.tensor([[0.1], [0.2], [0.4], [1.0]]), 4, normal(1, 4, 16)),
    ],
    properties=[
        relation("a weight's gradient passes or stops", _passes_or_not, "1/s going in and s coming out cancel."),
        equals_reference(atol=1e-5, rtol=1e-5, why="A sum of a few numbers in float32."),
    ],
    wrong=[
        Wrong(
            "the true derivative",
            _variant(weights=lambda g, inside, s: torch.zeros_like(g), steps=lambda g, q, inside, r, u: g * q),
            "A staircase is flat: by its true derivative no weight ever moves. Straight through: let round count as 1.",
        ),
        Wrong(
            "no clip",
            _variant(weights=lambda g, inside, s: g + 0 * inside),
            "Beyond the last mark ŵ stays where it is, however w moves. There the gradient of w is 0.",
        ),
        Wrong(
            "the mask the wrong way round",
            _variant(weights=lambda g, inside, s: g * ~inside),
            "You let the clipped weights move and hold the others.",
        ),
        Wrong(
            "clipped before rounding",
            _unrounded_mask,
            "3.4 rounds to 3, a mark that exists. Ask where round(w/s) lies, not where w/s does.",
        ),
        Wrong(
            "the last mark counts as clipped",
            _open_end,
            "qmax itself is a mark that exists: what rounds to it still passes. Clipped is what lies beyond: <= qmax.",
        ),
        Wrong(
            "times s",
            _variant(weights=lambda g, inside, s: g * inside * s),
            "Going in, w is divided by s; coming out, the code is multiplied by it. Both derivatives cancel.",
        ),
        Wrong(
            "over s",
            _variant(weights=lambda g, inside, s: g * inside / s),
            "You have the division by s and not the multiplication that comes after it. They cancel.",
        ),
        Wrong(
            "step: only the codes",
            _variant(steps=lambda g, q, inside, r, u: g * q),
            "s stands twice in ŵ: it multiplies the code, and it divides w. The second part is −w/s, where w passes.",
        ),
        Wrong(
            "step: −w/s of the clipped, too",
            _variant(steps=lambda g, q, inside, r, u: g * (q - u)),
            "A clipped weight's code does not change with s. Its part is the code alone, without −w/s.",
        ),
        Wrong(
            "step: clipped weights only",
            _variant(steps=lambda g, q, inside, r, u: g * q * ~inside),
            "Weights inside have a say in s, too: code − w/s, their rounding error in steps.",
        ),
        Wrong(
            "step: weights inside only",
            _variant(steps=lambda g, q, inside, r, u: g * (q - u) * inside),
            "A clipped weight is ±qmax steps: with a larger s it grows. Its part of the step's gradient is its code.",
        ),
        Wrong(
            "step: the sign turned",
            _variant(steps=lambda g, q, inside, r, u: g * (inside * u - q)),
            "Right but for the sign: the code counts with plus, w/s with minus.",
        ),
        Wrong(
            "step: without g",
            _variant(steps=lambda g, q, inside, r, u: q - inside * u),
            "That is ∂ŵ/∂s. By the chain rule each weight's part is multiplied by its g, then they are added up.",
        ),
        Wrong(
            "step: codes never clipped",
            _variant(steps=lambda g, q, inside, r, u: g * (r - inside * u)),
            "A clipped weight comes back as ±qmax steps, not as round(w/s).",
        ),
        Wrong(
            "step: the mean",
            _variant(add=lambda t: t.mean(-1, keepdim=True)),
            "One s serves the whole row: the parts of all its weights add up. A sum, no mean.",
        ),
        Wrong(
            "one step for all rows",
            _variant(add=lambda t: t.sum().expand(len(t), 1)),
            "Each row has a step of its own: add up along the row only.",
        ),
        Wrong(
            "one level too many",
            _levels,
            "b bits with a sign: the largest code is 2^(b−1) − 1, as in chapter 01.",
        ),
        Wrong(
            "one mark more below zero",
            _twos_complement,
            "Two's complement has one code more below zero. Here both sides end at qmax, as in chapter 01.",
        ),
        Wrong(
            "straight through everything",
            _variant(weights=lambda g, inside, s: g, steps=lambda g, q, inside, r, u: 0 * g),
            "You took ŵ for w altogether. Only round counts as the identity: the clip stays, and s stands in ŵ twice.",
        ),
        Wrong(
            "step: a clipped weight counts once",
            _variant(steps=lambda g, q, inside, r, u: g * torch.where(inside, q - u, q.sign())),
            "A clipped weight is ±qmax steps, not one: its part is its code.",
        ),
        Wrong(
            "the other order",
            _swapped,
            "Right numbers, wrong order: first the weights' gradient, then the steps'.",
        ),
        Wrong(
            "the step's gradient in one number",
            _one_number,
            "The steps are (rows, 1), one a row, and so are their gradients: sum over the row only, sum(-1, "
            "keepdim=True).",
        ),
        Wrong(
            "the step's gradient not summed",
            _not_summed,
            "One step serves all weights of its row, so their parts add up: sum(-1, keepdim=True).",
        ),
    ],
    hints=[
        "Write ŵ = s·q. By w: where the clip lets w pass, q ≈ w/s and ŵ ≈ w. By s: the product rule, q + s·∂q/∂s.",
        "w = [0.3, 5.0], s = 2, b = 2, g = [1, 1]. Codes: 0 and, clipped, 1. Gradients of w: 1 and 0. "
        "Of s: (0 − 0.15) + 1 = 0.85.",
        "    rounded = torch.round(w / s)\n    inside = rounded.abs() <= ____\n    q = rounded.clamp(____)\n"
        "    g_w = g * ____\n    g_s = (g * (q - inside * ____)).sum(____, keepdim=True)\n    return g_w, g_s",
    ],
    passed="torch has this as one operation, torch.fake_quantize_per_channel_affine; with the step: LSQ (2020).",
)
