"""ch07.break_search: a search that one silent channel switches off, without a word."""

import torch

from course_lib.checks import Wrong
from course_lib.checks.breaks import break_exercise, matrix
from course_lib.checks.inputs import float32
from course_lib.checks.shorten import number


def exponent(x, w):
    """The α of 0, 0.1 … 0.9 that AWQ takes for w (out, in) at 3 bits. Promise: none leaves x @ w.T a smaller error."""
    best, least = 0.0, float("inf")
    for alpha in [k / 10 for k in range(10)]:
        s = x.abs().mean(dim=0) ** alpha
        s = s / (s.max() * s.min()).sqrt()
        step = (w * s).abs().amax(dim=1, keepdim=True).clamp(min=1e-9) / 3
        error = (x @ (torch.round(w * s / step) * step / s - w).T).square().sum()
        if error < least:
            best, least = alpha, error
    return best


def _errors(x, w):
    """The error of every α, where no factor is below 1e-4, as in AWQ's own program: so a silent channel has one."""
    loud, found = x.abs().mean(dim=0), []
    for k in range(10):
        s = (loud ** (k / 10)).clamp(min=1e-4)
        s = s / (s.max() * s.min()).sqrt()
        step = (w * s).abs().amax(dim=1, keepdim=True).clamp(min=1e-9) / 3
        found.append((x @ (torch.round(w * s / step) * step / s - w).T).square().sum().item())
    return found


def right(x, w):
    """The same, with a factor for silent channels."""
    errors = _errors(x, w)
    return errors.index(min(errors)) / 10


def trial(program, layer):
    """(kept?, the α and its error). An error that is only one hundredth larger is rounding, no fault."""
    errors = _errors(*layer)
    alpha = program(*layer)
    error = errors[round(alpha * 10)]
    told = f"α is {alpha:g}, which leaves a squared error of {number(error)}"
    return error <= 1.01 * min(errors) + 1e-9, told


def legal(layer):
    """True, or what is wrong with x and w."""
    x, w = layer
    for t, what, rows in ((x, "x", "tokens"), (w, "w", "outputs")):
        if (said := matrix(t, what, rows, "channels")) is not True:
            return said
    if x.shape[1] != w.shape[1]:
        return f"x has {x.shape[1]} channels, w has {w.shape[1]}. They meet in x @ w.T, so both need as many columns."
    sizes = torch.cat([x.flatten(), w.flatten()]).abs()
    sizes = sizes[sizes > 0]
    fine = not len(sizes) or 1e-3 <= sizes.min() and sizes.max() <= 1e3
    return bool(fine) or "Numbers other than 0 must be from 0.001 to 1000 in size. The fault needs no extreme ones."


def _extreme(layer):
    if any(t.numel() > 64 for t in layer):
        return False  # too many is another mistake
    sizes = torch.cat([t.flatten().abs() for t in layer])
    return not all(size == 0 or 1e-3 <= size <= 1e3 for size in sizes.tolist())  # nan is in no range


def _silent(layer):
    return (layer[0] == 0).all(dim=0)


EXERCISE = break_exercise(
    id="ch07.break_search",
    title="Break it: a search that gives up",
    spec="toy = (x, w): the fewest numbers with which the program takes an α that another one beats by far.",
    program=exponent,
    right=right,
    trial=trial,
    legal=legal,
    name="toy",
    asked="(x (tokens, in), w (out, in)), two float32 matrices with as few numbers as you can",
    answer="torch.tensor([[8.0, 0.0]]), torch.tensor([[0.4, 1.0]])  # channel 1 is silent, channel 0 needs protection",
    wrong=[
        Wrong(
            "one channel",
            (float32([8.0]), float32([0.4])),
            "A single channel's s is divided by itself, so it is 1 for every α. And each output's only weight is its "
            "largest, which lies on a mark. Two channels have to share a step.",
            like=lambda layer: layer[0].shape[1] == 1,
        ),
        Wrong(
            "all channels silent",
            (float32([0.0, 0.0]), float32([0.4, 1.0])),
            "Nothing flows in, so no α makes an error. One channel has to be heard.",
            like=lambda layer: _silent(layer).all(),
        ),
        Wrong(
            "a silent channel, but nothing to protect",
            (float32([8.0, 0.0]), float32([1.0, 0.4])),
            "The search is switched off, and nobody is the worse for it: plain rounding is as good as any other α. "
            "Let the loud channel have a weight that lies between two marks.",
            like=lambda layer: _silent(layer).any(),
        ),
        Wrong(
            "a weight that is 0",
            (float32([8.0, 1.0]), float32([0.4, 0.0])),
            "A column of w may be 0: it stays 0 whatever s is. Look where s comes from.",
            like=lambda layer: (layer[1] == 0).all(dim=0).any(),
        ),
        Wrong(
            "silent for one token only",
            (float32([8.0, 0.0], [8.0, 1.0]), float32([0.4, 1.0])),
            "s is the mean over all tokens, so one token that is heard keeps it above 0.",
            like=lambda layer: (layer[0] == 0).any(),
        ),
        Wrong(
            "very quiet",
            (float32([8.0, 0.001]), float32([0.4, 1.0])),
            "Quiet is not silent. As long as s has no zero in it, every α is tried and compared. What comes of 0 ** α?",
            like=lambda layer: layer[0].abs().mean(0).min() < 0.1,
        ),
        Wrong(
            "loud channels only",
            (float32([8.0, 2.0]), float32([0.4, 1.0])),
            "Every α is tried here, and the best one found. Go through the lines: where is something divided, and by "
            "what?",
            like=lambda layer: True,
        ),
        Wrong(
            "columns that do not meet",
            (float32([8.0, 0.0]), float32([0.4], [1.0])),
            "w is (out, in): one row for each output, one column for each channel of x.",
            like=lambda layer: layer[0].shape[-1] != layer[1].shape[-1],
        ),
        Wrong(
            "extreme numbers",
            (float32([1e30, 1.0]), float32([0.4, 1.0])),
            "Numbers that overflow break nearly every program. This fault shows on ordinary ones.",
            like=_extreme,
        ),
        Wrong(
            "more than it takes",
            (float32([8.0, 0.0, 1.0]), float32([0.4, 1.0, 0.3])),
            "This breaks it. How many tokens, outputs and channels are needed?",
        ),
    ],
    hints=[
        "What is s of a channel in which nothing ever flows, for α = 0 and for α = 0.1? What is 0 / 0, and is that "
        "less than infinity?",
        "x = (5, 0), w = (1, 1): for α = 0.1, s = (1.17, 0), max · min is 0, and s / 0 is (inf, nan). The error is "
        "nan, and nan < least is False, for every α but 0. Here 0 is the best anyway: both weights lie on a mark.",
        "toy = torch.tensor([[____, 0.0]]), torch.tensor([[____, ____]])  # loud; between two marks, the larger one",
    ],
    passed="Nothing crashed, nothing was printed: AWQ was off for this layer. Its own program keeps s at 1e-4 or more.",
)
