"""What a quantized cache really stores: codes, scales and offsets, and the tokens that it leaves as they are.

    n tokens = sinks + quantized + recent       quantized = floor((n - sinks - residual) / group) · group, at least 0

The first `sinks` tokens and between `residual` and `residual + group - 1` of the last ones keep full precision; the
others leave the window in blocks of `group` tokens, so that a key channel always has a whole block to share a scale.
Sources: Liu et al. 2024 (KIVI: keys per channel, values per token, a recent window), Xiao et al. 2024 (sinks).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from course_lib.kvcache.layers import Layer, layers
from course_lib.kvcache.sizing import count

FORMATS = ("fp8", "int8", "int4", "int2")
AXES = ("channel", "token")


@dataclass(frozen=True)
class KVFormat:
    """How a cache stores keys and values.

    ===========  ==================================================================================================
    name         "fp8" (E4M3, one scale a layer for keys and one for values), "int8", "int4" or "int2"
    group        numbers that share a scale: tokens of one channel ("channel"), or channels of one token ("token")
    key_axis     "channel" (KIVI) or "token"
    value_axis   "token" (KIVI) or "channel"
    residual     at least so many of the last tokens stay as they are
    sinks        so many of the first tokens stay as they are
    scale        fp8 only: the fixed number that codes are multiplied with; None takes it from the first tokens seen
    ===========  ==================================================================================================

    Integers decode as offset + scale · code, scale and offset in float16 each: 32 bits a group.

    >>> KVFormat("int2", group=32).bits_per_element
    3.0
    """

    name: str
    group: int = 32
    key_axis: str = "channel"
    value_axis: str = "token"
    residual: int = 32
    sinks: int = 0
    scale: float | None = 1.0

    def __post_init__(self):
        if self.name not in FORMATS:
            raise ValueError(f"name must be one of {', '.join(FORMATS)}, got {self.name!r}")
        for field, least in (("group", 1), ("residual", 0), ("sinks", 0)):
            count(getattr(self, field), field, least)
        for field in ("key_axis", "value_axis"):
            if getattr(self, field) not in AXES:
                raise ValueError(f"{field} must be one of {', '.join(AXES)}, got {getattr(self, field)!r}")
        if self.scale is not None and not 0 < self.scale < float("inf"):
            raise ValueError(f"scale must be a positive number or None, got {self.scale!r}")

    @property
    def bits(self) -> int:
        """Bits of one code."""
        return 8 if self.name == "fp8" else int(self.name.removeprefix("int"))

    @property
    def bits_per_element(self) -> float:
        """Bits of one quantized number with its share of scale and offset; fp8's two scales a layer are left out."""
        return float(self.bits) if self.name == "fp8" else self.bits + 32 / self.group

    def split(self, tokens: int) -> tuple[int, int, int]:
        """How many of so many tokens are sinks, quantized, and recent.

        >>> KVFormat("int2", group=32, residual=128, sinks=4).split(1024)
        (4, 864, 156)
        """
        sinks = min(tokens, self.sinks)
        quantized = max(0, (tokens - sinks - self.residual) // self.group * self.group)
        return sinks, quantized, tokens - sinks - quantized


def stored_bytes(
    config: Mapping[str, Any] | str | Path | Any, tokens: int, format: KVFormat | str, batch: int = 1,
    full_bits: int = 16,
) -> int:  # fmt: skip
    """Bytes that a quantized cache holds for `batch` sequences of `tokens` tokens; full_bits for what is not quantized.

    Equal to QuantizedKVCache.nbytes, which counts its tensors. ValueError for windows and for MLA, which it refuses.

    >>> llama = dict(num_hidden_layers=32, num_attention_heads=32, num_key_value_heads=8, hidden_size=4096)
    >>> stored_bytes(llama, 8192, KVFormat("int2", group=32, residual=0), 32) / 2**30        # 32 GiB at 16 bits
    6.0
    """
    tokens, batch = count(tokens, "tokens", 0), count(batch, "batch")
    format = format if isinstance(format, KVFormat) else KVFormat(format)
    return sum(_layer_bytes(layer, tokens, format, batch, full_bits) for layer in layers(config))


def _layer_bytes(layer: Layer, tokens: int, format: KVFormat, batch: int, full_bits: int) -> int:
    if layer.attention == "MLA" or layer.cap is not None:
        what = (
            "MLA keeps no keys and values" if layer.attention == "MLA" else f"a layer has a {layer.why} of {layer.cap}"
        )
        raise ValueError(f"config must keep keys and values of every token, but {what}")
    if not layer.elements:
        return 0
    sinks, quantized, recent = format.split(tokens)
    full = batch * layer.elements * (sinks + recent) * full_bits // 8
    rows = batch * layer.kv_heads * quantized
    if format.name == "fp8":
        return full + rows * (layer.key_dim + layer.value_dim) + (8 if quantized else 0)
    total = full
    for dim, axis in ((layer.key_dim, format.key_axis), (layer.value_dim, format.value_axis)):
        shared = format.group if axis == "channel" else channel_group(format, dim)
        total += rows * -(-dim * format.bits // 8) + 4 * (rows * dim // shared)
    return total


def channel_group(format: KVFormat, dim: int) -> int:
    """Channels of one token that share a scale: the format's group, or the whole head where that is smaller.

    >>> channel_group(KVFormat("int4", group=64), 32)
    32
    """
    size = min(format.group, dim)
    if dim % size:
        raise ValueError(f"group must divide the head's {dim} channels where tokens have their own scale, got {size}")
    return size
