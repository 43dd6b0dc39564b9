"""Codes for several weights at once as sets of points: each vector of weights gets the number of its nearest point.

With 2^(k·d) points in d dimensions a weight costs k bits. No code of k bits a weight can bring the mean squared error
of N(0, 1) below D = 2^(-2k) (Shannon, 1959); how near a set of points comes is what these functions are for.
"""

from __future__ import annotations

import torch
from torch import Tensor


def bound(bits: float) -> float:
    """Shannon's D(R) = 2^(-2R) of N(0, 1): the least mean squared error that R bits a weight allow.

    >>> bound(2)
    0.0625
    """
    return 2.0 ** (-2 * bits)


def water_level(power: Tensor, bits: float) -> float:
    """The level θ with mean(max(0, ½·log2(power / θ))) = bits: what the best code leaves wherever it spends any.

    Independent Gaussians of variance power (n,), `bits` each on average: no code leaves less than sum(min(power, θ)),
    whether its words have one length or many. Others of the same variances may be left with less, never with more.
    Kolmogorov (1956), "reverse water-filling"; Cover and Thomas, Elements of Information Theory, theorem 10.3.3. For a
    layer, power is the weights' variance times the eigenvalues of H. ValueError where bits or a power is negative.

    >>> water_level(torch.tensor([16.0, 4.0, 1.0]), 1.0)  # 2, 1 and 0 bits
    1.0
    """
    sorted_ = power.double().sort(descending=True).values
    if power.dim() != 1 or not len(power) or not bits >= 0 or not (sorted_[-1] >= 0 and sorted_[0] < torch.inf):
        raise ValueError(f"power must hold finite variances, 0 or more, and bits be 0 or more, got {power!r}, {bits!r}")
    wet = (sorted_ > 0).sum().clamp_min(1)
    count = torch.arange(1, wet + 1)
    levels = 2 ** ((sorted_[:wet].log2().cumsum(0) - 2 * len(power) * bits) / count)  # if only so many had bits
    return levels.max().item()


def nearest(x: Tensor, points: Tensor) -> Tensor:
    """Numbers (n,) of the nearest of points (m, d) to x (n, d). ValueError where d differs or a set is empty.

    >>> nearest(torch.tensor([[0.2], [0.9]]), torch.tensor([[0.0], [1.0]])).tolist()
    [0, 1]
    """
    if x.dim() != 2 or points.dim() != 2 or x.shape[1] != points.shape[1] or not len(points):
        raise ValueError(f"x (n, d) and points (m, d) must have one d, got {tuple(x.shape)} and {tuple(points.shape)}")
    half = points.square().sum(1) / 2  # ‖x - p‖² is least where x·p - ‖p‖²/2 is greatest
    parts = x.split(max(1, 2**22 // len(points)))
    return torch.cat([(part @ points.T - half).argmax(1) for part in parts])


def distortion(x: Tensor, points: Tensor) -> float:
    """Mean squared error of a weight when each row of x (n, d) becomes its nearest point.

    >>> distortion(torch.tensor([[0.25], [1.0]]), torch.tensor([[0.0], [1.0]]))  # (1/16 + 0) / 2
    0.03125
    """
    return (x - points[nearest(x, points)]).square().mean().item()


def uniform(x: Tensor, m: int) -> Tensor:
    """m equally spaced points (m, 1) around 0 whose step leaves x (n,) the least squared error, to 0.2 %."""
    unit = torch.arange(m) - (m - 1) / 2
    steps = x.std() * 4 / m * torch.arange(0.5, 1.5, 0.002)
    error = [(x - s * ((x / s - unit[0]).round().clamp(0, m - 1) + unit[0])).square().mean() for s in steps]
    return (steps[torch.stack(error).argmin()] * unit)[:, None]


def lloyd(x: Tensor, points: Tensor, rounds: int = 100) -> Tensor:
    """Points (m, d) moved to the mean of those x (n, d) that are nearest to them, again and again.

    Lloyd (1957) and Max (1960) for d = 1, "k-means" beyond: no round makes the error larger. A point that no x is
    nearest to stays where it is.

    >>> lloyd(torch.tensor([[0.0], [1.0], [9.0]]), torch.tensor([[0.0], [5.0]])).flatten().tolist()
    [0.5, 9.0]
    """
    points = points.clone()
    for _ in range(rounds):
        owner = nearest(x, points)
        count = torch.bincount(owner, minlength=len(points))
        total = torch.zeros_like(points).index_add_(0, owner, x)
        points[count > 0] = (total / count.clamp_min(1)[:, None])[count > 0]
    return points


def e8(m: int, shift: float = 0.0) -> Tensor:
    """The m points (m, 8) of the lattice E8, moved by shift along every axis, that are nearest to 0; m up to 65,536.

    E8 holds the vectors of whole numbers, and those of numbers and a half, whose sum is even. Their lengths² are
    0 (1 point), 2 (240), 4 (2160), 6 (6720) and so on. With shift = ¼, as in QuIP#'s E8P, 0 is none of them. (E8P's
    2^16 points are others, chosen so that a table of 256 rows makes them.) Ties: the first in order.

    >>> [int(n) for n in e8(2401).square().sum(1).unique(return_counts=True)[1]]
    [1, 240, 2160]
    """
    if not 1 <= m <= 2**16 or not 0 <= shift <= 0.5:
        raise ValueError(f"m must be from 1 to 65,536 points and shift from 0 to 0.5, got {m!r} and {shift!r}")
    found = torch.cat([_within(torch.arange(-4.0, 5), shift), _within(torch.arange(-4.5, 5), shift)])
    found = found[(found - shift).sum(1) % 2 == 0]
    return found[found.square().sum(1).argsort(stable=True)[:m]]


def _within(values: Tensor, shift: float, most: float = 12.5) -> Tensor:
    """All vectors (n, 8) of such values, moved by shift, whose length² is at most `most`."""
    found = torch.zeros(1, 0)
    for _ in range(8):
        found = torch.cat([found.repeat_interleave(len(values), 0), values.repeat(len(found))[:, None] + shift], 1)
        found = found[found.square().sum(1) <= most]
    return found
