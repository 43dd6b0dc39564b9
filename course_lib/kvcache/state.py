"""What layers without attention keep instead of a cache: a state of fixed size, however long the text.

    Gated DeltaNet (Qwen3-Next)   value_heads · key_dim · value_dim, and a convolution's last inputs
    Mamba-2                       heads · head_dim · d_state, and (d_inner + 2 · groups · d_state) · d_conv
    Mamba                         d_inner · d_state, and d_inner · d_conv
    short convolution (LFM2)      hidden_size · conv_L_cache

Sources: Yang et al. 2024 (Gated DeltaNet), Dao and Gu 2024 (Mamba-2), Gu and Dao 2023 (Mamba).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from course_lib.kvcache.config import WIDTH, optional, released, whole
from course_lib.kvcache.layers import layer_kinds, layers
from course_lib.kvcache.sizing import bits, count


def state_bytes(config: Mapping[str, Any] | str | Path | Any, batch: int = 1, dtype_bits: float = 16) -> int:
    """Bytes of the recurrent state of `batch` sequences, 0 for a model whose every layer attends.

    Engines often keep this state in 32 bits while keys and values have 16: say dtype_bits=32 then.

    >>> state_bytes(dict(num_hidden_layers=2, num_attention_heads=8, hidden_size=512))
    0
    """
    config, batch = released(config), count(batch, "batch")
    recurrent = _recurrent_layers(config)
    if not recurrent:
        return 0
    return int(batch * recurrent * sum(_state(config)) * bits(dtype_bits) / 8)


def _recurrent_layers(config: Mapping[str, Any]) -> int:
    """How many layers hold a state: those of layer_types, or those that have no attention in a hybrid."""
    types = config.get("layer_types") or config.get("layers_block_type")
    if types:
        return sum(t in ("linear_attention", "mamba", "mamba2", "conv", "recurrent", "hybrid") for t in types)
    if config.get("hybrid_override_pattern"):
        return config["hybrid_override_pattern"].count("M")
    if not any(layer.attention == "none" for layer in layers(config)):
        return 0
    return layer_kinds(config).count("none")


def _state(config: Mapping[str, Any]) -> tuple[int, int]:
    """Numbers of the recurrent state and of the convolution's inputs, one layer, one sequence."""
    if optional(config, "linear_num_value_heads"):  # Gated DeltaNet
        heads, keys = whole(config, "linear_num_value_heads"), whole(config, "linear_num_key_heads")
        key_dim, value_dim = whole(config, "linear_key_head_dim"), whole(config, "linear_value_head_dim")
        mixed = 2 * keys * key_dim + heads * value_dim
        return heads * key_dim * value_dim, mixed * whole(config, "linear_conv_kernel_dim")
    if optional(config, "conv_L_cache"):
        return 0, whole(config, WIDTH) * whole(config, "conv_L_cache")
    heads = optional(config, ("mamba_n_heads", "mamba_num_heads"))
    state, kernel = whole(config, ("mamba_d_state", "ssm_state_size")), whole(config, ("mamba_d_conv", "conv_kernel"))
    if heads is None:  # Mamba
        inner = whole(config, "mamba_expand") * whole(config, WIDTH)
        return inner * state, inner * kernel
    head_dim = config.get("mamba_d_head", config.get("mamba_head_dim"))
    inner = whole(config, "mamba_expand") * whole(config, WIDTH) if head_dim in (None, "auto") else heads * head_dim
    groups = whole(config, ("mamba_n_groups", "n_groups"))
    return inner * state, (inner + 2 * groups * state) * kernel
