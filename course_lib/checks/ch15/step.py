"""ch15.step: training that never arrives, since each small step is rounded away."""

import torch

from course_lib.checks import Case, Exercise, Wrong, equals_reference, relation


def step(w, s, b, x, y, rate):
    qmax = 2 ** (b - 1) - 1
    w_hat = s * torch.round(w / s).clamp(-qmax, qmax)
    error = x @ w_hat.T - y
    gradient = error.T @ x / len(x)
    return w - rate * gradient


def _round(w, s, b):
    qmax = 2 ** (b - 1) - 1
    return s * torch.round(w / s).clamp(-qmax, qmax)


def _variant(start="w", look="w_hat", after=lambda new, s, b: new, sign=-1.0, over=lambda x, y: len(x)):
    def wrong(w, s, b, x, y, rate):
        seen = {"w": w, "w_hat": _round(w, s, b), "unclipped": s * torch.round(w / s)}
        gradient = (x @ seen[look].T - y).T @ x / over(x, y)
        return after(seen[start] + sign * rate * gradient, s, b)

    return wrong


def _clipped(new, s, b):
    qmax = 2 ** (b - 1) - 1
    return torch.minimum(torch.maximum(new, -qmax * s), qmax * s)


def _adds_up(run, w, s, b, x, y, rate):
    once = run(w, s, b, x, y, rate) - w
    small = run(w, s, b, x, y, rate / 64) - w
    told = "A step of a 64th of the rate must move w by a 64th: it may not get lost in the rounding."
    return torch.allclose(64 * small, once, rtol=0.02, atol=1e-4) or told


def _layer(seed, tokens, inputs, outputs, b):
    g = torch.Generator().manual_seed(seed)
    w, x = torch.randn(outputs, inputs, generator=g), torch.randn(tokens, inputs, generator=g)
    return w, w.abs().amax(1, keepdim=True) / (2 ** (b - 1) - 1), b, x, x @ w.T


BROKEN = '''
def step(w, s, b, x, y, rate):
    """One step of descent on ½·mean‖x·ŵᵀ − y‖², straight through; no weight is clipped.

    w (out, in) what is trained, s (out, 1) its steps, x (tokens, in), y (tokens, out) what should come out.
    """
    qmax = 2 ** (b - 1) - 1
    w_hat = s * torch.round(w / s).clamp(-qmax, qmax)
    error = x @ w_hat.T - y
    gradient = error.T @ x / len(x)
    return s * torch.round((w_hat - rate * gradient) / s).clamp(-qmax, qmax)
'''

EXERCISE = Exercise(
    id="ch15.step",
    title="The weights that do not move",
    spec="step(w, s, b, x, y, rate): one step of descent on w, the loss being that of the rounded weights.",
    kind="repair",
    stub=BROKEN,
    reference=step,
    cases=[
        Case("one weight", torch.tensor([[0.6]]), torch.tensor([[1.0]]), 2, torch.ones(2, 1), torch.zeros(2, 1), 0.1),
        Case(
            "beyond the last mark", torch.tensor([[2.6]]), torch.ones(1, 1), 2, torch.ones(2, 1), torch.zeros(2, 1), 0.1
        ),
        Case("two tokens", *_layer(0, 2, 2, 1, 3), 0.5),
        Case("one token", *_layer(1, 1, 3, 2, 2), 0.1),
        Case("a small rate", *_layer(2, 8, 4, 3, 2), 0.01),
        Case("a large rate", *_layer(3, 8, 4, 3, 4), 1.0),
    ],
    properties=[
        relation("small steps count", _adds_up, "Many small steps in one direction must add up to a large one."),
        equals_reference(atol=1e-5, rtol=1e-4, why="Two products in float32."),
    ],
    wrong=[
        Wrong(
            "rounded afterwards",
            _variant(after=_round),
            "You begin at w, which is right, and then round what comes out: next time the small step is forgotten.",
        ),
        Wrong(
            "begins at the rounded weights",
            _variant(start="w_hat"),
            "You step from ŵ, and what w had gathered between two marks is gone. Step from w; ŵ is for the loss.",
        ),
        Wrong(
            "the loss of the unrounded weights",
            _variant(look="w"),
            "Your error is that of w. It is ŵ that will be served: round on the way forward.",
        ),
        Wrong(
            "ŵ not clipped",
            _variant(look="unclipped"),
            "Your ŵ goes beyond the last mark, where no code is. Only w may: keep the clamp on the way forward.",
        ),
        Wrong(
            "clipped at the last mark",
            _variant(after=_clipped),
            "You clip the new w. Only ŵ is clipped; w may wander beyond the last mark, and come back.",
        ),
        Wrong(
            "twice as far",
            _variant(sign=-2.0),
            "The ½ of the loss takes away the 2 of the square: the gradient is error.T @ x / len(x), once.",
        ),
        Wrong(
            "uphill",
            _variant(sign=1.0),
            "That goes up. Descent subtracts the gradient.",
        ),
        Wrong(
            "a sum over the tokens",
            _variant(over=lambda x, y: 1),
            "The loss is a mean over the tokens: keep the division by len(x).",
        ),
        Wrong(
            "a mean over tokens and outputs",
            _variant(over=lambda x, y: y.numel()),
            "The squares of a token's outputs are added up (that is ‖ ‖²); only tokens are averaged: len(x).",
        ),
        Wrong(
            "a mean over tokens and inputs",
            _variant(over=lambda x, y: x.numel()),
            "Divide by the number of tokens, not by tokens times inputs.",
        ),
    ],
    hints=[
        "Run it twice with a small rate. Where do the first step's small changes go?",
        "w = 0.6, s = 1: ŵ = 1. x = 1, y = 0: gradient 1. rate 0.1 → w = 0.5. Next time ŵ = 0, and the loss is gone. "
        "From ŵ = 1 it would be 0.9, rounded 1: for ever.",
        "    return ____ - rate * gradient",
    ],
    passed="So there are two sets of weights while one trains: the ones that gather, and the ones that are served.",
)
