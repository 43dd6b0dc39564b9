"""Block-scaled floats: OCP's MX formats (32 elements, a power of two as scale) and NVFP4 (16, E4M3, a tensor scale).

w ≈ scale · tensor_scale · element. Sources: OCP Microscaling Formats (MX) 1.0; NVIDIA's NVFP4; "Four Over Six" (2025).
torchao 0.18 multiplies by 1/scale where we divide by the scale. Powers of two make no difference; under NVFP4 a number
within a rounding error of a midpoint may get the other code (2 bytes of 8 million in benchmarks/microscaling_speed.py).
"""

from __future__ import annotations

import torch
from torch import Tensor

from course_lib.formats import minifloat
from course_lib.formats.registry import Codec, Grid, store_scale
from course_lib.qtensor import QTensor
from course_lib.qtensor import quantize as quantize_blocks
from course_lib.scheme import Scheme

RULES = ("floor", "ceil", "even", "rceil")
FOUR_OVER_SIX = "four-over-six"
E8M0, E4M3 = torch.float8_e8m0fnu, torch.float8_e4m3fn
_CHUNK = 1 << 20  # numbers that are divided and encoded at a time
_LOWEST, _HIGHEST = -127, 127  # exponents that an E8M0 byte can hold


def power_of_two(amax: Tensor, largest: float, mantissa: int, rule: str = "floor") -> Tensor:
    """Exponent of the scale 2^k of a block whose largest magnitude is amax (...), whole numbers in float32.

    With p the exponent of the element format's largest number (2 for E2M1, whose largest is 6 = 1.5 · 2²):

    floor   k = floor(log2 amax) - p          OCP's rule: numbers above `largest` · 2^k are clipped
    ceil    k = ceil(log2 amax) - p           nothing clips, but up to one bit of range is left unused
    even    as floor, after rounding amax to the elements' precision
    rceil   k = ceil(log2(amax / largest))    the smallest scale that clips nothing
    """
    p = torch.frexp(torch.tensor(largest))[1].item() - 1
    if rule == "rceil":
        fraction, k = torch.frexp(amax / largest)
        k = torch.where(fraction == 0.5, k - 1, k)
    else:
        fraction, k = torch.frexp(amax)  # amax = fraction · 2^k, fraction in [0.5, 1)
        k = k - 1 - p
        k = torch.where(fraction > 0.5, k + 1, k) if rule == "ceil" else k
        if rule == "even":  # from half a unit of the elements' last place below 1, fraction rounds to 1
            k = torch.where(fraction >= 1 - 2.0 ** -(mantissa + 2), k + 1, k)
    return torch.where(amax > 0, k, _LOWEST).clamp(_LOWEST, _HIGHEST).float()


class Element(Codec):
    """Elements of one format in blocks under one scale each; what the scale is depends on the scheme.

    scale_dtype E8M0 (MX): 2^k by scheme.scale_rule, "floor" if none is named.
    any other dtype: max|w| / largest, rounded to that dtype; with tensor_scale in two levels (NVFP4), where
    scale_rule="four-over-six" lets each block map its largest number on 6 or on 4, whichever errs less.
    """

    largest: float
    mantissa: int

    def check(self, scheme: Scheme) -> None:
        if scheme.symmetric is not True:
            raise ValueError(f"{self.name} has no zero point: symmetric must be True, got {scheme.symmetric!r}")
        known = RULES if scheme.scale_dtype == E8M0 else ()
        if scheme.tensor_scale and self.name == "e2m1":
            known = (FOUR_OVER_SIX,)
        if scheme.scale_rule is not None and scheme.scale_rule not in known:
            names = ", ".join(known) or "none"
            raise ValueError(f"scale_rule must be one of {names} for these scales, got {scheme.scale_rule!r}")
        if scheme.tensor_scale and scheme.scale_dtype == E8M0:
            raise ValueError("tensor_scale=True needs a scale_dtype with a mantissa, got torch.float8_e8m0fnu")

    def from_range(self, lo: Tensor, hi: Tensor, scheme: Scheme, tensor_scale: Tensor | None = None) -> Grid:
        amax = torch.maximum(-lo, hi)
        if scheme.scale_dtype == E8M0:
            k = power_of_two(amax, self.largest, self.mantissa, scheme.scale_rule or "floor")
            return Grid(torch.ldexp(torch.ones_like(k), k.int()).to(E8M0), None, None, amax.shape)
        if not scheme.tensor_scale:
            return store_scale(amax / self.largest, scheme)
        cap = 256.0 if scheme.scale_rule == FOUR_OVER_SIX else torch.finfo(scheme.scale_dtype).max
        if tensor_scale is None:
            top = amax.amax((-2, -1))
            smallest = torch.finfo(torch.float32).smallest_normal
            tensor_scale = torch.where(top > 0, (top / (self.largest * cap)).clamp(min=smallest), 1.0)
        return Grid(self._block_scale(amax / self.largest, tensor_scale, scheme), None, tensor_scale, amax.shape)

    def _block_scale(self, raw: Tensor, tensor_scale: Tensor, scheme: Scheme) -> Tensor:
        info = torch.finfo(scheme.scale_dtype)
        scaled = raw / tensor_scale[..., None, None]
        return scaled.clamp(info.tiny, info.max).to(scheme.scale_dtype)

    def grid(self, blocks: Tensor, scheme: Scheme, observer=None, tensor_scale: Tensor | None = None) -> Grid:
        six = super().grid(blocks, scheme, observer, tensor_scale)
        if scheme.scale_rule != FOUR_OVER_SIX:
            return six
        wider = blocks.abs().amax(-1) / 4.0
        four = six._replace(scale=self._block_scale(wider, six.tensor_scale, scheme))
        errors = []
        for grid in (six, four):
            step = grid.step[..., None]
            errors.append((self.decode(self.encode(blocks, step), step) - blocks).square().sum(-1))
        return six._replace(scale=torch.where(errors[1] < errors[0], four.scale.float(), six.scale.float()).to(E4M3))


class Float(Element):
    """Minifloat elements; what lies beyond the largest number is clipped to it."""

    def __init__(self, name: str):
        self.name, f = name, minifloat.get(name)
        self.bits, self.largest, self.mantissa = f.bits, f.max, f.mantissa

    def encode(self, w: Tensor, step: Tensor, zero_point: Tensor | None = None) -> Tensor:
        step = torch.where(step == 0, torch.inf, step)
        if w.numel() <= _CHUNK or step.dim() != w.dim() or len(step) != len(w):
            return minifloat.encode(w.float() / step, self.name)
        rows = max(1, _CHUNK * len(w) // w.numel())
        parts = zip(w.split(rows), step.split(rows), strict=True)  # no second array as large as w
        return torch.cat([minifloat.encode(part.float() / its_step, self.name) for part, its_step in parts])

    def decode(self, codes: Tensor, step: Tensor, zero_point: Tensor | None = None) -> Tensor:
        return step * minifloat.decode(codes, self.name)


class Int8(Element):
    """MXINT8: whole numbers -127 … 127 in units of 1/64, so that the largest is just below 2."""

    name, bits, largest, mantissa = "mxint8", 8, 127 / 64, 6

    def encode(self, w: Tensor, step: Tensor, zero_point: Tensor | None = None) -> Tensor:
        return (w.float() / step * 64).round_().clamp_(-127, 127).to(torch.int8)

    def decode(self, codes: Tensor, step: Tensor, zero_point: Tensor | None = None) -> Tensor:
        return step * (codes.float() / 64)


CODECS = {c.name: c for c in (*map(Float, ("e4m3fn", "e5m2", "e3m2", "e2m3", "e2m1")), Int8())}
NAMED = {  # name: (element format, block size)
    "mxfp8_e4m3": ("e4m3fn", 32), "mxfp8_e5m2": ("e5m2", 32), "mxfp6_e3m2": ("e3m2", 32), "mxfp6_e2m3": ("e2m3", 32),
    "mxfp4": ("e2m1", 32), "mxint8": ("mxint8", 32), "nvfp4": ("e2m1", 16),
}  # fmt: skip


def scheme(name: str, scale_rule: str | None = None) -> Scheme:
    """The Scheme of a named format; scale_rule None or "floor", "ceil", "even", "rceil", or "four-over-six" for nvfp4.

    >>> scheme("mxfp4").name, scheme("nvfp4").name
    ('e2m1 g32 sym float8_e8m0fnu', 'e2m1 g16 sym e4m3 +tensor scale')
    """
    if name not in NAMED:
        raise ValueError(f"name must be one of {', '.join(NAMED)}, got {name!r}")
    element, block = NAMED[name]
    if name == "nvfp4":
        return Scheme(element, (1, block), scale_dtype=E4M3, tensor_scale=True, scale_rule=scale_rule)
    return Scheme(element, (1, block), scale_dtype=E8M0, scale_rule=scale_rule)


def quantize(x: Tensor, name: str, scale_rule: str | None = None, pad: bool = False) -> QTensor:
    """x (..., rows, cols) in a named block format, such as "mxfp4" or "nvfp4", blocks along the last axis.

    pad=True fills rows up to whole blocks with zeros. ValueError for NaN, infinity, and rows that do not divide.

    >>> quantize(torch.tensor([[6.5] + 31 * [1.0]]), "mxfp4").scale.float().item()  # 6.5 is clipped to 6
    1.0
    """
    return quantize_blocks(x, scheme(name, scale_rule), pad=pad)
