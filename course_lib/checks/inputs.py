"""Inputs of an exercise's cases, written as short as their numbers."""

import torch


def float32(*rows) -> torch.Tensor:
    """A float32 tensor: float32(1, 2) is a vector, float32([1, 2], [3, 4]) a matrix."""
    return torch.tensor(rows, dtype=torch.float32)


def int8(*rows) -> torch.Tensor:
    """Signed codes, rows as in `float32`."""
    return torch.tensor(rows, dtype=torch.int8)


def uint8(*rows) -> torch.Tensor:
    """Unsigned codes or bytes, rows as in `float32`."""
    return torch.tensor(rows, dtype=torch.uint8)


def normal(seed: int, *shape: int) -> torch.Tensor:
    """Standard normal numbers of this shape, the same for the same seed.

    >>> normal(0, 2, 3).shape, bool((normal(0, 4) == normal(0, 4)).all())
    (torch.Size([2, 3]), True)
    """
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))
