"""Formats by name: a Codec turns a range into a grid, numbers into codes, and codes back into numbers."""

from __future__ import annotations

from importlib import import_module
from typing import NamedTuple

import torch
from torch import Tensor

from course_lib import observers
from course_lib.qtensor import QTensor, quantize, step
from course_lib.scheme import Scheme

MODULES = ("integer", "nf4", "microscaling", "affine")  # of course_lib.formats, each with a table CODECS: name -> Codec
_CODECS: dict[str, Codec] = {}


class Grid(NamedTuple):
    """What codes are measured with: scale and zero_point of this shape (..., R, C), tensor_scale (...)."""

    scale: Tensor | QTensor
    zero_point: Tensor | None = None
    tensor_scale: Tensor | None = None
    shape: tuple[int, ...] | None = None  # needed where scale is a QTensor, which holds the scales as one flat row

    @property
    def step(self) -> Tensor:
        """Effective float32 scale of each block, (..., R, C)."""
        return step(self.scale, self.tensor_scale, self.shape)


class Codec:
    """One number format. The three steps stand apart so that GPTQ can find a grid once and encode column by column.

    grid(blocks (..., R, C, n), scheme, observer) -> Grid      which scale and zero point
    encode(w, step, zero_point) -> codes                       elementwise, broadcasts; step is Grid.step
    decode(codes, step, zero_point) -> float32                 elementwise, broadcasts

    A format defines name, bits, check, from_range, encode and decode; one that needs more than (lo, hi) to choose its
    scale overrides grid.
    """

    name: str
    bits: int

    def check(self, scheme: Scheme) -> None:
        """Raise ValueError where the scheme asks for what this format cannot do."""

    def from_range(self, lo: Tensor, hi: Tensor, scheme: Scheme, tensor_scale: Tensor | None = None) -> Grid:
        """Grid that covers [lo, hi], each (..., R, C) float32."""
        raise NotImplementedError

    def encode(self, w: Tensor, step: Tensor, zero_point: Tensor | None = None) -> Tensor:
        """Code of the nearest grid value, ties to even, clipped at the ends."""
        raise NotImplementedError

    def decode(self, codes: Tensor, step: Tensor, zero_point: Tensor | None = None) -> Tensor:
        """The number that each code stands for, float32."""
        raise NotImplementedError

    def round_trip(self, w: Tensor, step: Tensor, zero_point: Tensor | None = None) -> Tensor:
        """decode(encode(w)), but for the sign of a zero, in a new tensor; searches spend their time here."""
        return self.decode(self.encode(w, step, zero_point), step, zero_point)

    def grid(self, blocks: Tensor, scheme: Scheme, observer=None, tensor_scale: Tensor | None = None) -> Grid:
        """Grid of blocks (..., R, C, n); tensor_scale, if given, is kept (found once on the whole matrix)."""
        lo, hi = observers.observe(blocks, scheme, observer)
        return self.from_range(lo, hi, scheme, tensor_scale)


def register(codec: Codec) -> Codec:
    """Make a codec known by its name, beside those of MODULES."""
    _CODECS[codec.name] = codec
    return codec


def get(name: str) -> Codec:
    """The codec of this name; ValueError lists the known ones.

    >>> get("int4").bits
    4
    """
    if name not in _CODECS:
        _load()
    if name not in _CODECS:
        raise ValueError(f"format must be one of {', '.join(names())}, got {name!r}")
    return _CODECS[name]


def names() -> list[str]:
    """Names of all registered formats, sorted."""
    _load()
    return sorted(_CODECS)


def _load() -> None:
    """Fill the table with every module's CODECS; what register put there stays."""
    for module in MODULES:
        for name, codec in import_module(f"course_lib.formats.{module}").CODECS.items():
            _CODECS.setdefault(name, codec)


def store_scale(raw: Tensor, scheme: Scheme, tensor_scale: Tensor | None = None) -> Grid:
    """Round raw float32 scales (..., R, C) to what is stored: the scheme's dtype, tensor scale or quantized scales.

    A block of zeros gets s = 1: any s decodes it to exactly 0, and 1 has a reciprocal, which kernels and files need.
    A scale below the smallest number of the dtype becomes that number, so that error <= s/2 still holds.
    ValueError for a scale above the largest number of the dtype; under a tensor scale it saturates.
    """
    info = torch.finfo(scheme.scale_dtype)
    if scheme.tensor_scale:
        if tensor_scale is None:
            top = raw.amax((-2, -1))
            tensor_scale = torch.where(top > 0, top / info.max, 1.0)
        raw = (raw / tensor_scale[..., None, None]).clamp(max=info.max)
    if scheme.scale_scheme is not None:
        return Grid(quantize(raw.reshape(1, -1), scheme.scale_scheme, pad=True), None, tensor_scale, raw.shape)
    if not raw.max() <= info.max:
        raise ValueError(f"a scale of {raw.max().item():.4g} does not fit scale_dtype {scheme.scale_dtype} (largest"
                         f" {info.max:.4g}): take a wider scale_dtype or divide w by a constant first")  # fmt: skip
    raw = torch.where(raw > 0, raw.clamp(min=info.tiny * info.eps), 1.0)  # tiny * eps: the smallest subnormal
    return Grid(raw.to(scheme.scale_dtype), None, tensor_scale, raw.shape)
