"""Random whole numbers for the cases of ps08."""

import torch


def draw(seed, *bounds):
    """Whole numbers from a seed, one from each (low, high), both ends included."""
    generator = torch.Generator().manual_seed(seed)
    return [int(torch.randint(lo, hi + 1, (1,), generator=generator)) for lo, hi in bounds]
