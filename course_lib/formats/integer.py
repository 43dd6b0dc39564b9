"""Integer grids int2 … int8: equally spaced levels, with or without a zero point."""

from __future__ import annotations

import torch
from torch import Tensor

from course_lib.formats.registry import Codec, Grid, store_scale
from course_lib.scheme import Scheme


class Integer(Codec):
    """b-bit integers; the scheme's symmetric field picks one of three grids (n = 2^b - 1 steps).

    ===============  =========================  ==============  ======================  ======
    symmetric        s                          z               codes                   dtype
    ===============  =========================  ==============  ======================  ======
    True             max|w| / (2^(b-1) - 1)     none            ±(2^(b-1) - 1)          int8
    "full" (GPTQ)    2 max|w| / n               2^(b-1)         0 … n                   uint8
    False            (hi - lo) / n              round(-lo / s)  0 … n, lo <= 0 <= hi    uint8
    ===============  =========================  ==============  ======================  ======

    encode: q = clip(round(w / s) + z), ties to even; decode: s (q - z). zero_point=None means the first grid.
    With a zero_dtype z = -lo / s is any real number, [lo, hi] need not hold 0, and q = clip(round(w / s + z)). |z| can
    exceed n only where all of a block lies on one side of 0; ValueError where zero_dtype cannot hold it.
    """

    def __init__(self, bits: int):
        self.name, self.bits = f"int{bits}", bits

    def check(self, scheme: Scheme) -> None:
        if scheme.scale_rule is not None:
            raise ValueError(f"{self.name} has no scale_rule (its scales take any value), got {scheme.scale_rule!r}")
        if scheme.scale_dtype == torch.float8_e8m0fnu:
            raise ValueError(f"{self.name} needs a scale_dtype with a mantissa, got torch.float8_e8m0fnu")

    def from_range(self, lo: Tensor, hi: Tensor, scheme: Scheme, tensor_scale: Tensor | None = None) -> Grid:
        n = 2**self.bits - 1
        if scheme.zero_dtype is not None:
            grid = store_scale((hi - lo) / n, scheme, tensor_scale)
            return grid._replace(zero_point=store_zero(-lo / _divisor(grid.step), scheme))
        lo, hi = lo.clamp(max=0), hi.clamp(min=0)
        if scheme.symmetric is False:
            raw = (hi - lo) / n
        else:
            top = torch.maximum(-lo, hi)
            raw = 2 * top / n if scheme.symmetric == "full" else top / (2 ** (self.bits - 1) - 1)
        grid = store_scale(raw, scheme, tensor_scale)
        if scheme.symmetric is True:
            return grid
        if scheme.symmetric == "full":
            return grid._replace(zero_point=torch.full_like(raw, 2 ** (self.bits - 1), dtype=torch.uint8))
        grid = grid._replace(zero_point=torch.zeros_like(raw, dtype=torch.uint8))
        return grid._replace(zero_point=torch.round(-lo / _divisor(grid.step)).clamp(0, n).to(torch.uint8))

    def encode(self, w: Tensor, step: Tensor, zero_point: Tensor | None = None) -> Tensor:
        q = w.float() / _divisor(step)
        if zero_point is not None and zero_point.is_floating_point():
            return q.add_(zero_point.float()).round_().clamp_(0, 2**self.bits - 1).to(torch.uint8)
        q.round_()
        if zero_point is None:
            top = 2 ** (self.bits - 1) - 1
            return q.clamp_(-top, top).to(torch.int8)
        return q.add_(zero_point).clamp_(0, 2**self.bits - 1).to(torch.uint8)

    def decode(self, codes: Tensor, step: Tensor, zero_point: Tensor | None = None) -> Tensor:
        q = codes.float()
        return step * (q if zero_point is None else q - zero_point)

    def round_trip(self, w: Tensor, step: Tensor, zero_point: Tensor | None = None) -> Tensor:
        q, n = w.float() / _divisor(step), 2**self.bits - 1  # all below in place: codes need not leave the cache
        if zero_point is None:
            return q.round_().clamp_(-(n // 2), n // 2).mul_(step)
        zero = zero_point.float()
        q = q.add_(zero).round_() if zero_point.is_floating_point() else q.round_().add_(zero)
        return q.clamp_(0, n).sub_(zero).mul_(step)


def store_zero(raw: Tensor, scheme: Scheme) -> Tensor:
    """Real zero points (..., R, C) as the scheme stores them; ValueError for one that its zero_dtype cannot hold."""
    zero = raw.to(scheme.zero_dtype)
    if not torch.isfinite(zero).all():
        worst = raw[~torch.isfinite(zero)][0].item()
        raise ValueError(f"a zero point of {worst:.4g} does not fit zero_dtype {scheme.zero_dtype}: a block's weights"
                         " lie close together and far from 0; take torch.float32 or larger blocks")  # fmt: skip
    return zero


def _divisor(step: Tensor) -> Tensor:
    """step with 0 replaced by infinity: a block whose stored scale is 0 gets the code of 0, never NaN."""
    return torch.where(step == 0, torch.inf, step)


CODECS = {f"int{bits}": Integer(bits) for bits in range(2, 9)}
