"""ch07.salient: which channels count, by the size of what flows in."""

import torch

from course_lib.checks import Case, Exercise, Wrong, equals_reference, law
from course_lib.checks.inputs import float32, normal


def salient(x, k):
    return x.abs().mean(dim=0).argsort(descending=True)[:k]


def _by(score, descending=True):
    def variant(x, k):
        return score(x).argsort(descending=descending)[:k]

    return variant


def _rows(x, k):
    return x.abs().mean(dim=1).argsort(descending=True)[:k]


def _how_many(got, x, k):
    if got.dim() != 1 or len(got) != k:
        return f"k is {k}, so {k} number{'s' * (k != 1)} in a row; yours has the shape {tuple(got.shape)}."
    return len(set(got.tolist())) == k or "The same channel stands there twice."


def _louder_first(got, x, k):
    means = x.abs().mean(dim=0)
    chosen = means[got.long()]
    for a, b in zip(got.tolist(), got.tolist()[1:], strict=False):
        if means[a] < means[b]:
            return f"Channel {a} has mean |x| {means[a]:.4g} and stands before channel {b} with {means[b]:.4g}."
    left = [j for j in range(x.shape[1]) if j not in got.tolist()]
    louder = next((j for j in left if len(chosen) and means[j] > chosen.min()), None)
    if louder is None:
        return True
    return (
        f"Channel {louder} is left out. Its mean |x| is {means[louder]:.4g}, that of your last one {chosen.min():.4g}."
    )


EXERCISE = Exercise(
    id="ch07.salient",
    title="Who carries the load?",
    spec="salient(x, k): the k channels of x (tokens, in) with the largest mean |x|, the loudest first.",
    kind="build",
    stub='''
def salient(x, k):
    """Numbers of the k channels of x (tokens, in) with the largest mean |x|, int64 (k,), the loudest first."""
    ...
''',
    reference=salient,
    cases=[
        Case("one token", float32([1.0, 3.0, 2.0]), 2),
        Case("signs that cancel", float32([4.0, 1.0], [-4.0, 1.0]), 1),
        Case("loud once, or always", float32([9.0, 4.0], [0.0, 4.0], [0.0, 4.0]), 1),
        Case("loud once, in the square", float32([6.0, 3.0], [0.0, 3.5], [0.0, 3.0]), 1),
        Case("two tokens, three channels", float32([1.0, 0.5, 2.0], [5.0, 0.5, 3.0]), 2),
        Case("all of them", normal(0, 5, 4), 4),
        Case("eight channels", normal(1, 16, 8) * torch.arange(1.0, 9.0), 3),
    ],
    properties=[
        law("k different channels", _how_many, "One number a channel, each once.", any_shape=True),
        law("nobody louder is left out", _louder_first, "Mean |x| over the tokens is what AWQ calls salience."),
        equals_reference(why="No two channels of a case are equally loud."),
    ],
    wrong=[
        Wrong("the quietest", _by(lambda x: x.abs().mean(0), False), "Sorted upwards: these are the quietest ones."),
        Wrong(
            "signs not taken off",
            _by(lambda x: x.mean(0)),
            "A mean of signed numbers cancels: +4 and −4 are loud, and their mean is 0. Take abs() first.",
        ),
        Wrong(
            "the size of the mean",
            _by(lambda x: x.mean(0).abs()),
            "abs() came too late: inside the mean +4 and −4 have cancelled already.",
        ),
        Wrong(
            "the loudest moment",
            _by(lambda x: x.abs().amax(0)),
            "That is max |x|, SmoothQuant's measure: it asks what must not clip. Here it counts what happens often.",
        ),
        Wrong(
            "mean square",
            _by(lambda x: x.square().mean(0)),
            "That is mean x², the diagonal of GPTQ's H. AWQ takes mean |x|, which one loud token moves less.",
        ),
        Wrong(
            "how loud, not who",
            lambda x, k: x.abs().mean(0).sort(descending=True).values[:k],
            "You return how loud they are. Asked is *which* channels: their numbers, as argsort gives them.",
        ),
        Wrong(
            "in the order of the layer",
            lambda x, k: x.abs().mean(0).argsort(descending=True)[:k].sort().values,
            "The right channels, sorted by number. Asked is the loudest first.",
        ),
        Wrong(
            "spread",
            _by(lambda x: (x - x.mean(0)).square().sum(0)),
            "You measured how much a channel varies. One that is always +5 is loud, too: mean |x|.",
        ),
        Wrong(
            "tokens ranked",
            _rows,
            "You ranked tokens. A channel is a *column* of x: take the mean over dim=0.",
        ),
        Wrong(
            "the loudest last",
            lambda x, k: x.abs().mean(0).argsort()[-k:],
            "Sorted upwards, the last k are the right ones, in the wrong order: descending=True, and then the first k.",
        ),
    ],
    hints=[
        "One number for each channel: how loud it is on average, whatever the sign. Then the places of the k largest.",
        "x = [[1, −5], [3, 1]]: mean |x| = (2, 3). With k = 1 the answer is [1].",
        "    loud = x.____().mean(dim=____)\n    return loud.argsort(descending=____)[:____]",
    ],
    passed="The measure looks at what flows in, and at no weight. That is why AWQ calls itself activation-aware.",
)
