"""NF4: sixteen levels that a bell curve would fill equally, times the largest |w| of a block (QLoRA)."""

from __future__ import annotations

import torch
from torch import Tensor

from course_lib.formats.registry import Codec, Grid, store_scale
from course_lib.scheme import Scheme

BLOCK, SCALES_BLOCK = 64, 256
# Dettmers et al., "QLoRA" (2023), appendix E: float32, as bitsandbytes and torchao have them
LEVELS = (-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635,
          -0.18477343022823334, -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725,
          0.24611230194568634, 0.33791524171829224, 0.44070982933044434, 0.5626170039176941, 0.7229568362236023,
          1.0)  # fmt: skip


def scheme(double: bool = True) -> Scheme:
    """NF4 in blocks of 64 of a row; double=True stores the scales in 8 bits, 256 of them under one float32 scale.

    >>> scheme().name
    'nf4 g64 sym (scales int8 g256 asym)'
    """
    scales = Scheme.int(8, symmetric=False, group=SCALES_BLOCK) if double else None
    return Scheme("nf4", (1, BLOCK), scale_scheme=scales)


def normal_levels(bits: int) -> Tensor:
    """2^bits levels in [-1, 1]: quantiles of the normal distribution, 0 among them, divided by the largest; float32.

    With n = 2^(bits-1), the positive ones are the quantiles at n even steps from p down to 1/2 (which is 0), the
    negative ones those at n - 1 even steps, mirrored. p = 1 - (1/(2n) + 1/(2n - 1)) / 4 keeps the ends finite.
    For 4 bits these are LEVELS, within 2e-7 (those were computed in single precision).

    >>> [round(v, 3) for v in normal_levels(2).tolist()]
    [-1.0, 0.0, 0.436, 1.0]
    """
    n = 2 ** (bits - 1)
    p = 1 - (1 / (2 * n) + 1 / (2 * n - 1)) / 4
    above = torch.special.ndtri(torch.linspace(0.5, p, n + 1, dtype=torch.float64))  # 0 and n positive ones
    below = -torch.special.ndtri(torch.linspace(p, 0.5, n, dtype=torch.float64)[:-1])  # n - 1 negative ones
    return (torch.cat([below, above]) / above[-1]).float()


class NF4(Codec):
    """w ≈ step · LEVELS[code], step = max|w| of the block; codes 0 … 15 in uint8, 7 is the code of 0.

    A tie goes to the lower code, as in bitsandbytes. The table is symmetric only in name: it has 7 negative levels
    and 8 positive ones.
    """

    name, bits = "nf4", 4

    def check(self, scheme: Scheme) -> None:
        if scheme.symmetric is not True:
            raise ValueError(f"nf4 has no zero point: symmetric must be True, got {scheme.symmetric!r}")
        if scheme.scale_rule is not None:
            raise ValueError(f"nf4 has no scale_rule (its scales take any value), got {scheme.scale_rule!r}")
        if scheme.scale_dtype == torch.float8_e8m0fnu:
            raise ValueError("nf4 needs a scale_dtype with a mantissa, got torch.float8_e8m0fnu")

    def from_range(self, lo: Tensor, hi: Tensor, scheme: Scheme, tensor_scale: Tensor | None = None) -> Grid:
        return store_scale(torch.maximum(-lo, hi), scheme, tensor_scale)

    def encode(self, w: Tensor, step: Tensor, zero_point: Tensor | None = None) -> Tensor:
        levels = torch.tensor(LEVELS, device=w.device)
        borders = (levels[1:] + levels[:-1]) / 2
        return torch.bucketize(w.float() / torch.where(step == 0, torch.inf, step), borders).to(torch.uint8)

    def decode(self, codes: Tensor, step: Tensor, zero_point: Tensor | None = None) -> Tensor:
        return step * torch.tensor(LEVELS, device=codes.device)[codes.long()]


CODECS = {"nf4": NF4()}
