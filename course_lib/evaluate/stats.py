"""How sure a number is: standard errors of means and of ratios over documents, and the interval of a share."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist

import torch
from torch import Tensor


def mean_stderr(values: Tensor | Sequence[float]) -> tuple[float, float]:
    """Mean and its standard error, std / sqrt(n), of independent values; the error of one value is NaN.

    >>> print("{:.1f} {:.4f}".format(*mean_stderr([1.0, 2.0, 3.0])))
    2.0 0.5774
    """
    values = torch.as_tensor(values, dtype=torch.float64)
    return values.mean().item(), _std(values) / math.sqrt(len(values))


def cluster_ratio(numerator: Tensor, denominator: Tensor, cluster: Tensor) -> tuple[float, float]:
    """sum(numerator) / sum(denominator) and its standard error when only whole clusters are independent.

        r = sum_c N_c / sum_c D_c        stderr = sqrt(C / (C - 1) * sum_c (N_c - r D_c)^2) / sum_c D_c

    The linearised ("delta") error of a ratio over C clusters (Cochran 1977, 6.3). Tokens of one document resemble each
    other; treating them as independent would promise too much. numerator, denominator, cluster: one entry a token.

    >>> print("{:.4f} {:.4f}".format(*cluster_ratio(torch.tensor([1.0, 0.0, 1.0]), torch.ones(3), torch.arange(3))))
    0.6667 0.3333
    """
    _, cluster = torch.unique(cluster, return_inverse=True)
    n_c, d_c = (torch.zeros(int(cluster.max()) + 1, dtype=torch.float64).index_add(0, cluster, t.double())
                for t in (numerator, denominator))  # fmt: skip
    ratio, clusters = (n_c.sum() / d_c.sum()).item(), len(n_c)
    if clusters < 2:
        return ratio, math.nan
    spread = (n_c - ratio * d_c).square().sum().item()
    return ratio, math.sqrt(clusters / (clusters - 1) * spread) / d_c.sum().item()


def wilson(successes: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval of a share: sensible at 0 and at 1 too, where the usual error bar has length 0.

        centre = (k + z^2/2) / (n + z^2)      half = z / (n + z^2) * sqrt(k (n - k) / n + z^2 / 4)     (Wilson 1927)

    >>> low, high = wilson(500, 500)
    >>> print(f"{low:.4f} {high:.4f}")                          # 500 of 500 right is not "100 % for sure"
    0.9924 1.0000
    """
    if not 0 <= successes <= n or n < 1:
        raise ValueError(f"successes must be from 0 to n, and n at least 1, got {successes} of {n}")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must be between 0 and 1, got {confidence!r}")
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    centre = (successes + z * z / 2) / (n + z * z)
    half = z / (n + z * z) * math.sqrt(successes * (n - successes) / n + z * z / 4)
    return (centre - half if successes else 0.0), (centre + half if successes < n else 1.0)


def _std(values: Tensor) -> float:
    return values.std().item() if len(values) > 1 else math.nan
