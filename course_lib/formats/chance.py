"""Stochastic rounding: up or down by chance, so that the mean is right (Forsythe, 1950).

P(up) = (x - down) / (up - down),   so E[rounded] = x,   and E[(rounded - x)²] = s²/6 on a grid of step s,
where rounding to the nearest has s²/12: both for x that lie anywhere between two marks
"""

from __future__ import annotations

import torch
from torch import Tensor


def rounded(x: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Each x as one of its two neighbouring whole numbers: floor(x + u) with u uniform in [0, 1). Whole x stay.

    >>> drawn = rounded(torch.full((10_000,), 2.25), torch.Generator().manual_seed(0))
    >>> drawn.unique().tolist(), round(drawn.mean().item(), 1)
    ([2.0, 3.0], 2.2)
    """
    u = torch.rand(x.shape, generator=generator, dtype=torch.float64, device=x.device)
    return torch.floor(x.double() + u).to(x.dtype)


def to_bfloat16(x: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """float32 x as bfloat16, up or down by chance; ∞, NaN and what bfloat16 has stay as they are.

    bfloat16 is the upper half of float32's 32 bits. A random number is added to the lower half, which is then cut off:
    it carries into the upper one as often as the lower half is large.

    >>> to_bfloat16(torch.tensor([1.0, -0.5]))
    tensor([ 1.0000, -0.5000], dtype=torch.bfloat16)
    """
    if x.dtype != torch.float32:
        raise TypeError(f"x must be float32, got {x.dtype}")
    bits = x.contiguous().view(torch.int32)
    chance = torch.randint(0, 2**16, x.shape, generator=generator, dtype=torch.int32, device=x.device)
    cut = ((bits + chance) & -(2**16)).view(torch.float32)
    return torch.where(x.isfinite(), cut, x).bfloat16()
