"""ps05.q2: factors that cost no digit"""

import torch

from course_lib.checks import Case
from course_lib.grading import Mistake, agrees, question


def exact_factors(x_max, weights, alpha, limit):
    """s (in,): SmoothQuant's factors rounded to powers of two, exponents from -limit to limit; 1 for dead channels."""
    w_max = torch.cat(weights).abs().amax(dim=0)
    log2_s = alpha * x_max.log2() - (1 - alpha) * w_max.log2()
    exponents = log2_s.round().clamp(-limit, limit)
    exponents[(x_max == 0) | (w_max == 0)] = 0  # infinite or NaN until now
    return 2.0**exponents


def _widest(weights):
    return torch.cat(weights).abs().amax(dim=0)


def _power(exponent, limit):
    return 2.0 ** torch.round(exponent).clamp(-limit, limit)


def _factors(x_max, weights, alpha, limit, top=_widest, snap=_power, guard=lambda x, w: (x > 0) & (w > 0)):
    """The reference with one part changed."""
    w_max = top(weights)
    exponent = alpha * torch.log2(x_max) - (1 - alpha) * torch.log2(w_max)
    return torch.where(guard(x_max, w_max), snap(exponent, limit), 1.0)


def _nearest_by_distance(exponent, limit):
    s, below = 2.0**exponent, 2.0 ** exponent.floor()
    return torch.where(s < 1.5 * below, below, 2 * below).clamp(2.0**-limit, 2.0**limit)


def _limited_before_rounding(exponent, limit):
    """A limit on s itself, as if `limit` were a factor."""
    return (2.0 ** torch.round(exponent)).clamp(1 / limit, limit)


NAMES = ("the nearest exponent", "linears that share the inputs", "the floor and the ceiling", "dead channels")

WRONG = [
    Mistake(
        "not rounded",
        lambda *a: _factors(*a, snap=lambda e, limit: 2.0 ** e.clamp(-limit, limit)),
        "Those are SmoothQuant's factors as they come. Asked are powers of two: round the exponent.",
        loses=NAMES,
    ),
    Mistake(
        "nearest by distance",
        lambda *a: _factors(*a, snap=_nearest_by_distance),
        "Factors are compared by ratio: 2.9 lies 1.45 times above 2 and 1.38 times below 4. Round log2(s).",
        loses=NAMES[:2],
    ),
    Mistake(
        "always rounded down",
        lambda *a: _factors(*a, snap=lambda e, limit: _power(e.floor(), limit)),
        "Round to the nearest exponent. floor takes too little out of the loud channels.",
        loses=NAMES,
    ),
    Mistake(
        "always rounded up",
        lambda *a: _factors(*a, snap=lambda e, limit: _power(e.ceil(), limit)),
        "Round to the nearest exponent. ceil takes too much.",
        loses=NAMES,
    ),
    Mistake(
        "only the first linear asked",
        lambda *a: _factors(*a, top=lambda weights: _widest(weights[:1])),
        "All linears behind the norm get the same s: the widest column among all of them decides.",
        loses=NAMES[1:2],
    ),
    Mistake(
        "the linears' maxima added",
        lambda *a: _factors(*a, top=lambda weights: sum(w.abs().amax(dim=0) for w in weights)),
        "The range of a column is its largest weight, not a sum of the largest ones.",
        loses=NAMES[1:2],
    ),
    Mistake(
        "the exponents exchanged",
        lambda x, w, alpha, limit: _factors(x, w, 1 - alpha, limit),
        "α belongs to the inputs, 1 − α to the weights.",
        loses=NAMES,
    ),
    Mistake(
        "no floor",
        lambda *a: _factors(*a, snap=lambda e, limit: 2.0 ** torch.round(e).clamp(max=limit)),
        "A tiny s makes the gain as huge as a large one makes it small: the exponent also has a lower end, −limit.",
        loses=NAMES[2:3],
    ),
    Mistake(
        "no ceiling",
        lambda *a: _factors(*a, snap=lambda e, limit: 2.0 ** torch.round(e).clamp(min=-limit)),
        "The exponent also has an upper end, limit.",
        loses=NAMES[2:3],
    ),
    Mistake(
        "the limit taken for a factor",
        lambda *a: _factors(*a, snap=_limited_before_rounding),
        "`limit` bounds the exponent: s lies between 2^−limit and 2^limit.",
        loses=NAMES,
    ),
    Mistake(
        "dead channels not spared",
        lambda *a: _factors(*a, guard=lambda x, w: torch.full_like(x, True, dtype=torch.bool)),
        "Where x_max or w_max is 0, log2 is infinite, and s ends at a limit or is NaN. Such a channel keeps s = 1.",
        loses=NAMES[3:],
    ),
    Mistake(
        "only dead inputs spared",
        lambda *a: _factors(*a, guard=lambda x, w: x > 0),
        "A column without weights is dead, too: it keeps s = 1.",
        loses=NAMES[3:],
    ),
    Mistake(
        "signs left in",
        lambda *a: _factors(*a, top=lambda weights: torch.cat(weights).amax(dim=0)),
        "w_max is the largest |w|: a column whose loudest weight is negative has one, too.",
        loses=NAMES,
    ),
    Mistake(
        "the mean of the linears' maxima",
        lambda *a: _factors(*a, top=lambda weights: torch.stack([w.abs().amax(dim=0) for w in weights]).mean(0)),
        "The largest |w| of a column over all linears, not a mean of their largest ones.",
        loses=NAMES[1:2],
    ),
    Mistake(
        "exponents instead of factors",
        lambda *a: torch.log2(exact_factors(*a)),
        "Return s itself, 2 to the power of e.",
        loses=NAMES,
    ),
    Mistake(
        "one over s",
        lambda *a: 1 / exact_factors(*a),
        "s grows with the inputs and falls with the weights: you have it upside down.",
        loses=NAMES,
    ),
]
SHARES = (0.54, 0.2, -0.3, 0.56, -0.15, 0.35)  # parts of an exponent; the first rounds up, by distance it would not


def exercise(seed):
    def case(name, offset, rows, exponents, alpha, limit, dead=()):
        """Inputs as loud as these exponents of s ask for; weights of the linears drawn, each widest somewhere."""
        generator = torch.Generator().manual_seed(seed + offset)
        n = len(exponents)
        weights = [torch.randn(r, n, generator=generator) for r in rows]
        for j in range(n):
            k = j % len(rows)
            weights[k][-1, j] = (5.0 + 3 * torch.rand(1, generator=generator).item()) * (-1) ** j
        w_max = _widest(weights)
        x_max = 2.0 ** ((torch.tensor(exponents) + (1 - alpha) * torch.log2(w_max)) / alpha)
        for j, what in dead:
            if what == "x":
                x_max[j] = 0
            for w in weights if what == "w" else ():
                w[:, j] = 0
        return Case(name, x_max, weights, alpha, limit)

    def spread(offset, *whole):
        generator = torch.Generator().manual_seed(seed + offset)
        return [e + f + 0.02 * torch.rand(1, generator=generator).item() for e, f in zip(whole, SHARES, strict=False)]

    one = [
        case("three channels", 0, [2], spread(0, 1, 3, -2), 0.5, 8),
        case("six channels", 1, [4], spread(1, 2, 0, 5, -3, 1, -1), 0.7, 8),
    ]
    several = [
        case("two linears", 2, [2, 3], spread(2, 1, 4, 0, 2), 0.5, 8),
        case("three linears", 3, [3, 1, 2], spread(3, 0, 3, -2, 1, 4, 2), 0.35, 8),
    ]
    ends = [
        case("loud and silent", 4, [3], [6.2, -6.8, 2.3, -1.2], 0.6, 3),
        case("two exponents on each side", 5, [2], [4.2, -3.7, 1.3, -1.25], 0.4, 2),
    ]
    dead = [
        case("a channel that is always 0", 6, [2], [2.3, 1.2, -1.4], 0.5, 6, [(0, "x")]),
        case("a column without weights", 7, [2], [2.3, 3.2, -1.4, 0.8], 0.6, 6, [(1, "w")]),
        case("both", 8, [3], [2.2, 1.3, -2.4, 3.3], 0.7, 6, [(2, "x"), (2, "w"), (0, "w")]),
    ]
    near = dict(ulps=2)
    return question(
        "ps05.q2",
        "Factors that cost no digit",
        "exact_factors(x_max, weights, alpha, limit): powers of two nearest to SmoothQuant's s, within ± limit.",
        exact_factors,
        properties=[
            agrees(NAMES[0], one, "2 to the rounded log2(s).", **near),
            agrees(NAMES[1], several, "The widest column of all linears behind the norm.", **near),
            agrees(NAMES[2], ends, "Exponents from −limit to limit.", **near),
            agrees(NAMES[3], dead, "No input or no weight: s = 1.", **near),
        ],
        wrong=WRONG,
    )
