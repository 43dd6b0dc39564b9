"""A cache in pages: blocks of 16 tokens handed out one by one, and shared where two sequences begin alike.

    one block, all layers      block · bytes per token
    a sequence of n tokens     ceil(n / block) blocks
    a shared prefix of p       floor(p / block) blocks, stored once; the block in which the texts part is private

Source: Kwon et al. 2023 (PagedAttention). Without pages an engine has to reserve the longest context for everybody.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from course_lib.kvcache.layers import Layer, layers
from course_lib.kvcache.sizing import bits, count


def block_bytes(config: Mapping[str, Any] | str | Path | Any, block: int = 16, dtype_bits: float = 16) -> int:
    """Bytes of one block of tokens in all layers that keep every token.

    >>> llama = dict(num_hidden_layers=32, num_attention_heads=32, num_key_value_heads=8, hidden_size=4096)
    >>> block_bytes(llama) / 2**20
    2.0
    """
    grown = sum(layer.elements for layer in layers(config) if layer.cap is None)
    return int(count(block, "block") * grown * bits(dtype_bits) / 8)


def paged_bytes(
    config: Mapping[str, Any] | str | Path | Any, lengths: Sequence[int], block: int = 16, dtype_bits: float = 16,
    shared: int = 0,
) -> int:  # fmt: skip
    """Bytes of the blocks that sequences of these lengths hold, their first `shared` tokens being the same.

    A layer with a window holds the blocks that its last `cap` tokens touch.

    >>> llama = dict(num_hidden_layers=32, num_attention_heads=32, num_key_value_heads=8, hidden_size=4096)
    >>> paged_bytes(llama, [100, 100]) / 2**20, paged_bytes(llama, [100, 100], shared=70) / 2**20
    (28.0, 20.0)
    """
    block, shared = count(block, "block"), count(shared, "shared", 0)
    lengths = [count(n, "lengths", max(shared, 1)) for n in lengths]
    blocks = {}
    total = 0
    for layer in layers(config):
        if layer.cap not in blocks:
            blocks[layer.cap] = _blocks(layer, lengths, block, shared // block)
        total += blocks[layer.cap] * layer.elements
    return int(total * block * bits(dtype_bits) / 8)


def sequences_in(
    config: Mapping[str, Any] | str | Path | Any, memory_bytes: int, tokens: int, block: int = 16,
    dtype_bits: float = 16, shared: int = 0,
) -> int:  # fmt: skip
    """How many sequences of `tokens` tokens a memory holds at once, with a prefix of `shared` tokens stored once.

    >>> llama = dict(num_hidden_layers=32, num_attention_heads=32, num_key_value_heads=8, hidden_size=4096)
    >>> sequences_in(llama, 2**34, 8192), sequences_in(llama, 2**34, 8192, shared=6144)
    (16, 61)
    """
    memory_bytes = count(memory_bytes, "memory_bytes", 0)
    first = paged_bytes(config, [tokens], block, dtype_bits, shared)
    if memory_bytes < first:
        return 0
    each = paged_bytes(config, [tokens, tokens], block, dtype_bits, shared) - first
    if each == 0:
        raise ValueError(f"tokens must be more than the {shared} shared ones, got {tokens}: every block is shared")
    return 1 + (memory_bytes - first) // each


def _blocks(layer: Layer, lengths: Sequence[int], block: int, common: int) -> int:
    """Blocks of one layer for sequences of these lengths whose first `common` blocks are the same ones."""
    spans = [((n - layer.tokens(n)) // block, -(-n // block)) for n in lengths]  # first block kept, one past the last
    private = sum(end - max(begin, common) for begin, end in spans)
    return private + max((common - begin for begin, _ in spans if begin < common), default=0)
