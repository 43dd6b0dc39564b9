"""Phi-3's and Phi-4-mini's long rotary positions: two sets of divisors, and a part of each head that is not turned.

A frequency is divided by its short divisor in texts up to the original context, by its long one beyond. transformers
looks at the text, llama.cpp at the context that it was started with. Cosines and sines are multiplied by

    √(1 + ln f / ln L),  f = context / L,  L the original context.

Sources: Ding et al., LongRoPE (arXiv:2402.13753); Phi3MiniModel in llama.cpp's conversion/phi.py; get_rope_factors.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from course_lib.artifacts.gguf.values import GGUFError

LONG, SHORT = TENSORS = ("rope_factors_long.weight", "rope_factors_short.weight")


def attention_factor(context: float, original: float) -> float:
    """What cosines and sines are multiplied by unless a config says otherwise.

    >>> round(attention_factor(131072, 4096), 4)
    1.1902
    """
    return math.sqrt(1 + math.log(context / original) / math.log(original)) if context > original else 1.0


def keys(rope: Mapping, context: int, name: str) -> dict:
    """The keys of ARCHITECTURE.rope.scaling.*."""
    original = rope["original_max_position_embeddings"]
    longer = context if rope.get("factor") is None else rope["factor"] * original
    factor = attention_factor(longer, original) if rope.get("attention_factor") is None else rope["attention_factor"]
    return {f"{name}.scaling.original_context_length": int(original), f"{name}.scaling.attn_factor": float(factor)}


def tensors(rope: Mapping, dim: int) -> dict[str, Tensor]:
    """Both sets of divisors, each (dim / 2,) in float32; ValueError unless they are so many positive numbers."""
    found = {}
    for tensor, name in ((LONG, "long_factor"), (SHORT, "short_factor")):
        given = rope.get(name)
        if not isinstance(given, list | tuple) or len(given) != dim // 2 or not all(map(_positive, given)):
            raise ValueError(f"model must have {dim // 2} positive numbers as {name} of its longrope positions,"
                             f" got {given!r:.60}")  # fmt: skip
        found[tensor] = torch.tensor(given, dtype=torch.float32)
    return found


def parameters(keys: Mapping, name: str, base: float, given: Mapping[str, Tensor], head_dim: int) -> dict:
    """`rope_parameters` for transformers from a file's keys and its divisors; GGUFError where they lie."""
    dim = keys.get(f"{name}.rope.dimension_count", head_dim)
    if type(dim) is not int or not 0 < dim <= head_dim or dim % 2:
        raise GGUFError(f"{name}.rope.dimension_count must be an even number up to {head_dim}, got {dim!r:.60}")
    part = dim / head_dim
    found = {"rope_type": "default", "rope_theta": base}
    found["partial_rotary_factor"] = part if int(head_dim * part) == dim else (dim + 0.5) / head_dim
    factor = keys.get(f"{name}.rope.scaling.factor", 1.0)
    if factor not in (0.0, 1.0):
        raise GGUFError(f"{name}.rope.scaling.factor must be 1, since a {name} has divisors, got {factor!r:.60}")
    if not given:
        return found
    original = keys.get(f"{name}.rope.scaling.original_context_length", keys.get(f"{name}.context_length"))
    scale = keys.get(f"{name}.rope.scaling.attn_factor", 1.0)
    for key, value, kind in (("original_context_length", original, int), ("attn_factor", scale, float)):
        if type(value) is not kind or not _positive(value):
            raise GGUFError(f"{name}.rope.scaling.{key} must be a positive {kind.__name__}, got {value!r:.60}")
    for tensor in TENSORS:
        one = given.get(tensor)
        if one is None or one.shape != (dim // 2,) or not all(map(_positive, one.tolist())):
            raise GGUFError(f"{tensor} must hold {dim // 2} positive numbers")
    return found | {"rope_type": "longrope", "long_factor": given[LONG].tolist(), "short_factor": given[SHORT].tolist(),
                    "original_max_position_embeddings": original, "attention_factor": scale}  # fmt: skip


def _positive(value) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < math.inf
