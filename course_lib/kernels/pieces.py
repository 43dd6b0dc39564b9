"""Tensors too large for one launch: kernels count the numbers of a tensor in 32 bits, so 2^31 of them are too many.

A long prompt under a wide layer gets there: 20,000 tokens times a head of 128,256 rows are 2.6e9 numbers of y.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from torch import Tensor

LIMIT = 2**31


def in_pieces(multiply: Callable[[Tensor], Tensor], x: Tensor, n: int) -> Tensor:
    """multiply(x) (m, n) of x (m, k), called with so many tokens at a time that x and y have less than LIMIT numbers.

    >>> import torch
    >>> in_pieces(lambda x: 2 * x, torch.ones(3, 1), 1).tolist()
    [[2.0], [2.0], [2.0]]
    """
    most = max(1, (LIMIT - 1) // max(n, x.shape[1], 1))
    if len(x) <= most:
        return multiply(x)
    y = x.new_empty((len(x), n))
    for at in range(0, len(x), most):
        y[at : at + most] = multiply(x[at : at + most])
    return y


def fits(what: str, shape: tuple[int, ...] | list[int]) -> None:
    """ValueError where a tensor of that shape has LIMIT numbers or more.

    >>> fits("codes", (262144, 8192))
    Traceback (most recent call last):
    ValueError: codes must have less than 2^31 numbers, since kernels count in 32 bits, got (262144, 8192)
    """
    if math.prod(shape) >= LIMIT:
        raise ValueError(f"{what} must have less than 2^31 numbers, since kernels count in 32 bits, got {tuple(shape)}")
