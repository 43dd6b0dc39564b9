"""Floating point in eight bits and fewer: sign, exponent, mantissa, and what each format does at its ends.

A code s e m stands for (-1)^s 2^(e - bias) (1 + m / 2^M), or (-1)^s 2^(1 - bias) m / 2^M where e = 0.
Sources: OCP 8-bit Floating Point Specification 1.0, OCP Microscaling Formats 1.0, Noune et al. 2022 for FNUZ.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

_CHUNK = 1 << 17  # float32 numbers worked on at a time, so that what lies between stays in the processor's cache


@dataclass(frozen=True)
class Minifloat:
    """One format as a table of its properties.

    ==============  ===================================================================================
    exponent        bits of the exponent
    mantissa        bits of the mantissa
    bias            what is taken off the exponent
    special         "ieee": the top exponent is inf and NaN; "fn": only s.1…1 is NaN; "fnuz": only the code
                    of -0 is NaN; "finite": every code is a number
    signed          False for E8M0, which is a power of two and neither 0 nor negative
    ==============  ===================================================================================
    """

    name: str
    exponent: int
    mantissa: int
    bias: int
    special: str
    signed: bool = True

    @property
    def bits(self) -> int:
        return self.signed + self.exponent + self.mantissa

    @functools.cached_property
    def values(self) -> np.ndarray:
        """The number of every code, float64: 2^bits of them, NaN and infinities among them."""
        if not self.signed:
            return np.append(2.0 ** (np.arange(255.0) - self.bias), np.nan)
        half = 2 ** (self.bits - 1)
        code = np.arange(half)
        e, m = code >> self.mantissa, code & (2**self.mantissa - 1)
        fraction = m / 2**self.mantissa
        v = np.where(e > 0, 2.0 ** (e - self.bias) * (1 + fraction), 2.0 ** (1 - self.bias) * fraction)
        if self.special == "ieee":
            v = np.where(e == 2**self.exponent - 1, np.where(m == 0, np.inf, np.nan), v)
        elif self.special == "fn":
            v[-1] = np.nan
        both = np.concatenate([v, -v])
        if self.special == "fnuz":
            both[half] = np.nan
        return both

    @functools.cached_property
    def magnitudes(self) -> np.ndarray:
        """The finite numbers of the codes from 0 up, in ascending order."""
        half = self.values[: 2 ** (self.bits - 1)] if self.signed else self.values
        return half[np.isfinite(half)]

    @property
    def max(self) -> float:
        """The largest finite number."""
        return float(self.magnitudes[-1])

    @property
    def nan_code(self) -> int | None:
        """The code that a NaN becomes; None where the format has none."""
        found = np.flatnonzero(np.isnan(self.values[: 2 ** (self.bits - 1)] if self.signed else self.values))
        return int(found[-1]) if len(found) else {"fnuz": 2 ** (self.bits - 1)}.get(self.special)

    @property
    def inf_code(self) -> int | None:
        """The code of +infinity, or None."""
        found = np.flatnonzero(np.isposinf(self.values))
        return int(found[0]) if len(found) else None


FORMATS = {
    f.name: f
    for f in (
        Minifloat("e4m3fn", 4, 3, 7, "fn"),
        Minifloat("e4m3fnuz", 4, 3, 8, "fnuz"),
        Minifloat("e5m2", 5, 2, 15, "ieee"),
        Minifloat("e5m2fnuz", 5, 2, 16, "fnuz"),
        Minifloat("e3m2", 3, 2, 3, "finite"),
        Minifloat("e2m3", 2, 3, 1, "finite"),
        Minifloat("e2m1", 2, 1, 1, "finite"),
        Minifloat("e8m0", 8, 0, 127, "fn", signed=False),
    )
}


def get(name: str) -> Minifloat:
    """The format of this name; ValueError lists the known ones.

    >>> get("e4m3fn").max, get("e2m1").max
    (448.0, 6.0)
    """
    if name not in FORMATS:
        raise ValueError(f"name must be one of {', '.join(FORMATS)}, got {name!r}")
    return FORMATS[name]


def encode(x, name: str, saturate: bool = True):
    """Codes uint8 of x: the nearest number, ties to the even code, rounded once from x's own precision.

    A tie in e8m0, which has no even numbers, goes to the larger one, as IEEE 754-2019 (4.3.1) has it for one digit.

    saturate  True: what lies beyond the largest number, infinity too, becomes the largest number.
              False: it becomes infinity where the format has one, else NaN; a format without either still saturates.
    A number beyond means: it would round to the next number up, were there one. NaN becomes the format's NaN.

    A tensor gives a tensor, an array or a number an array. ValueError for NaN where the format has none, and for
    e8m0, which has neither 0 nor sign, where x is not positive.

    >>> encode(torch.tensor([0.25, 0.75, 2.5, 5.0, 100.0]), "e2m1").tolist()  # ties to even; 6 is the largest
    [0, 2, 4, 6, 7]
    """
    f = get(name)
    if saturate and f.signed and isinstance(x, Tensor) and x.is_floating_point() and x.itemsize <= 4:
        quick = _from_float32(x.detach().float(), f)
        if quick is not None:
            return quick
    values = _float64(x)
    if f.nan_code is None and np.isnan(values).any():
        raise ValueError(f"x must hold no NaN, for which {name} has no code")
    if not f.signed and (values <= 0).any():
        raise ValueError(f"x must be positive: {name} has neither 0 nor negative numbers")
    size, grid = np.abs(values), f.magnitudes
    codes = np.searchsorted((grid[1:] + grid[:-1]) / 2, size)  # at a midpoint: the lower one
    tie = (codes < len(grid) - 1) & (size == (grid + np.append(grid[1:], np.inf))[codes] / 2)
    codes = (codes + (tie & ((codes % 2 == 1) | (not f.signed)))).astype(np.uint8)
    negative = np.signbit(values) & ~np.isnan(values)
    if not saturate:
        over = f.inf_code if f.inf_code is not None else f.nan_code
        step = grid[-1] - grid[-2]
        limit = grid[-1] + (step if f.signed else grid[-1]) / 2  # halfway to the number that would come next
        beyond = (size > limit) | ((size == limit) & (len(grid) % 2 == 0 or not f.signed))
        codes = codes if over is None else np.where(beyond, over, codes).astype(np.uint8)
        negative &= ~beyond | (over != f.nan_code) | (f.special != "fnuz")
    if f.special == "fnuz":
        negative &= codes > 0  # the code of -0 is NaN
    codes = np.where(negative, codes | (1 << (f.bits - 1)), codes)
    if f.nan_code is not None:
        codes = np.where(np.isnan(values), f.nan_code, codes)
    codes = codes.astype(np.uint8)
    return torch.from_numpy(codes).to(x.device) if isinstance(x, Tensor) else codes


def decode(codes, name: str):
    """float32 numbers of codes uint8; a tensor for a tensor, an array for an array.

    >>> decode(torch.tensor([1, 126, 254], dtype=torch.uint8), "e4m3fn").tolist()
    [0.001953125, 448.0, -448.0]
    """
    f = get(name)
    given = codes.detach().cpu().numpy() if isinstance(codes, Tensor) else np.asarray(codes)
    if given.dtype != np.uint8 or (given.size and given.max() >= 2**f.bits):
        raise ValueError(f"codes must be uint8 from 0 to {2**f.bits - 1}, got {given.dtype}")
    values = f.values.astype(np.float32)[given]
    return torch.from_numpy(values).to(codes.device) if isinstance(codes, Tensor) else values


def _from_float32(x: Tensor, f: Minifloat) -> Tensor | None:
    """Saturating codes uint8 of float32 x by integer arithmetic on its bits, some at a time; None if one is NaN.

    With 2^e <= |x| < 2^(e+1), and e no less than that of the smallest normal number, steps are 2^(e-M) wide. Adding
    2^(e+23-M) makes float32's own addition round to whole steps and leaves their number, 2^M … 2^(M+1), in the last
    bits of the sum. The code is that number, less 2^M, after the exponent's bits; all modulo 256, as bytes wrap.
    """
    cut = 23 - f.mantissa
    rest = ((f.bias - 127) * 2**f.mantissa - 2**f.mantissa) % 256
    codes = torch.empty(x.shape, dtype=torch.uint8, device=x.device)
    flat, out = x.contiguous().view(-1), codes.view(-1)
    scratch = torch.empty(2, min(_CHUNK, x.numel()), device=x.device)
    for part, to in zip(flat.split(_CHUNK), out.split(_CHUNK), strict=True):
        size, power = scratch[:, : len(part)]
        torch.abs(part, out=size).clamp_(max=f.max)  # clamp keeps NaN
        if len(part) and size.max().isnan():
            return None
        code, exponent = size.view(torch.int32), power.view(torch.int32)
        torch.bitwise_and(code, 0x7F800000, out=exponent)
        power.clamp_(min=2.0 ** (1 - f.bias))  # 2^e
        size.add_(power, alpha=2.0**cut)  # code sees the bits of the sum
        code.add_(exponent.bitwise_right_shift_(cut))
        torch.bitwise_right_shift(part.view(torch.int32), 31, out=exponent)  # -1 where x is negative
        to.copy_(code.sub_(exponent, alpha=1 << (f.bits - 1))).add_(rest)
        if f.special == "fnuz":
            to.masked_fill_(to == f.nan_code, 0)  # the code of -0 is NaN
    return codes


def _float64(x) -> np.ndarray:
    """x as float64, exactly."""
    if isinstance(x, Tensor):
        if not x.is_floating_point():
            raise TypeError(f"x must be a floating-point tensor, got {x.dtype}")
        return x.detach().double().cpu().numpy()
    values = np.asarray(x)
    if values.dtype.kind not in "fiu" or values.dtype.itemsize > 8:
        raise TypeError(f"x must hold numbers of at most 64 bits, got {values.dtype}")
    return values.astype(np.float64)
