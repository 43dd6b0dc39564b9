"""The bytes of a KV cache: layers · numbers per token · kept tokens · sequences · bits / 8."""

from __future__ import annotations

import math
from collections.abc import Mapping
from fractions import Fraction
from numbers import Real
from pathlib import Path
from typing import Any

from course_lib.kvcache.layers import layers


def kv_bytes(config: Mapping[str, Any] | str | Path | Any, tokens: int, batch: int = 1, dtype_bits: float = 16) -> int:
    """Bytes of the keys and values of `batch` sequences of `tokens` tokens each.

        bytes = batch · Σ over layers  elements · min(tokens, cap) · dtype_bits / 8

    `config` is a transformers config, a dict, or the path of a config.json. Only the numbers themselves are counted:
    scales are in `stored_bytes`, page rounding in `paged_bytes`, recurrent state in `state_bytes`.
    ValueError for a config that says too little or contradicts itself.

    >>> llama = dict(num_hidden_layers=32, num_attention_heads=32, num_key_value_heads=8, hidden_size=4096)
    >>> kv_bytes(llama, 8192, batch=32) / 2**30
    32.0
    """
    tokens, batch = count(tokens, "tokens", 0), count(batch, "batch")
    numbers = sum(layer.elements * layer.tokens(tokens) for layer in layers(config))
    return math.ceil(batch * numbers * bits(dtype_bits) / 8)


def bytes_per_token(config: Mapping[str, Any] | str | Path | Any, dtype_bits: float = 16, after: int = 0) -> float:
    """Bytes that the next token of one sequence adds once `after` tokens are there: a full window adds nothing.

    >>> llama = dict(num_hidden_layers=32, num_attention_heads=32, num_key_value_heads=8, hidden_size=4096)
    >>> bytes_per_token(llama)
    131072
    """
    after = count(after, "after", 0)
    grow = sum(layer.elements for layer in layers(config) if layer.cap is None or after < layer.cap)
    size = grow * bits(dtype_bits) / 8
    return int(size) if size == int(size) else float(size)


def crossover_tokens(config: Mapping[str, Any] | str | Path | Any, weight_bytes: float, dtype_bits: float = 16) -> int:
    """Tokens, over all sequences, from which a decode step reads as many bytes of cache as of weights.

        tokens = ceil(weight_bytes / bytes_per_token)

    Every step reads the weights once and each sequence's own cache once, so what counts is batch · context.
    weight_bytes are those of the matrices that every token is multiplied with: of the input embedding a token reads
    one row. For caches whose every layer keeps all tokens; ValueError else.

    >>> llama = dict(num_hidden_layers=32, num_attention_heads=32, num_key_value_heads=8, hidden_size=4096)
    >>> crossover_tokens(llama, 2 * 7_504_658_432)     # Llama-3-8B: 32 layers of linears, and the head
    114512
    """
    if not isinstance(weight_bytes, Real) or isinstance(weight_bytes, bool) or not 0 < weight_bytes < math.inf:
        raise ValueError(f"weight_bytes must be a positive number of bytes, got {weight_bytes!r}")
    found = layers(config)
    if any(layer.cap is not None for layer in found) or not any(layer.elements for layer in found):
        raise ValueError("config must keep every token in every attention layer: with windows there is no one length")
    per_token = sum(layer.elements for layer in found) * bits(dtype_bits) / 8
    return math.ceil(Fraction(weight_bytes) / per_token)


def count(value: int, name: str, least: int = 1) -> int:
    """A whole number from `least` up, or one sentence."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f"{name} must be a whole number from {least} up, got {value!r}")
    return value


def bits(dtype_bits: float) -> Fraction:
    """Bits of one number as an exact fraction, so that 3.0 or 4.5 lose no byte."""
    ok = isinstance(dtype_bits, Real) and not isinstance(dtype_bits, bool) and 0 < dtype_bits <= 64
    if not ok:
        raise ValueError(f"dtype_bits must be above 0 and at most 64, got {dtype_bits!r}")
    return Fraction(str(dtype_bits))
