"""What every layout has to say: which schemes it holds, how a QTensor becomes named tensors, and the way back."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from course_lib.qtensor import QTensor
from course_lib.scheme import Scheme


@dataclass(frozen=True)
class Facts:
    """What config.json claims about the codes; every tensor is held against it. group -1 is a whole row.

    `layers` holds the facts of single layers that differ, None for one that is not quantized; `of` picks a layer's.
    `mode` is MLX's word for how codes become numbers.
    """

    bits: int
    group: int
    symmetric: bool | str  # "full" or False, as in Scheme
    layers: dict[str, Facts | None] = field(default_factory=dict)
    mode: str = "affine"

    def of(self, name: str) -> Facts:
        """The facts of the layer of this name, which has codes; ValueError where there should be none."""
        if (found := self.layers.get(name, self)) is None:
            raise ValueError(f"{name}: has codes, and config.json says that it is not quantized")
        return found

    def scheme(self, scale_dtype: torch.dtype) -> Scheme:
        """The Scheme of a linear whose scales are stored in `scale_dtype`."""
        return Scheme.int(self.bits, self.symmetric, None if self.group == -1 else self.group, scale_dtype=scale_dtype)

    def groups(self, columns: int, name: str) -> int:
        """Number of scales in a row of `columns` weights; ValueError where the group does not divide it."""
        if self.group == -1:
            return 1
        if columns % self.group:
            raise ValueError(f"{name}: group_size {self.group} of config.json does not divide its {columns} columns")
        return columns // self.group


class Layout:
    """One way to lay a QTensor out in a safetensors file.

    name         what `save(layout=...)` takes
    method       `quant_method` in config.json
    marker       the tensor that tells a quantized linear: "<linear>.<marker>"
    keys         where config.json holds what `config` returns
    embeddings   whether embeddings may be quantized, too; `load` decodes them
    experts      whether the experts of a mixture lie one by one
    bits, symmetric, scale_dtypes    what it can hold

    A layout defines pack, unpack, config and facts; `check` refuses what it cannot hold.
    """

    name: str
    method: str
    marker = "qweight"
    keys: tuple[str, ...] = ("quantization_config",)
    embeddings = False
    experts = True
    bits: tuple[int, ...]
    symmetric: tuple[bool | str, ...] = ("full", False)
    scale_dtypes: tuple[torch.dtype, ...] = (torch.float16,)

    def pack(self, name: str, q: QTensor) -> dict[str, Tensor]:
        """Suffix -> tensor of one linear."""
        raise NotImplementedError

    def suffixes(self, facts: Facts) -> tuple[str, ...]:
        """The tensors of one linear."""
        raise NotImplementedError

    def unpack(self, name: str, parts: dict[str, Tensor], shape: tuple[int, int], facts: Facts) -> QTensor:
        """The QTensor of a linear of `shape` (out, in), every tensor checked before it is used."""
        raise NotImplementedError

    def config(self, qtensors: dict[str, QTensor], left: list[str]) -> dict:
        """`quantization_config` for these linears; `left` names the linears that stay at 16 bits."""
        raise NotImplementedError

    def facts(self, config: dict) -> Facts:
        """What a `quantization_config` claims; ValueError where it claims what cannot be read."""
        raise NotImplementedError

    def check(self, qtensors: dict[str, QTensor]) -> Scheme:
        """The one scheme of all linears, or one sentence about what this layout cannot hold."""
        schemes = {q.scheme: name for name, q in qtensors.items()}
        if len(schemes) > 1:
            (a, first), (b, second), *_ = schemes.items()
            raise ValueError(f"layout {self.name!r} holds one scheme for all linears, got {a.name!r} in {first} and"
                             f" {b.name!r} in {second}")  # fmt: skip
        (scheme,) = schemes
        self.check_scheme(scheme)
        for name, q in qtensors.items():
            self.check_one(name, q)
        return scheme

    def check_scheme(self, scheme: Scheme) -> None:
        """Refuse a scheme that this layout cannot hold."""
        if scheme.format != f"int{scheme.bits}" or scheme.bits not in self.bits or scheme.block[0] != 1:
            raise ValueError(f"layout {self.name!r} holds integers of {_or(self.bits)} bits with one scale a row or a"
                             f" group of a row, got {scheme.name!r}")  # fmt: skip
        if not any(scheme.symmetric is allowed for allowed in self.symmetric):
            allowed = _or(f"symmetric={s!r}" for s in self.symmetric)
            raise ValueError(f"layout {self.name!r} holds all 2^{scheme.bits} codes and their zero points: expected"
                             f" {allowed}, got symmetric={scheme.symmetric!r}")  # fmt: skip
        if scheme.scale_dtype not in self.scale_dtypes or scheme.scale_scheme is not None:
            raise ValueError(f"layout {self.name!r} stores each scale in 16 bits, and codes must be computed with the"
                             f" stored scale: quantize with scale_dtype={_or(self.scale_dtypes)}, got"
                             f" {scheme.name!r} with {scheme.scale_dtype}")  # fmt: skip
        if scheme.zero_dtype is not None:
            raise ValueError(f"layout {self.name!r} stores each zero point as a whole number of {scheme.bits} bits:"
                             f" quantize without zero_dtype, got {scheme.name!r}")  # fmt: skip

    def dtype(self, scheme: Scheme) -> torch.dtype:
        """The dtype of all that is not quantized: that of the scales."""
        return scheme.scale_dtype

    def check_one(self, name: str, q: QTensor) -> None:
        """Refuse one QTensor that this layout cannot hold."""
        if q.codes.dim() != 2 or tuple(q.codes.shape) != q.shape:
            raise ValueError(f"{name}: layouts hold matrices without padding, got codes {tuple(q.codes.shape)} for a"
                             f" weight of shape {q.shape}")  # fmt: skip
        if not torch.isfinite(q.scale).all():
            raise ValueError(f"{name}: every scale must be finite, got NaN or infinity")
        if q.scheme.symmetric == "full" and not (q.zero_point == 2 ** (q.scheme.bits - 1)).all():
            raise ValueError(f'{name}: symmetric="full" means a zero point of {2 ** (q.scheme.bits - 1)} everywhere')


def words(codes: int, bits: int) -> int:
    """int32 words that `codes` codes fill.

    >>> words(32, 3)
    3
    """
    return math.ceil(codes * bits / 32)


def whole_words(name: str, shape: tuple[int, int], bits: int, layout: str) -> None:
    """ValueError unless both axes of (out, in) fill int32 words to the last bit."""
    period = 32 // math.gcd(bits, 32)
    if any(n % period for n in shape):
        raise ValueError(f"{name}: layout {layout!r} packs {bits}-bit codes in runs of {period} along both axes, got a"
                         f" weight of shape {shape}")  # fmt: skip


def expect(name: str, tensor: Tensor, dtypes: tuple[torch.dtype, ...], shape: tuple[int, ...]) -> None:
    """ValueError unless a stored tensor has one of these dtypes and exactly this shape."""
    if tensor.dtype not in dtypes or tuple(tensor.shape) != shape:
        raise ValueError(f"{name}: expected {_or(dtypes)} of shape {shape}, got {tensor.dtype} of shape"
                         f" {tuple(tensor.shape)}")  # fmt: skip


def finite(name: str, values: Tensor, what: str = "scale") -> None:
    """ValueError for a scale (or what else it is) that is NaN or infinite."""
    if not torch.isfinite(values).all():
        raise ValueError(f"{name}: every {what} must be finite, got NaN or infinity")


def claim(config: dict, key: str, allowed, default=None):
    """config[key] if it is one of `allowed`, types included; ValueError otherwise."""
    value = config.get(key, default)
    if not any(type(value) is type(a) and value == a for a in allowed):
        raise ValueError(f"quantization_config: {key} must be {_or(map(repr, allowed))}, got {value!r}")
    return value


def group_size(config: dict) -> int:
    """`group_size` of a config: -1 or a whole number from 1 on."""
    value = config.get("group_size")
    if type(value) is not int or (value < 1 and value != -1):
        raise ValueError(f"quantization_config: group_size must be -1 or at least 1, got {value!r}")
    return value


def _or(values) -> str:
    *head, last = [str(v) for v in values]
    return f"{', '.join(head)} or {last}" if head else last
