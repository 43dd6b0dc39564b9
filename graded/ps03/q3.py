"""ps03.q3: each group chooses its own clip"""

import math

import torch

from course_lib.checks import Case, law
from course_lib.grading import Mistake, agrees, on, question


def searched(w, bits, group, ratios):
    """Per group of w (rows, cols) the ratio of max|w| whose scale has the least squared error: codes and scales."""
    qmax = 2 ** (bits - 1) - 1
    blocks = w.unflatten(-1, (-1, group))
    top = blocks.abs().amax(-1, keepdim=True)
    least = torch.full_like(top, math.inf)
    codes, scale = torch.zeros_like(blocks), torch.ones_like(top)
    for ratio in ratios:
        s = torch.where(top > 0, ratio * top / qmax, 1.0)
        q = torch.clip(torch.round(blocks / s), -qmax, qmax)
        error = ((blocks - s * q) ** 2).sum(-1, keepdim=True)
        better = error < least
        least = torch.where(better, error, least)
        codes = torch.where(better, q, codes)
        scale = torch.where(better, s, scale)
    return {"codes": codes.flatten(-2).to(torch.int8), "scale": scale.squeeze(-1)}


def _errors(w, bits, group, ratios, power=2, low=0, clipped=True, top=None, empty=1.0, clip=True):
    """Codes, scales and errors of every ratio: (ratios, rows, groups, …)."""
    qmax = 2 ** (bits - 1) - 1
    blocks = w.unflatten(-1, (-1, group))
    top = top(blocks) if top else blocks.abs().amax(-1, keepdim=True)
    s = torch.stack([torch.where(top != 0, r * top / qmax, empty if empty else r / qmax) for r in ratios])
    q = torch.round(blocks / s)
    q = torch.clip(q, -qmax - low, qmax) if clip else q
    target = blocks if clipped else torch.minimum(torch.maximum(blocks, -s * qmax), s * qmax)
    return q, s, ((target - s * q).abs() ** power).sum(-1, keepdim=True)


def _pick(q, s, chosen):
    take = chosen.unsqueeze(0)
    codes = q.gather(0, take.expand(1, *q.shape[1:]))[0]
    return {"codes": codes.flatten(-2).to(torch.int8), "scale": s.gather(0, take)[0].squeeze(-1)}


def _searched(w, bits, group, ratios, **how):
    q, s, error = _errors(w, bits, group, ratios, **how)
    return _pick(q, s, error.argmin(0))


def _one_ratio(w, bits, group, ratios):
    q, s, error = _errors(w, bits, group, ratios)
    best = error.flatten(1).sum(1).argmin()
    return _pick(q, s, torch.full(error.shape[1:], int(best)))


def _last_of_equals(w, bits, group, ratios):
    q, s, error = _errors(w, bits, group, ratios)
    return _pick(q, s, len(ratios) - 1 - error.flip(0).argmin(0))


def _no_search(w, bits, group, ratios):
    return searched(w, bits, group, [1.0])


def _zero_scale(w, bits, group, ratios):
    result = searched(w, bits, group, ratios)
    top = w.unflatten(-1, (-1, group)).abs().amax(-1)
    return {**result, "scale": torch.where(top > 0, result["scale"], 0.0)}


RATIOS = [1.0, 0.9, 0.8, 0.7, 0.6]


def _telling(w, bits, group):
    """Whether every group's best ratio wins clearly, no weight is near a tie, and the usual mistakes show."""
    q, s, error = _errors(w, bits, group, RATIOS)
    best = error.sort(0).values
    steps = w.unflatten(-1, (-1, group)) / s
    if ((best[1] - best[0]) < 1e-3 * best[1]).any() or ((steps % 1 - 0.5).abs() < 1e-4).any():
        return False
    right = searched(w, bits, group, RATIOS)
    others = [_no_search, lambda *a: _searched(*a, power=1), lambda *a: _searched(*a, low=1)]
    others += [_one_ratio] if error[0].numel() > 1 else []
    found = [other(w, bits, group, RATIOS) for other in others]
    return not any(torch.equal(right["scale"], f["scale"]) and torch.equal(right["codes"], f["codes"]) for f in found)


def _searchable(seed, n_rows, cols, group, bits):
    """Weights (n_rows, cols) with heavy tails, drawn until they are telling."""
    generator = torch.Generator().manual_seed(seed)
    drawn = (torch.randn(n_rows, cols, generator=generator) ** 3 * 0.05 for _ in range(100_000))
    return next(w for w in drawn if _telling(w, bits, group))


NAMES = ("one group", "every group its own ratio", "the least error in every group",
         "zeros, and equally good ratios")  # fmt: skip


def _across(w, bits, group, ratios):
    """Groups of weights that lie cols / group apart."""
    apart = w.unflatten(-1, (group, -1)).transpose(-1, -2)
    result = searched(apart.flatten(-2), bits, group, ratios)
    return {**result, "codes": result["codes"].unflatten(-1, (-1, group)).transpose(-1, -2).flatten(-2)}


def _ratio_for_scale(w, bits, group, ratios):
    q, s, error = _errors(w, bits, group, ratios)
    best = error.argmin(0)
    zero = w.unflatten(-1, (-1, group)).abs().amax(-1) == 0
    return {**_pick(q, s, best), "scale": torch.where(zero, 1.0, torch.tensor(ratios)[best.squeeze(-1)])}


def _worst(w, bits, group, ratios):
    q, s, error = _errors(w, bits, group, ratios)
    return _pick(q, s, error.argmax(0))


WRONG = [
    Mistake(
        "one ratio for all groups",
        _one_ratio,
        "You summed the error over the whole matrix; each group may choose a ratio of its own.",
        loses=NAMES[1:3],
    ),
    Mistake(
        "no search",
        _no_search,
        "This is the plain maximum, ratio 1.0, in every group.",
        loses=NAMES,
    ),
    Mistake(
        "absolute errors",
        lambda *a: _searched(*a, power=1),
        "The choice goes by the sum of squares: a few large errors hurt more than many small ones.",
        loses=NAMES[:3],
    ),
    Mistake(
        "clipping costs nothing",
        lambda *a: _searched(*a, clipped=False),
        "You compared with the clipped weights. What clipping cuts off is error, too.",
        loses=NAMES,
    ),
    Mistake(
        "one code too many below",
        lambda *a: _searched(*a, low=1),
        "The grid is symmetric, −qmax … qmax, as in chapter 01.",
        loses=NAMES[:2],
    ),
    Mistake(
        "the last of equals",
        _last_of_equals,
        "Among equally good ratios the first in the list wins: replace only when the error is smaller.",
        loses=NAMES[3:],
    ),
    Mistake(
        "a scale of zero",
        _zero_scale,
        "A group of zeros gets the scale 1.0: somebody will divide by it.",
        loses=NAMES[3:],
    ),
    Mistake(
        "not clipped",
        lambda *a: _searched(*a, clip=False),
        "With a ratio below 1 some weights round to more than qmax, which has no code: clip, and count the cost.",
        loses=(NAMES[0], NAMES[1], NAMES[3]),
    ),
    Mistake(
        "the maximum, not the largest magnitude",
        lambda *a: _searched(*a, top=lambda blocks: blocks.amax(-1, keepdim=True)),
        "max|w| is the largest magnitude; a group's largest weight may be negative.",
        loses=NAMES[:3],
    ),
    Mistake(
        "the maximum of the row",
        lambda *a: _searched(
            *a, top=lambda blocks: blocks.abs().amax((-1, -2), keepdim=True).expand(*blocks.shape[:-1], 1)
        ),
        "Each group has a max|w| of its own; yours is that of the whole row.",
        loses=NAMES[1:],
    ),
    Mistake(
        "groups of distant weights",
        _across,
        "A group is a run of neighbours in a row: unflatten to (cols / group, group), not to (group, cols / group).",
        loses=NAMES[1:],
    ),
    Mistake(
        "zeros with a searched scale",
        lambda *a: _searched(*a, empty=0.0),
        "A group of zeros gets the scale 1.0 itself, not a ratio of it over qmax.",
        loses=NAMES[3:],
    ),
    Mistake(
        "the ratio, not the scale",
        _ratio_for_scale,
        "Return s = ratio · max|w| / qmax: with the ratio alone nobody can decode.",
        loses=NAMES,
    ),
    Mistake(
        "the most error",
        _worst,
        "You kept the ratio with the largest error, not with the least.",
        loses=NAMES,
    ),
]


def exercise(seed):
    one = [
        Case("one group of 16, 3 bits", _searchable(seed, 1, 16, 16, 3), 3, 16, RATIOS),
        Case("one group of 32, 4 bits", _searchable(seed + 1, 1, 32, 32, 4), 4, 32, RATIOS),
    ]
    many = [
        Case("four groups of 8, 3 bits", _searchable(seed + 2, 1, 32, 8, 3), 3, 8, RATIOS),
        Case("groups of 16, 4 bits", _searchable(seed + 3, 2, 64, 16, 4), 4, 16, RATIOS),
        Case("a group a row, 3 bits", _searchable(seed + 4, 3, 16, 16, 3), 3, 16, RATIOS),
    ]
    zeros = torch.zeros(1, 8)
    zeros[0, 4:] = torch.tensor([7.0, 1.0, -3.0, 2.0]) * 0.5
    odd = [
        Case("a group of zeros", zeros, 4, 4, RATIOS),
        Case("equal errors", torch.tensor([[3.0, -3.0, 0.0, 3.0]]), 3, 4, [0.5, 1.5, 1.0, 2.0]),
        Case("the best of ratios in no order", torch.tensor([[3.0, -1.0, 2.0, 1.0]]), 3, 4, [1.0, 3.0, 1.5]),
        Case("the last one", torch.tensor([[1.0, 3.0, -2.0, -1.0]]), 3, 4, [3.0, 1.5, 1.0]),
        Case("all equally bad", torch.tensor([[1.0, 1.0]]), 2, 2, [0.75, 1.25]),
    ]
    near = dict(ulps=4)

    def least(got, w, bits, group, ratios):
        mine = (
            w.unflatten(-1, (-1, group)) - got["scale"].unsqueeze(-1) * got["codes"].unflatten(-1, (-1, group))
        ) ** 2
        return bool((mine.sum(-1, keepdim=True) <= _errors(w, bits, group, ratios)[2].amin(0) * (1 + 1e-5)).all())

    return question(
        "ps03.q3",
        "Each group chooses its own clip",
        "searched(w, bits, group, ratios) picks, for each group, the ratio of max|w| with the least squared error.",
        searched,
        properties=[
            agrees(NAMES[0], one, "Try every ratio, measure, keep the best.", **near),
            agrees(NAMES[1], many, "Groups differ, and so do their best clips.", **near),
            on(many, law(NAMES[2], least, "That is what the search is for.")),
            agrees(NAMES[3], odd, "The first ratio wins; a group of zeros has scale 1.", **near),
        ],
        wrong=WRONG,
    )
