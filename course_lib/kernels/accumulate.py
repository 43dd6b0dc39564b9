"""What a long sum loses in a matrix unit that keeps few bits of it: a model of FP8 products on a Hopper GPU.

Hopper's units add 32 products to a running sum at a time. All 33 are shifted to the exponent of the largest, and of
each some 14 bits stay (DeepSeek-V3's report, arXiv 2412.19437, section 3.3.2). So while a sum grows, ever more of what
is added falls off its end, always toward zero. The cure is two levels: after 128 columns the short sum goes into a
float32, which keeps 24 bits, and the unit begins again at 0. `w8a8_tiles` does that.

An H200 does what the model says (benchmarks/results/accumulate-h200.json): positive numbers over 28672 columns lost
36.8 % on the chip and 36.8 % in the model, over 4096 columns 6.6 % in both, and 0.05 % with two levels.
"""

from __future__ import annotations

import numpy as np

STEP = 32  # columns that one matrix instruction takes


def product(x: np.ndarray, w: np.ndarray, columns: int | None = None, bits: int = 14) -> np.ndarray:
    """x (m, k) · wᵀ (n, k) as such a unit sums it -> (m, n); with `columns` a float32 takes over after so many.

    >>> x, w = np.ones((1, 8192)), np.ones((1, 8192))
    >>> float(product(x, w)[0, 0]), float(product(x, w, bits=6)[0, 0]), float(product(x, w, 128, bits=8)[0, 0])
    (8192.0, 64.0, 8192.0)
    """
    sums = np.zeros((len(x), len(w)))
    whole = np.zeros((len(x), len(w)), np.float32)
    for at in range(0, x.shape[1], STEP):
        terms = x[:, None, at : at + STEP] * w[None, :, at : at + STEP]
        terms = np.concatenate([terms, sums[..., None]], axis=2)
        unit = np.ldexp(1.0, np.frexp(np.abs(terms).max(2, keepdims=True))[1] - bits)
        sums = (np.trunc(terms / unit) * unit).sum(2)
        if columns and (at + STEP) % columns == 0:
            whole += sums.astype(np.float32)
            sums[:] = 0
    return whole + sums
