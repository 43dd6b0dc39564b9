"""Bytes of weights: parameters times bits, plus the scales and zero points that every packed format also stores.

GB is 10^9 bytes (vendors of disks and of bandwidth), GiB is 2^30 bytes (memory, and what tools print as "G").
The two differ by 7.4 %, so nothing here is ever called "gig": a function says which one it returns.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from fractions import Fraction
from numbers import Real
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from course_lib.scheme import Scheme

GB = 10**9
GIB = 2**30


def gb(n_bytes: float) -> float:
    """Bytes in gigabytes of 10^9 bytes.

    >>> gb(35_000_000_000)
    35.0
    """
    return n_bytes / GB


def gib(n_bytes: float) -> float:
    """Bytes in gibibytes of 2^30 bytes.

    >>> round(gib(35_000_000_000), 2)
    32.6
    """
    return n_bytes / GIB


def weight_bytes(
    params: float | Sequence[int],
    bits: float | Scheme,
    group: int | None = None,
    scale_bits: int = 16,
    zero_bits: float = 0,
) -> int:
    """Bytes of `params` weights at `bits` bits each, with a scale and a zero point per `group` weights if one is given.

        bytes = ceil(params * bits / 8) + ceil(ceil(params / group) * (scale_bits + zero_bits) / 8)

    `params` is a count, or a shape (..., out, in) when `bits` is a Scheme, whose blocks then give the exact bytes
    that `quantize` stores. A group of None is the ideal figure without metadata. Fractions of a bit are fine (4.25).

    >>> weight_bytes(7e9, 4), weight_bytes(7e9, 4, group=128)
    (3500000000, 3609375000)
    """
    if hasattr(bits, "block"):
        if group is not None:
            raise ValueError(f"group must be left out when a Scheme is given (the scheme has its own), got {group!r}")
        return _scheme_bytes(params, bits)
    codes = _ceil_bytes(_count(params), _bits(bits, "bits"))
    return codes + (metadata_bytes(params, group, scale_bits, zero_bits) if group is not None else 0)


def metadata_bytes(params: float | Sequence[int], group: int, scale_bits: int = 16, zero_bits: float = 0) -> int:
    """Bytes of one scale and one zero point per `group` weights: ceil(params / group) * (scale_bits + zero_bits) / 8.

    >>> metadata_bytes(70e9, group=128)
    1093750000
    """
    if not isinstance(group, int) or isinstance(group, bool) or group < 1:
        raise ValueError(f"group must be a positive whole number of weights, got {group!r}")
    per_group = _bits(scale_bits, "scale_bits", zero_ok=True) + _bits(zero_bits, "zero_bits", zero_ok=True)
    return _ceil_bytes(-(-_count(params) // group), per_group)


def bits_per_weight(bits: float, group: int | None = None, scale_bits: int = 16, zero_bits: float = 0) -> float:
    """Stored bits per weight: bits + (scale_bits + zero_bits) / group.

    >>> bits_per_weight(4, group=128), bits_per_weight(4, group=32, zero_bits=4)
    (4.125, 4.625)
    """
    return float(bits) if group is None else bits + (scale_bits + zero_bits) / group


def mixed_bytes(parts: Iterable[tuple[float, float]]) -> int:
    """Bytes of a model whose parts have different widths; `parts` is a list of (params, bits).

    >>> round(gib(mixed_bytes([(114.71e9, 4.25), (2.12e9, 16)])), 1)      # gpt-oss-120b
    60.7
    """
    return sum(_ceil_bytes(_count(params), _bits(bits, "bits")) for params, bits in _parts(parts))


def usable(capacity: float, reserve: float = 0.2) -> float:
    """What is left of a memory of `capacity` (any unit) when a share `reserve` is kept for cache and runtime.

    >>> usable(8)                                                         # an 8 GB card
    6.4
    """
    if not 0 <= reserve < 1:
        raise ValueError(f"reserve must be a share from 0 up to, but not including, 1, got {reserve!r}")
    return capacity * (1 - reserve)


def _scheme_bytes(params: float | Sequence[int], scheme: Scheme) -> int:
    """Codes, scales, zero points, tensor scales of a tensor; of a bare count too, if blocks have a fixed size."""
    count, matrices = _count(params), 1
    if isinstance(params, Sequence):
        from course_lib.qtensor import grid_shape

        blocks, matrices = math.prod(grid_shape(params, scheme.block)), math.prod(params[:-2])
    elif -1 in scheme.block:
        raise ValueError(f"params must be a shape (out, in) for whole-axis blocks {scheme.block}, got {params!r}")
    else:
        blocks = -(-count // math.prod(scheme.block))
    if scheme.scale_scheme is not None:
        scales = _scheme_bytes((1, blocks), scheme.scale_scheme)
    else:
        scales = blocks * scheme.scale_dtype.itemsize
    zeros = _ceil_bytes(blocks, Fraction(scheme.bits)) if scheme.symmetric is False else 0
    return _ceil_bytes(count, Fraction(scheme.bits)) + scales + zeros + (4 * matrices if scheme.tensor_scale else 0)


def _ceil_bytes(count: int, bits: Fraction) -> int:
    return math.ceil(count * bits / 8)


def _parts(parts: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    parts = list(parts)
    if not parts or any(not isinstance(part, (tuple, list)) or len(part) != 2 for part in parts):
        raise ValueError(f"parts must be a list of (params, bits) pairs, got {parts!r}")
    return parts


def _count(params: float | Sequence[int]) -> int:
    if isinstance(params, Real) and not isinstance(params, bool):
        if math.isfinite(params) and params > 0 and params == int(params):
            return int(params)
    elif isinstance(params, Sequence) and params and all(isinstance(n, int) and n > 0 for n in params):
        return math.prod(params)
    raise ValueError(f"params must be a positive whole number of weights or a shape, got {params!r}")


def _bits(bits: float, name: str, zero_ok: bool = False) -> Fraction:
    """The exact decimal that was typed (4.25, 4.9), so that no byte is lost to binary rounding."""
    ok = isinstance(bits, Real) and not isinstance(bits, bool) and 0 <= bits <= 64
    if not ok or (bits == 0 and not zero_ok):
        raise ValueError(f"{name} must be bits {'from 0 to' if zero_ok else 'above 0, at most'} 64, got {bits!r}")
    return Fraction(str(bits))
