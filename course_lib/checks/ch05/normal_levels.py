"""ch05.normal_levels: the levels of NF4, quantiles of the bell curve with 0 among them."""

import torch

from course_lib.checks import Case, Exercise, Wrong, equals_reference, law


def normal_levels(b):
    n = 2 ** (b - 1)
    p = 1 - (1 / (2 * n) + 1 / (2 * n - 1)) / 4
    above = torch.special.ndtri(torch.linspace(0.5, p, n + 1))  # 0 and n levels above it
    below = -torch.special.ndtri(torch.linspace(0.5, p, n))[1:].flip(0)  # n - 1 levels below it
    return torch.cat([below, above]) / above[-1]


def _p(b):
    n = 2 ** (b - 1)
    return 1 - (1 / (2 * n) + 1 / (2 * n - 1)) / 4


def _sides(b, below, above, p=None):
    """Levels with so many below and above 0 on the way from 1/2 to p."""
    p = _p(b) if p is None else p
    up, down = (torch.special.ndtri(torch.linspace(0.5, p, k + 1))[1:] for k in (above, below))
    return torch.cat([-down.flip(0), torch.zeros(1), up])


def _ends_cut(b):
    n = 2 ** (b - 1)
    levels = torch.special.ndtri(torch.linspace(1 - _p(b), _p(b), 2 * n))
    return levels / levels[-1]


def _middles(b):
    n = 2**b
    levels = torch.special.ndtri((torch.arange(n) + 0.5) / n)
    return levels / levels[-1]


def _unsorted(b):
    levels = normal_levels(b)
    n = 2 ** (b - 1)
    return torch.cat([levels[: n - 1].flip(0), levels[n - 1 :]])


def _divided_apart(b):
    n = 2 ** (b - 1)
    levels = _sides(b, n - 1, n)
    return torch.where(levels < 0, levels / -levels[0] * 0.95, levels / levels[-1])


def _zero_counted(b):
    n = 2 ** (b - 1)
    below, above = (torch.special.ndtri(torch.linspace(0.5, _p(b), k)) for k in (n - 1, n))
    return torch.cat([-below.flip(0), above]) / above[-1]


def _same_steps(b):
    above = torch.special.ndtri(torch.linspace(0.5, _p(b), 2 ** (b - 1) + 1))
    return torch.cat([-above[1:-1].flip(0), above]) / above[-1]


def _zero_twice(b):
    n = 2 ** (b - 1)
    below, above = (torch.special.ndtri(torch.linspace(0.5, _p(b), k)) for k in (n, n))
    return torch.cat([-below.flip(0), above]) / above[-1]


def _one_too_many(b):
    n = 2 ** (b - 1)
    below, above = (torch.special.ndtri(torch.linspace(0.5, _p(b), k)) for k in (n, n + 1))
    return torch.cat([-below.flip(0), above]) / above[-1]


def _has_zero(got, b):
    return bool((got == 0).any()) or f"None of your {2**b} levels is 0; the nearest is {got.abs().min():.4g}."


def _from_minus_one(got, b):
    ends = got.min().item(), got.max().item()
    if got.isnan().any():
        return f"One of your levels is NaN: {[round(v, 3) for v in got.tolist()]}."
    near = abs(ends[0] + 1) < 1e-4 and abs(ends[1] - 1) < 1e-4
    return near or f"Your levels go from {ends[0]:.4g} to {ends[1]:.4g}. The largest |w| of a block has to be −1 or 1."


def _rising(got, b):
    return bool((got.diff() > 0).all()) or f"They do not rise: {[round(v, 3) for v in got.tolist()]}."


EXERCISE = Exercise(
    id="ch05.normal_levels",
    title="Sixteen levels for a bell curve",
    spec="normal_levels(b): 2^(b−1) − 1 levels below 0, 0, 2^(b−1) above it; normal quantiles over the largest.",
    kind="build",
    stub='''
def normal_levels(b):
    """2^b rising levels, float32: with n = 2^(b-1), n above 0 and n - 1 below it, at even steps of probability."""
    n = 2 ** (b - 1)
    p = 1 - (1 / (2 * n) + 1 / (2 * n - 1)) / 4  # the last level: one step more would be infinite
    above = ...  # torch.special.ndtri(probability) is the quantile; from 1/2, which gives 0, to p
    below = ...
    return ...
''',
    reference=normal_levels,
    piece="normal_levels",
    cases=[Case("two bits", 2), Case("three bits", 3), Case("four bits: NF4", 4)],
    properties=[
        law("0 is a level", _has_zero, "A weight of 0 must come back as 0: padding, pruned weights, dead channels."),
        law("from −1 to 1", _from_minus_one, "Times max|w| they must reach the largest weight, whatever its sign."),
        law("rising", _rising, "A code is found by looking for the right place between neighbours."),
        equals_reference(atol=2e-6, why="Quantiles in float32 (bitsandbytes' table was made so, too)."),
    ],
    wrong=[
        Wrong(
            "even steps",
            lambda b: torch.linspace(-1, 1, 2**b),
            "Those are even steps of the *values*, as integers have them. Take even steps of probability: ndtri.",
        ),
        Wrong(
            "as many below as above",
            lambda b: (
                torch.cat([-_sides(b, 0, 2 ** (b - 1))[1:].flip(0), _sides(b, 0, 2 ** (b - 1))[1:]])
                / _sides(b, 0, 2 ** (b - 1))[-1]
            ),
            "With n on each side there is no code left for 0. Below it are only n − 1.",
        ),
        Wrong(
            "0 counted among the others",
            _zero_counted,
            "From ½ the first quantile is 0 itself. For n levels above it take n + 1 numbers; below, n, without the 0.",
        ),
        Wrong(
            "0 twice",
            _zero_twice,
            "Both sides begin with the quantile of ½, which is 0. Let only one keep it, and give that side one more.",
        ),
        Wrong(
            "one level too many",
            _one_too_many,
            "Both sides have kept the 0: leave the first quantile of the side below out, [1:].",
        ),
        Wrong(
            "one row of quantiles",
            _ends_cut,
            "One row of 2^b even steps has no 0 in it. Go from ½ to p once for each side.",
        ),
        Wrong(
            "the middles of equal shares",
            _middles,
            "The middle of each sixteenth is a fair idea, but none of them is 0. Go from ½ to p once for each side.",
        ),
        Wrong(
            "more below than above",
            lambda b: _sides(b, 2 ** (b - 1), 2 ** (b - 1) - 1) / -_sides(b, 2 ** (b - 1), 2 ** (b - 1) - 1)[0],
            "The side with n levels is the positive one.",
        ),
        Wrong(
            "not divided by the largest",
            lambda b: _sides(b, 2 ** (b - 1) - 1, 2 ** (b - 1)),
            "Quantiles go up to about 1.8. The levels are multiplied by max|w|, so the largest one has to be 1.",
        ),
        Wrong(
            "the side below reversed",
            _unsorted,
            "Your negative levels run from 0 downwards. A rising row begins with −1: flip them.",
        ),
        Wrong(
            "the outermost left out below, not the 0",
            _same_steps,
            "Both sides have the same steps, and −1 was left out to get n − 1 of them. The side below has fewer and "
            "wider steps: linspace(0.5, p, n), and of its quantiles the 0 is left out.",
        ),
        Wrong(
            "minus the probability",
            lambda b: torch.where(normal_levels(b) < 0, torch.nan, normal_levels(b)),
            "No probability is negative, so its quantile is NaN. Take the quantile first, and then the minus sign.",
        ),
        Wrong(
            "up to probability 1",
            lambda b: _sides(b, 2 ** (b - 1) - 1, 2 ** (b - 1), p=1.0) / _sides(b, 1, 2 ** (b - 1), p=1.0)[-1],
            "The quantile of probability 1 is infinite. The row ends at p.",
        ),
        Wrong(
            "the sides stretched differently",
            _divided_apart,
            "Both sides end at the same quantile, and one divisor serves both.",
        ),
    ],
    hints=[
        "linspace(0.5, p, k + 1) gives k even steps, and its first quantile is 0. You need it twice, for two k.",
        "b = 2: n = 2, p = 0.854. Above: ndtri of ½, 0.677, 0.854 = 0, 0.459, 1.054. Below: −1.054. Divided by the "
        "largest: −1, 0, 0.436, 1.",
        "    above = torch.special.ndtri(torch.linspace(0.5, p, ____))\n"
        "    below = -torch.special.ndtri(torch.linspace(0.5, p, ____))[1:].____(0)\n"
        "    return torch.cat([below, above]) / ____",
    ],
    passed="Close together where weights are many, far apart where they are few. QLoRA's table, out of one formula.",
)
