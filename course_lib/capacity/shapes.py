"""From a Llama's config.json to the shape of every weight, before a single weight is downloaded."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def parameter_shapes(config: Mapping[str, Any] | str | Path | Any) -> dict[str, tuple[int, ...]]:
    """Names and shapes of all parameters of a Llama or Mistral model: embeddings, seven linears a layer, norms, head.

    `config` is a dict, the path of a config.json (or its directory), or a transformers config. Linears are (out, in):
    q (heads * head_dim, hidden), k and v (kv_heads * head_dim, hidden), o (hidden, heads * head_dim),
    gate and up (ffn, hidden), down (hidden, ffn). A tied head shares the embedding and is not listed.

    >>> tiny = dict(hidden_size=4, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2, vocab_size=10)
    >>> parameter_shapes(tiny)["model.layers.0.mlp.down_proj.weight"]
    (4, 8)
    """
    config = _as_dict(config)
    kind = config.get("model_type", "llama")
    if kind not in ("llama", "mistral") or config.get("attention_bias") or config.get("mlp_bias"):
        raise ValueError(f"config must be of a llama or mistral model without biases, got model_type {kind!r}")
    hidden, ffn, heads, vocab, layers = (
        _whole(config, key)
        for key in ("hidden_size", "intermediate_size", "num_attention_heads", "vocab_size", "num_hidden_layers")
    )
    kv_heads = config.get("num_key_value_heads") or heads
    head_dim = config.get("head_dim") or hidden // heads
    layer = {
        "self_attn.q_proj": (heads * head_dim, hidden),
        "self_attn.k_proj": (kv_heads * head_dim, hidden),
        "self_attn.v_proj": (kv_heads * head_dim, hidden),
        "self_attn.o_proj": (hidden, heads * head_dim),
        "mlp.gate_proj": (ffn, hidden),
        "mlp.up_proj": (ffn, hidden),
        "mlp.down_proj": (hidden, ffn),
        "input_layernorm": (hidden,),
        "post_attention_layernorm": (hidden,),
    }
    shapes = {"model.embed_tokens.weight": (vocab, hidden)}
    for i in range(layers):
        shapes |= {f"model.layers.{i}.{name}.weight": shape for name, shape in layer.items()}
    shapes["model.norm.weight"] = (hidden,)
    if not config.get("tie_word_embeddings", False):
        shapes["lm_head.weight"] = (vocab, hidden)
    return shapes


def parameters(config: Mapping[str, Any] | str | Path | Any) -> int:
    """Number of parameters of a Llama or Mistral model, from its config alone.

    >>> llama_3_8b = dict(hidden_size=4096, intermediate_size=14336, num_hidden_layers=32, num_attention_heads=32,
    ...                   num_key_value_heads=8, vocab_size=128256)
    >>> parameters(llama_3_8b)
    8030261248
    """
    return sum(math.prod(shape) for shape in parameter_shapes(config).values())


def _as_dict(config: Any) -> Mapping[str, Any]:
    if isinstance(config, (str, Path)):
        path = Path(config)
        return json.loads((path / "config.json" if path.is_dir() else path).read_text(encoding="utf-8"))
    return config if isinstance(config, Mapping) else config.to_dict()


def _whole(config: Mapping[str, Any], key: str) -> int:
    value = config.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"config needs {key} as a positive whole number, got {value!r}")
    return value
