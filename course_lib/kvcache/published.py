"""A checked table: what the released config.json of a few models says about its cache, and what others say it costs.

Only the keys that matter for the cache, with the values of the released file, under the file's own names.
`stated` holds figures that were published or logged, so that ours can stand beside them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Model:
    """title, where the config comes from, its keys, and published figures: what it is -> (figure, source)."""

    title: str
    source: str
    config: dict[str, Any]
    stated: dict[str, tuple[float, str]] = field(default_factory=dict)


def _model(title: str, repository: str, stated: dict | None = None, **config: Any) -> Model:
    return Model(title, f"huggingface.co/{repository}, config.json", config, stated or {})


def _llama(layers: int, heads: int, kv_heads: int, hidden: int, kind: str = "llama", **more: Any) -> dict[str, Any]:
    return dict(model_type=kind, num_hidden_layers=layers, num_attention_heads=heads, num_key_value_heads=kv_heads,
                hidden_size=hidden, **more)  # fmt: skip


_QWEN = dict(kind="qwen2", sliding_window=131072, use_sliding_window=False)
_OSS = dict(model_type="gpt_oss", num_attention_heads=64, num_key_value_heads=8, head_dim=64, hidden_size=2880,
            sliding_window=128)  # fmt: skip
_MLA = dict(num_attention_heads=128, num_key_value_heads=128, kv_lora_rank=512, qk_rope_head_dim=64,
            qk_nope_head_dim=128, v_head_dim=128)  # fmt: skip
_VLLM = "log of a vLLM server, Llama-3.1-8B in BF16, blocks of 16 tokens"

MODELS: dict[str, Model] = {
    "llama-2-7b": _model("Llama 2 7B", "meta-llama/Llama-2-7b-hf", **_llama(32, 32, 32, 4096)),
    "llama-3-8b": _model("Llama 3 8B", "meta-llama/Meta-Llama-3-8B", **_llama(32, 32, 8, 4096)),
    "llama-3.1-8b": _model(
        "Llama 3.1 8B", "meta-llama/Llama-3.1-8B",
        {"blocks in 3.81 GiB": (1952, _VLLM), "blocks in 2.89 GiB": (1478, _VLLM)}, **_llama(32, 32, 8, 4096),
    ),
    "llama-3-70b": _model("Llama 3 70B", "meta-llama/Meta-Llama-3-70B", **_llama(80, 64, 8, 8192)),
    "llama-3.1-405b": _model("Llama 3.1 405B", "meta-llama/Llama-3.1-405B", **_llama(126, 128, 8, 16384)),
    "mistral-7b": _model(
        "Mistral 7B v0.3", "mistralai/Mistral-7B-v0.3", **_llama(32, 32, 8, 4096, "mistral", sliding_window=None)
    ),
    "falcon-7b": _model(
        "Falcon 7B", "tiiuae/falcon-7b", model_type="falcon", num_hidden_layers=32, num_attention_heads=71,
        hidden_size=4544, multi_query=True, new_decoder_architecture=False,
    ),
    "qwen2.5-7b": _model("Qwen2.5 7B", "Qwen/Qwen2.5-7B", **_llama(28, 28, 4, 3584, max_window_layers=28, **_QWEN)),
    "qwen2.5-72b": _model("Qwen2.5 72B", "Qwen/Qwen2.5-72B", **_llama(80, 64, 8, 8192, max_window_layers=80, **_QWEN)),
    "qwen3-8b": _model("Qwen3 8B", "Qwen/Qwen3-8B", **_llama(36, 32, 8, 4096, "qwen3", head_dim=128)),
    "deepseek-67b": _model("DeepSeek 67B", "deepseek-ai/deepseek-llm-67b-base", **_llama(95, 64, 8, 8192)),
    "deepseek-v2": _model(
        "DeepSeek-V2", "deepseek-ai/DeepSeek-V2",
        {"saved against DeepSeek 67B": (0.933, "DeepSeek-V2 paper, abstract; 6 bits a number, section 3.2.3")},
        model_type="deepseek_v2", num_hidden_layers=60, hidden_size=5120, **_MLA,
    ),
    "deepseek-v3": _model(
        "DeepSeek-V3", "deepseek-ai/DeepSeek-V3",
        model_type="deepseek_v3", num_hidden_layers=61, hidden_size=7168, **_MLA,
    ),
    "gemma-3-27b": _model(
        "Gemma 3 27B", "google/gemma-3-27b-it", model_type="gemma3",
        text_config=dict(model_type="gemma3_text", num_hidden_layers=62, num_attention_heads=32, num_key_value_heads=16,
                         head_dim=128, hidden_size=5376, sliding_window=1024),
    ),
    "gpt-oss-20b": _model(
        "gpt-oss-20b", "openai/gpt-oss-20b", num_hidden_layers=24,
        layer_types=["sliding_attention", "full_attention"] * 12, **_OSS,
    ),
    "gpt-oss-120b": _model(
        "gpt-oss-120b", "openai/gpt-oss-120b", num_hidden_layers=36,
        layer_types=["sliding_attention", "full_attention"] * 18, **_OSS,
    ),
    "qwen3-next-80b": _model(
        "Qwen3-Next 80B-A3B", "Qwen/Qwen3-Next-80B-A3B-Instruct",
        **_llama(48, 16, 2, 2048, "qwen3_next", head_dim=256, full_attention_interval=4, linear_num_value_heads=32,
                 linear_num_key_heads=16, linear_key_head_dim=128, linear_value_head_dim=128, linear_conv_kernel_dim=4),
    ),
}  # fmt: skip
