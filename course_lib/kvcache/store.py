"""Where quantized keys or values lie: packed codes with a scale and an offset a group, or FP8 with one scale in all.

    integers   x̂ = low + s · q,   s = (max - min) / (2^b - 1),   low = min,   q = round((x - low) / s)
    fp8        x̂ = s · e4m3(x / s), clipped at ±448

A group is `group` tokens of one channel ("channel") or `group` channels of one token ("token"). s and low are rounded
to float16 first and codes are computed with the rounded ones. Source: Liu et al. 2024 (KIVI), equation 2.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
from torch import Tensor

from course_lib.formats.packing import pack
from course_lib.kvcache.format import KVFormat, channel_group

FP8 = torch.float8_e4m3fn
FP8_MAX = torch.finfo(FP8).max


def store(format: KVFormat, axis: str) -> IntStore | Fp8Store:
    """An empty store for keys (axis = format.key_axis) or values (axis = format.value_axis)."""
    return Fp8Store(format) if format.name == "fp8" else IntStore(format, axis)


class Fp8Store:
    """E4M3 codes of x (batch, kv_heads, tokens, dim) and one float32 scale, fixed when the first tokens come."""

    def __init__(self, format: KVFormat):
        self.format, self.codes, self.scale = format, None, None

    @property
    def tokens(self) -> int:
        return 0 if self.codes is None else self.codes.shape[2]

    def append(self, x: Tensor) -> None:
        """Add tokens; a number beyond 448 · scale becomes the largest one, as no engine tells you."""
        if self.codes is None:
            fixed = self.format.scale
            measured = (x.abs().amax().float() / FP8_MAX).clamp(min=torch.finfo(torch.float32).tiny)
            self.scale = measured if fixed is None else torch.tensor(fixed, dtype=torch.float32, device=x.device)
        codes = (x.float() / self.scale).clamp(-FP8_MAX, FP8_MAX).to(FP8)
        self.codes = codes if self.codes is None else torch.cat([self.codes, codes], 2)

    def decode(self) -> Tensor:
        """All tokens, float32: seven bits of E4M3 are the exponent and mantissa of a float16 256 times as small."""
        bits = self.codes.view(torch.int8).short().bitwise_left_shift_(8)
        bits = bits.bitwise_right_shift_(1).bitwise_and_(-0x4001)  # the sign stays, the seven bits move down by one
        return bits.view(torch.float16).float().mul_(256 * self.scale)  # six times as fast as codes.float()

    def cut(self, tokens: int) -> None:
        """Keep only the first so many tokens, a multiple of the group."""
        self.codes = self.codes[:, :, :tokens].clone() if tokens else None

    def each(self, change: Callable[[Tensor], Tensor]) -> None:
        """Replace every tensor with a batch axis by change(tensor)."""
        self.codes = change(self.codes)

    @property
    def tensors(self) -> list[Tensor]:
        return [t for t in (self.codes, self.scale) if t is not None]


class IntStore:
    """Packed codes of x (batch, kv_heads, tokens, dim), scales and lows; tokens come in whole groups for "channel"."""

    def __init__(self, format: KVFormat, axis: str):
        self.format, self.axis = format, axis
        self.codes = self.scale = self.low = None
        self.dim = 0

    @property
    def tokens(self) -> int:
        return 0 if self.codes is None else self.codes.shape[2]

    def append(self, x: Tensor) -> None:
        """Quantize and pack more tokens; ValueError where a range does not fit float16."""
        codes, scale, low = encode(x, self.format, self.axis)
        self.dim = x.shape[-1]
        packed = pack(codes, self.format.bits)
        if self.codes is None:
            self.codes, self.scale, self.low = packed, scale, low
        else:
            self.codes = torch.cat([self.codes, packed], 2)
            self.scale, self.low = torch.cat([self.scale, scale], 2), torch.cat([self.low, low], 2)

    def decode(self) -> Tensor:
        """All tokens, float32: bytes to codes, then low + scale · code for each group."""
        q = _unpacked(self.codes, self.format.bits)[..., : self.dim]
        grouped = _grouped(q, self.format, self.axis)  # a view: what follows writes into q
        grouped.mul_(self.scale.float()).add_(self.low.float())
        return q

    def cut(self, tokens: int) -> None:
        """Keep only the first so many tokens, a multiple of the group."""
        rows = tokens // self.format.group if self.axis == "channel" else tokens
        self.codes = self.codes[:, :, :tokens].clone() if tokens else None
        self.scale, self.low = (t[:, :, :rows].clone() if tokens else None for t in (self.scale, self.low))

    def each(self, change: Callable[[Tensor], Tensor]) -> None:
        """Replace every tensor with a batch axis by change(tensor)."""
        self.codes, self.scale, self.low = change(self.codes), change(self.scale), change(self.low)

    @property
    def tensors(self) -> list[Tensor]:
        return [t for t in (self.codes, self.scale, self.low) if t is not None]


def encode(x: Tensor, format: KVFormat, axis: str) -> tuple[Tensor, Tensor, Tensor]:
    """Codes (batch, kv_heads, tokens, dim) uint8, and scale and low of each group, float16.

    Scales are (batch, kv_heads, tokens / group, 1, dim) for "channel", (batch, kv_heads, tokens, dim / group, 1) for
    "token".

    >>> x = torch.tensor([0.0, 1.0, 2.0, 3.0]).reshape(1, 1, 4, 1)
    >>> encode(x, KVFormat("int2", group=4), "channel")[0].flatten().tolist()
    [0, 1, 2, 3]
    """
    blocks = _grouped(x.float(), format, axis)
    low, high = blocks.aminmax(dim=-2 if axis == "channel" else -1, keepdim=True)
    scale = ((high - low) / (2**format.bits - 1)).half()
    low = low.half()
    if not (torch.isfinite(scale).all() and torch.isfinite(low).all()):
        raise ValueError("keys and values must be finite and within ±65504: a scale or an offset does not fit float16")
    step = torch.where(scale == 0, 1, scale).float()  # a group of equal numbers: all codes 0
    q = ((blocks - low.float()) / step).round_().clamp_(0, 2**format.bits - 1)
    return q.to(torch.uint8).reshape(x.shape), scale, low


def round_trip(x: Tensor, format: KVFormat, axis: str) -> Tensor:
    """x (batch, kv_heads, tokens, dim) as it comes out of a store of this format; tokens in whole groups.

    >>> x = torch.linspace(-1, 1, 8).reshape(1, 1, 4, 2)
    >>> bool((round_trip(x, KVFormat("int4", group=4), "channel") - x).abs().max() < 0.06)      # half a step
    True
    """
    kept = store(format, axis)
    kept.append(x)
    return kept.decode()


def _grouped(x: Tensor, format: KVFormat, axis: str) -> Tensor:
    """(…, tokens, dim) with groups on an axis of their own: (…, tokens/g, g, dim) or (…, tokens, dim/g, g)."""
    if axis == "channel":
        if x.shape[-2] % format.group:
            raise ValueError(
                f"x must hold a multiple of {format.group} tokens for scales per channel, got {x.shape[-2]}"
            )
        return x.unflatten(-2, (-1, format.group))
    return x.unflatten(-1, (-1, channel_group(format, x.shape[-1])))


def _unpacked(packed: Tensor, bits: int) -> Tensor:
    """float32 codes (…, n) of packed bytes (…, n · bits / 8): formats.packing.unpack, faster for three widths."""
    if bits == 8:
        return packed.float()
    if bits == 4:
        pairs = packed.short()  # 0x00ba -> 0x0b0a
        return pairs.bitwise_or_(pairs << 4).bitwise_and_(0x0F0F).view(torch.uint8).float()
    fours = torch.index_select(_fours(packed.device), 0, packed.flatten().int())
    return fours.view(torch.uint8).float().view(*packed.shape[:-1], -1)


@functools.cache
def _fours(device: torch.device) -> Tensor:
    """(256,) int32: the four 2-bit codes of every byte in a byte each, the lowest bits first."""
    shifts = torch.arange(0, 8, 2, device=device)
    codes = (torch.arange(256, device=device)[:, None] >> shifts) & 3
    return codes.to(torch.uint8).view(torch.int32).flatten()
