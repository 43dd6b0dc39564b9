"""What one token leaves behind in each layer of a model, read from its released config.

    MHA, GQA, MQA   kv_heads · (head_dim of K + head_dim of V) numbers: as many kv_heads as heads, fewer, or one
    MLA             kv_lora_rank + qk_rope_head_dim numbers: one compressed vector and one rotated key for all heads
    window          the same numbers, but only of the last `sliding_window` (or `attention_chunk_size`) tokens
    recurrent       none: a state of fixed size instead (course_lib.kvcache.state)

Sources: Vaswani 2017 (MHA), Shazeer 2019 (MQA), Ainslie 2023 (GQA), DeepSeek-V2 2024 (MLA), Beltagy 2020 (windows).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from course_lib.kvcache.config import HEADS, KV_HEADS, LAYERS, WIDTH, flag, optional, released, whole

# A file without num_key_value_heads means one K and V per head in these families only; elsewhere it is an accident.
MHA_WHEN_SILENT = {
    None, "llama", "gpt2", "gpt_neo", "gpt_neox", "gptj", "codegen", "opt", "bloom", "mpt", "phi", "phi3", "stablelm",
    "persimmon", "olmo", "baichuan", "qwen",
}  # fmt: skip
# Families in which a head is not hidden_size / heads wide, so that a file without head_dim says too little.
OWN_HEAD_DIM = {
    "gemma", "gemma2", "gemma3_text", "gemma3n_text", "qwen3", "qwen3_next", "gpt_oss", "glm4",
}  # fmt: skip
# Which layers look at all tokens where the file does not say: every p-th one (Gemma 2 and Gemma 3 technical reports).
EVERY = {"gemma2": 2, "gemma3_text": 6, "gemma3": 6}
# Layouts that differ from layer to layer or keep more than K and V: refused, not guessed.
REFUSED = ("global_head_dim", "num_global_key_value_heads", "swa_num_key_value_heads", "swa_head_dim",
           "index_head_dim", "cla_share_factor")  # fmt: skip

_KINDS = {
    **dict.fromkeys(("full_attention", "attention", "full", "global", "hybrid"), "full"),
    **dict.fromkeys(("sliding_attention", "sliding_window", "local", "local_attention", "hybrid_sliding"), "sliding"),
    "chunked_attention": "chunked",
    **dict.fromkeys(("linear_attention", "mamba", "mamba2", "conv", "recurrent", "mlp", "moe", "-"), "none"),
}


@dataclass(frozen=True)
class Layer:
    """One layer's part of the cache.

    attention  "MHA", "GQA", "MQA" or "MLA"; "none" where the layer keeps no keys and values
    elements   numbers stored for one token of one sequence: kv_heads · (key_dim + value_dim)
    cap        the most tokens it keeps, None where it keeps all
    why        why it keeps none, or what the cap is called; "" otherwise

    MLA keeps one vector for all heads, from which keys and values are computed: kv_heads 1, value_dim 0.
    """

    attention: str
    kv_heads: int
    key_dim: int
    value_dim: int
    cap: int | None = None
    why: str = ""

    @property
    def elements(self) -> int:
        return self.kv_heads * (self.key_dim + self.value_dim)

    def tokens(self, n: int) -> int:
        """How many of n tokens are kept.

        >>> Layer("GQA", 8, 64, 64, cap=128).tokens(131072)
        128
        """
        return n if self.cap is None else min(n, self.cap)

    def bytes_per_token(self, dtype_bits: float = 16) -> float:
        """Bytes that one kept token takes: elements · bits / 8."""
        return self.elements * dtype_bits / 8


def layers(config: Mapping[str, Any] | str | Path | Any) -> list[Layer]:
    """One Layer per hidden layer; ValueError names a missing key that matters, or keys that contradict each other.

    >>> mistral = dict(num_hidden_layers=2, num_attention_heads=32, num_key_value_heads=8, hidden_size=4096,
    ...                sliding_window=4096)
    >>> layers(mistral)[0]
    Layer(attention='GQA', kv_heads=8, key_dim=128, value_dim=128, cap=4096, why='sliding_window')
    """
    config = released(config)
    if config.get("is_encoder_decoder"):
        raise ValueError("config must be of a decoder, got an encoder-decoder (its cross-attention is not counted)")
    odd = [name for name in REFUSED if config.get(name) is not None]
    if odd:
        raise ValueError(f"config has {odd[0]}={config[odd[0]]!r}: a layout that is not known here, so it is refused")
    kinds = layer_kinds(config)
    per_token = vectors(config) if set(kinds) - {"none"} else ()
    shared = optional(config, "num_kv_shared_layers", least=0) or 0
    caps = {
        "full": (None, ""),
        "sliding": (optional(config, ("sliding_window", "attention_window_size")), "sliding_window"),
        "chunked": (optional(config, "attention_chunk_size"), "attention_chunk_size"),
    }
    found = []
    for i, kind in enumerate(kinds):
        if kind == "none" or i >= len(kinds) - shared:
            why = "no attention" if kind == "none" else "uses the keys and values of an earlier layer"
            found.append(Layer("none", 0, 0, 0, None, why))
            continue
        cap, name = caps[kind]
        if name and cap is None:
            raise ValueError(f"config needs {name}, since layer {i} is {kind}: it is missing")
        found.append(Layer(*per_token, cap, name))
    return found


def vectors(config: Mapping[str, Any]) -> tuple[str, int, int, int]:
    """The attention's name, and what it keeps per token and layer: kv_heads, key_dim, value_dim.

    >>> vectors(dict(kv_lora_rank=512, qk_rope_head_dim=64))
    ('MLA', 1, 576, 0)
    """
    rank, rope = optional(config, "kv_lora_rank"), optional(config, "qk_rope_head_dim")
    if rank is not None:
        return "MLA", 1, rank + whole(config, "qk_rope_head_dim", "since kv_lora_rank is there (MLA)"), 0
    if rope is not None and config.get("model_type") != "kimi_linear":
        raise ValueError("config needs kv_lora_rank, since qk_rope_head_dim is there (MLA): it is missing")
    heads = whole(config, HEADS)
    kv_heads = _kv_heads(config, heads)
    if heads % kv_heads:
        raise ValueError(f"config contradicts itself: {heads} heads cannot share {kv_heads} key-value heads evenly")
    head_dim = _head_dim(config, heads)
    value_dim = optional(config, "v_head_dim") or head_dim
    name = "MHA" if kv_heads == heads else "MQA" if kv_heads == 1 else "GQA"
    return name, kv_heads, head_dim, value_dim


def _kv_heads(config: Mapping[str, Any], heads: int) -> int:
    family = config.get("model_type")
    if family in ("falcon", "RefinedWeb", "RefinedWebModel") and not flag(config, "new_decoder_architecture"):
        multi_query = flag(config, "multi_query")
        if multi_query is None:
            raise ValueError("config needs multi_query (Falcon): it is missing, and no default is assumed")
        return 1 if multi_query else heads
    if flag(config, "multi_query") and optional(config, KV_HEADS) is None:
        return 1
    nested = config.get("attn_config")
    found = optional(nested, "kv_n_heads") if isinstance(nested, Mapping) else None
    found = found or optional(config, KV_HEADS)
    if found is None and family in MHA_WHEN_SILENT:
        return heads
    if found is None and flag(config, "multi_query") is False:
        return heads
    return found or whole(config, KV_HEADS, f"which {family!r} does not always set to the number of heads")


def _head_dim(config: Mapping[str, Any], heads: int) -> int:
    found = optional(config, ("head_dim", "attention_head_dim", "kv_channels"))
    if found is not None:
        return found
    family = config.get("model_type")
    if family in OWN_HEAD_DIM:
        return whole(config, "head_dim", f"which {family!r} chooses freely")
    width = whole(config, WIDTH, "since head_dim is missing too")
    if width % heads:
        raise ValueError(f"config needs head_dim: hidden_size {width} is no multiple of {heads} heads")
    return width // heads


def layer_kinds(config: Mapping[str, Any]) -> list[str]:
    """ "full", "sliding", "chunked" or "none" for each layer; layer_types is asked first, then what older files have.

    >>> layer_kinds(dict(num_hidden_layers=4, sliding_window=512, sliding_window_pattern=2))
    ['sliding', 'full', 'sliding', 'full']
    """
    types = _listed(config)
    if types is not None:
        n = optional(config, LAYERS)
        if n is not None and n != len(types):
            raise ValueError(f"config contradicts itself: num_hidden_layers={n}, but {len(types)} layer types")
        unknown = sorted({str(t) for t in types} - _KINDS.keys())
        if unknown:
            raise ValueError(f"config's layer_types must be of {', '.join(_KINDS)}, got {unknown[0]!r}")
        return [_KINDS[t] for t in types]
    n = whole(config, LAYERS)
    if optional(config, "attention_chunk_size") is not None:
        raise ValueError("config needs layer_types, since attention_chunk_size is there: which layers are chunked?")
    if optional(config, "sliding_window", least=0) in (None, 0) or flag(config, "use_sliding_window") is False:
        return _unwindowed(config, n)
    return _windowed(config, n)


def _listed(config: Mapping[str, Any]) -> list[str] | None:
    """The type of each layer where the file lists them in one of the ways that hybrids have, else None."""
    types = next((config[k] for k in ("layer_types", "layers_block_type") if config.get(k)), None)
    if types is not None:
        if isinstance(types, str) or not isinstance(types, (list, tuple)):
            raise ValueError(f"config's layer_types must be a list, one entry a layer, got {types!r}")
        return list(types)
    if config.get("hybrid_override_pattern"):  # Nemotron-H: M Mamba, * attention, - MLP
        letters = {"M": "mamba", "*": "attention", "-": "mlp", "E": "moe"}
        return [letters.get(letter, letter) for letter in config["hybrid_override_pattern"]]
    if config.get("no_rope_layers"):  # Llama 4: 1 is a chunked layer
        return ["chunked_attention" if chunked else "full_attention" for chunked in config["no_rope_layers"]]
    if config.get("attn_type_list"):  # MiniMax: 1 is attention, 0 is linear
        return ["attention" if full else "linear_attention" for full in config["attn_type_list"]]
    return None


def _unwindowed(config: Mapping[str, Any], n: int) -> list[str]:
    """Kinds of n layers without a window: all full, or one in so many where the rest is recurrent."""
    every = optional(config, "full_attention_interval")  # Qwen3-Next
    if every is not None:
        return ["full" if (i + 1) % every == 0 else "none" for i in range(n)]
    period = optional(config, "attn_layer_period")  # Jamba
    if period is not None:
        first = whole(config, "attn_layer_offset", "since attn_layer_period is there", least=0)
        return ["full" if i % period == first else "none" for i in range(n)]
    chosen = next((config[k] for k in ("attn_layer_indices", "full_attn_idxs") if config.get(k)), None)  # Bamba, LFM2
    if chosen is not None:
        return ["full" if i in chosen else "none" for i in range(n)]
    return ["full"] * n


def _windowed(config: Mapping[str, Any], n: int) -> list[str]:
    """Kinds of n layers where a window is set and in use."""
    pattern = config.get("sliding_window_pattern", config.get("_sliding_window_pattern"))
    if isinstance(pattern, str) and pattern and set(pattern) <= set("LG"):  # EXAONE 4: "LLLG"
        return ["sliding" if pattern[i % len(pattern)] == "L" else "full" for i in range(n)]
    family = config.get("model_type")
    every = optional({"sliding_window_pattern": pattern}, "sliding_window_pattern") or EVERY.get(family)
    if every is not None:
        return ["full" if (i + 1) % every == 0 else "sliding" for i in range(n)]
    if str(family).startswith("qwen"):
        if flag(config, "use_sliding_window") is None:
            raise ValueError("config needs use_sliding_window, since sliding_window is there: it is missing")
        first = whole(config, "max_window_layers", "since use_sliding_window is true", least=0)
        return ["sliding" if i >= first else "full" for i in range(n)]
    if family in ("gpt_oss", "cohere2"):
        raise ValueError("config needs layer_types, since only some layers of this family have the sliding_window")
    return ["sliding"] * n
