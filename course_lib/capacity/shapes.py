"""From a model's config.json to the shape of every weight, before a single weight is downloaded."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

SHAPED = ("llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "gemma3_text", "phi3", "mixtral", "qwen3_moe")
SIZES = ("hidden_size", "intermediate_size", "num_attention_heads", "vocab_size", "num_hidden_layers")


def parameter_shapes(config: Mapping[str, Any] | str | Path | Any) -> dict[str, tuple[int, ...]]:
    """Names and shapes of all parameters of a model (SHAPED): embeddings, linears and norms a layer, norm, head.

    `config` is a dict, the path of a config.json (or its directory), or a transformers config; without a model_type it
    is a Llama's. Linears are (out, in): q (heads * head_dim, hidden), k and v (kv_heads * head_dim, hidden),
    o (hidden, heads * head_dim), gate and up (ffn, hidden), down (hidden, ffn); Phi-3 has q, k and v in one, gate and
    up in another, and experts, (experts, out, in), too. A tied head shares the embedding and is not listed. ValueError
    for other models and missing sizes.

    >>> tiny = dict(hidden_size=4, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2, vocab_size=10)
    >>> parameter_shapes(tiny)["model.layers.0.mlp.down_proj.weight"]
    (4, 8)
    """
    from course_lib.capacity.plan.tensors import parts

    config = {"model_type": "llama", **_as_dict(config)}
    if config["model_type"] not in SHAPED:
        raise ValueError(f"config must be of one of {', '.join(SHAPED)}, got model_type {config['model_type']!r}")
    *_, layers = (_whole(config, key) for key in SIZES)
    found = parts(config)
    outside = {part.name: part.shape for part in found if not part.layers}
    shapes = {"model.embed_tokens.weight": outside["model.embed_tokens.weight"]}
    for i in range(layers):
        here = [part for part in found if i in part.layers]
        shapes |= {f"model.layers.{i}.{name}": shape for name, shape in _as_transformers(here).items()}
    return shapes | {name: outside[name] for name in ("model.norm.weight", "lm_head.weight") if name in outside}


def parameters(config: Mapping[str, Any] | str | Path | Any) -> int:
    """Number of parameters of a model, from its config alone.

    >>> llama_3_8b = dict(hidden_size=4096, intermediate_size=14336, num_hidden_layers=32, num_attention_heads=32,
    ...                   num_key_value_heads=8, vocab_size=128256)
    >>> parameters(llama_3_8b)
    8030261248
    """
    return sum(math.prod(shape) for shape in parameter_shapes(config).values())


def _as_transformers(parts) -> dict[str, tuple[int, ...]]:
    """Name -> shape of the parts of a layer; those of its experts in two tensors, gate above up and down."""
    shapes = {part.name: (part.experts, *part.shape) if part.role == "experts" else part.shape for part in parts}
    for up in [name for name in shapes if name.endswith("experts.up_proj.weight")]:
        stem = up.removesuffix("up_proj.weight")
        experts, ffn, hidden = shapes.pop(up)
        del shapes[f"{stem}gate_proj.weight"]
        shapes[f"{stem}gate_up_proj"] = (experts, 2 * ffn, hidden)
        shapes[f"{stem}down_proj"] = shapes.pop(f"{stem}down_proj.weight")
    return shapes


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
