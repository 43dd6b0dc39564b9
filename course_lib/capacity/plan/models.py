"""Which model a name means: the released configs of some models, a config.json on disk, the course's own model.

course_lib.kvcache's table has the keys that the cache depends on; here stand those that the weights depend on.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from course_lib.kvcache import MODELS
from course_lib.kvcache.config import released

_OSS = dict(intermediate_size=2880, vocab_size=201088, attention_bias=True, tie_word_embeddings=False,
            num_experts_per_tok=4, max_position_embeddings=131072)  # fmt: skip
_DEEPSEEK = dict(first_k_dense_replace=1, q_lora_rank=1536, max_position_embeddings=163840)

_WEIGHTS: dict[str, dict[str, Any]] = {  # of the same files as the table's keys
    "llama-2-7b": dict(intermediate_size=11008, vocab_size=32000, max_position_embeddings=4096),
    "llama-3-8b": dict(intermediate_size=14336, vocab_size=128256, max_position_embeddings=8192),
    "llama-3.1-8b": dict(intermediate_size=14336, vocab_size=128256, max_position_embeddings=131072),
    "llama-3-70b": dict(intermediate_size=28672, vocab_size=128256, max_position_embeddings=8192),
    "llama-3.1-405b": dict(intermediate_size=53248, vocab_size=128256, max_position_embeddings=131072),
    "mistral-7b": dict(intermediate_size=14336, vocab_size=32768, max_position_embeddings=32768),
    "qwen2.5-7b": dict(intermediate_size=18944, vocab_size=152064, max_position_embeddings=131072),
    "qwen2.5-72b": dict(intermediate_size=29568, vocab_size=152064, max_position_embeddings=131072),
    "qwen3-8b": dict(intermediate_size=12288, vocab_size=151936, max_position_embeddings=40960),
    "deepseek-67b": dict(intermediate_size=22016, vocab_size=102400, max_position_embeddings=4096),
    "deepseek-v2": dict(intermediate_size=12288, moe_intermediate_size=1536, n_routed_experts=160, n_shared_experts=2,
                        num_experts_per_tok=6, vocab_size=102400, **_DEEPSEEK),
    "deepseek-v3": dict(intermediate_size=18432, moe_intermediate_size=2048, n_routed_experts=256, n_shared_experts=1,
                        num_experts_per_tok=8, vocab_size=129280, **_DEEPSEEK | dict(first_k_dense_replace=3)),
    "gemma-3-27b": dict(intermediate_size=21504, vocab_size=262208, max_position_embeddings=131072),
    "gpt-oss-20b": dict(num_local_experts=32, **_OSS),
    "gpt-oss-120b": dict(num_local_experts=128, **_OSS),
}  # fmt: skip


def _llama(layers: int, heads: int, kv_heads: int, hidden: int, ffn: int, vocab: int, **more: Any) -> dict[str, Any]:
    return dict(model_type="llama", num_hidden_layers=layers, num_attention_heads=heads, num_key_value_heads=kv_heads,
                hidden_size=hidden, intermediate_size=ffn, vocab_size=vocab) | more  # fmt: skip


_MORE: dict[str, dict[str, Any]] = {
    "llama-3.2-1b": _llama(16, 32, 8, 2048, 8192, 128256, head_dim=64, tie_word_embeddings=True,
                           max_position_embeddings=131072),
    "llama-3.2-3b": _llama(28, 24, 8, 3072, 8192, 128256, head_dim=128, tie_word_embeddings=True,
                           max_position_embeddings=131072),
    "mixtral-8x7b": _llama(32, 32, 8, 4096, 14336, 32000, model_type="mixtral", num_local_experts=8,
                           num_experts_per_tok=2, sliding_window=None, max_position_embeddings=32768),
    "qwen3-30b-a3b": _llama(48, 32, 4, 2048, 6144, 151936, model_type="qwen3_moe", head_dim=128, num_experts=128,
                            num_experts_per_tok=8, moe_intermediate_size=768, sliding_window=None,
                            max_position_embeddings=40960),
    "7b": _llama(32, 32, 8, 4096, 14336, 32000, model_type="hypothetical", parameters=7_000_000_000),
}  # fmt: skip


def known() -> tuple[str, ...]:
    """The names that `config_of` takes beside paths."""
    return (*_WEIGHTS, *_MORE, "bundled")


def config_of(model: str | Path | Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """(name, config) of a name in `known()`, of the path of a config.json or its folder, or of a config itself.

    >>> config_of("Llama-3-8B")[1]["vocab_size"]
    128256
    """
    if isinstance(model, Mapping) or hasattr(model, "to_dict"):
        config = released(model)
        return str(config.get("model_type", "model")), config
    name = str(model).strip().lower()
    if name in _MORE:
        return name, dict(_MORE[name])
    if name in _WEIGHTS:
        return name, released(MODELS[name].config) | _WEIGHTS[name]
    path = Path(model).expanduser()
    if name == "bundled":
        from course_lib.models import BUNDLED

        path = Path(BUNDLED)
    if path.suffix.lower() == ".gguf" and path.is_file():
        raise ValueError(f"model must be a config.json, and {str(model)!r} is a GGUF file: `course offload` plans it")
    if path.exists():
        return (path.stem if path.is_file() and path.stem != "config" else path.resolve().name), released(path)
    near = difflib.get_close_matches(name, known(), n=1)
    wanted = f"a known name; did you mean {near[0]}?" if near else f"one of {', '.join(known())},"
    raise ValueError(f"model must be the path of a config.json or {wanted} got {str(model)!r}")
