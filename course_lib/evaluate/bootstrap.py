"""How sure is a percentile: draw whole documents again and again, and look how far the figure wanders.

A mean has a formula for its error (`stats.cluster_ratio`). The 99.9 % point of a list of tokens has none, and tokens of
one document are no independent draws. So documents are drawn, with replacement (Efron 1979; the percentile interval).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

DRAWS = 400


def cluster_bootstrap(
    statistic: Callable[[Tensor], float], cluster: Tensor, confidence: float = 0.95, draws: int = DRAWS, seed: int = 0
) -> tuple[float, float]:
    """The middle `confidence` of `statistic(weights)` over `draws` redrawn lists of documents.

    weights (tokens,) float64: how often the token's document was drawn. cluster (tokens,) is its document. ValueError
    for fewer than two documents, from which nothing can be learnt about a third.

    >>> values = torch.tensor([1.0, 1.0, 3.0, 3.0])
    >>> cluster_bootstrap(lambda w: float((w @ values.double()) / w.sum()), torch.tensor([0, 0, 1, 1]))
    (1.0, 3.0)
    """
    _, cluster = torch.unique(cluster, return_inverse=True)
    documents = int(cluster.max()) + 1
    if documents < 2:
        raise ValueError("an interval over documents needs at least two of them, got 1")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must be between 0 and 1, got {confidence!r}")
    generator = torch.Generator().manual_seed(seed)
    found = []
    for _ in range(draws):
        drawn = torch.randint(documents, (documents,), generator=generator)
        found.append(statistic(torch.bincount(drawn, minlength=documents).double()[cluster]))
    ends = torch.tensor([(1 - confidence) / 2, (1 + confidence) / 2], dtype=torch.float64)
    low, high = torch.quantile(torch.tensor(found, dtype=torch.float64), ends).tolist()
    return low, high


def weighted_quantile(values: Tensor, share: float) -> Callable[[Tensor], float]:
    """A function of weights: the least of `values` that at least `share` of the weight does not exceed.

    >>> weighted_quantile(torch.tensor([5.0, 1.0, 3.0]), 0.5)(torch.tensor([1.0, 1.0, 1.0]))
    3.0
    """
    ordered, order = values.sort()

    def at(weights: Tensor) -> float:
        total = weights[order].cumsum(0)
        place = torch.searchsorted(total, share * total[-1])
        return ordered[min(int(place), len(ordered) - 1)].item()

    return at
