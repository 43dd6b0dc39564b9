"""ch06.hessian: how steeply a row's output error rises, from the activations that flow into the layer."""

import torch

from course_lib.checks import Case, Exercise, Wrong, equals_reference, law, relation
from course_lib.checks.inputs import normal


def hessian(x):
    n = x.shape[0]
    return 2 / n * x.T @ x


def _second_difference(got, x):
    """(e_i)ᵀ H (e_i) / 2 is the mean of x_i²: what column i's error of 1 costs, seen in the outputs themselves."""
    cost = x.square().mean(dim=0)
    off = (got.diagonal() / 2 - cost).abs() > 1e-5 * (1 + cost)
    if not off.any():
        return True
    i = int(off.nonzero()[0])
    return (
        f"If weight {i} is off by 1, the mean squared error of the output is mean(x[:, {i}]²) = {cost[i]:.4g}. "
        f"Half of your H[{i}, {i}] is {got[i, i] / 2:.4g}."
    )


def _square(got, x):
    want = (x.shape[1], x.shape[1])
    return tuple(got.shape) == want or (
        f"x has {x.shape[1]} columns, so H must have shape {want}, and yours has {tuple(got.shape)}: one row and one "
        "column for each weight, not for each token."
    )


def _twice_the_same_text(run, x):
    once, twice = run(x), run(torch.cat([x, x]))
    same = once.shape == twice.shape and torch.allclose(once, twice, rtol=1e-4, atol=1e-6)
    return same or "The same tokens twice give another H. It should be a mean over tokens, and a mean stays the same."


EXERCISE = Exercise(
    id="ch06.hessian",
    title="What the layer sees",
    spec="hessian(x) is H = 2/n · xᵀx, (in, in), for activations x (tokens, in): a mean over tokens.",
    kind="build",
    stub='''
def hessian(x):
    """H (in, in), so that the mean squared output error of an error d (in,) in a row of weights is d @ H @ d / 2."""
    ...
''',
    reference=hessian,
    piece="hessian",
    cases=[
        Case("the two tokens of the checkbook", torch.tensor([[5.0, 0.8], [0.0, 0.6]])),
        Case("one token", torch.tensor([[1.0, -2.0, 0.0]])),
        Case("an input that is always 0", torch.tensor([[1.0, 0.0], [3.0, 0.0], [-1.0, 0.0]])),
        Case("inputs that are not centred", torch.tensor([[3.0, 2.0], [3.5, 2.0], [4.0, 2.5]])),
        Case("opposite inputs", torch.tensor([[1.0, -1.0], [2.0, -2.0], [-0.5, 0.5], [1.5, -1.0]])),
        Case("ten tokens, four inputs", normal(0, 10, 4)),
        Case("three tokens, five inputs", normal(1, 3, 5)),
        Case("as many tokens as inputs", normal(2, 4, 4)),
    ],
    properties=[
        law(
            "one row and one column for each input",
            _square,
            "w has a column for each input, and so has H.",
            any_shape=True,
        ),
        law(
            "half its diagonal is the mean of x²",
            _second_difference,
            "An error in weight i alone: d = (0, …, 1, …, 0).",
        ),
        relation("more of the same changes nothing", _twice_the_same_text, "A mean does not grow with the text."),
        equals_reference(rtol=1e-5, atol=1e-5, why="float32 sums of a few products, in any order."),
    ],
    wrong=[
        Wrong(
            "added up, not averaged",
            lambda x: 2 * x.T @ x,
            "You add up over the tokens, so H grows with the text. Divide by their number: damping and comparisons "
            "between layers then mean the same for every text.",
        ),
        Wrong(
            "x xᵀ, tokens by tokens",
            lambda x: 2 / x.shape[0] * x @ x.T,
            "x @ x.T compares tokens with tokens. The paper writes XXᵀ because its X has a *column* for each token; "
            "ours has a row: x.T @ x.",
        ),
        Wrong(
            "the factor 2 forgotten",
            lambda x: x.T @ x / x.shape[0],
            "The second derivative of d² is 2. It changes no code, but H is then half of what the course calls H.",
        ),
        Wrong(
            "neither averaged nor doubled",
            lambda x: x.T @ x,
            "xᵀx is the core of it. Divide by the number of tokens and multiply by 2.",
        ),
        Wrong(
            "divided by the number of inputs",
            lambda x: 2 / x.shape[1] * x.T @ x,
            "The mean runs over tokens: divide by x.shape[0], not by x.shape[1].",
        ),
        Wrong(
            "divided by all numbers of x",
            lambda x: 2 / x.numel() * x.T @ x,
            "numel() counts tokens times inputs. Divide by the number of tokens only.",
        ),
        Wrong(
            "the mean taken off first",
            lambda x: 2 / x.shape[0] * (x - x.mean(dim=0)).T @ (x - x.mean(dim=0)),
            "That is a covariance. An output also errs by what is the same in every token, so the mean must stay in.",
        ),
        Wrong(
            "the ½ of the docstring built in",
            lambda x: x.T @ x / x.shape[0] / 2,
            "d @ H @ d / 2 is the mean squared error, so H is *twice* the mean of x xᵀ, not half of it.",
        ),
        Wrong(
            "of the mean token",
            lambda x: 2 * torch.outer(x.mean(dim=0), x.mean(dim=0)),
            "You took the mean of the tokens and multiplied then. Multiply first, token by token: loud ones of "
            "opposite sign do not cancel in what an output loses.",
        ),
        Wrong(
            "only the diagonal",
            lambda x: torch.diag(2 * x.square().mean(dim=0)),
            "The diagonal says how loud each input is. The rest says which inputs go together, and one weight can make "
            "up for another only there.",
        ),
        Wrong(
            "only the diagonal, as a vector",
            lambda x: 2 * x.square().mean(dim=0),
            "That is H's diagonal. H is a matrix: also say which inputs go together.",
        ),
        Wrong(
            "absolute values",
            lambda x: 2 / x.shape[0] * x.abs().T @ x.abs(),
            "Two inputs of opposite sign have a negative product, and the sign decides in which direction to make up.",
        ),
    ],
    hints=[
        "The output error of a token is d · x. Square it, take the mean over tokens: d @ (mean of x xᵀ) @ d. Where is "
        "the ½ that the docstring takes?",
        "x = [[5, 0.8], [0, 0.6]]: xᵀx = [[25, 4], [4, 1]], two tokens, so H = 2/2 · xᵀx = [[25, 4], [4, 1]].",
        "def hessian(x):\n    n = x.shape[____]\n    return ____ / n * x.____ @ x",
    ],
    passed="This is all that GPTQ knows of the text. course_lib.calibrate.hessian computes it the same way.",
)
