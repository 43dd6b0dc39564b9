"""Every tensor of a released model, from its config.json alone: dense and mixture-of-experts, tied heads, MLA.

A Part is a handful of tensors that are alike: one shape, the layers that have it, how many experts a layer holds and
how many of them a token visits. Names are those of the checkpoint, so that a rule can tell a head from a norm.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from course_lib.kvcache.config import released, whole

FAMILIES = ("llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "gemma3_text", "phi3", "mixtral", "qwen3_moe",
            "gpt_oss", "deepseek_v2", "deepseek_v3")  # fmt: skip
EXPERTS = ("num_local_experts", "num_experts", "n_routed_experts")
TIED = ("gemma", "gemma2", "gemma3_text")  # the head is the embedding unless the config says otherwise


@dataclass(frozen=True)
class Part:
    """`experts` tensors of `shape` in each of `layers`; layers is () for what stands outside of them.

    role    embed, head, attention, mlp, experts, router or small (norms, biases, sinks: all that is no matrix)
    used    how many of the experts one token visits
    """

    name: str
    role: str
    shape: tuple[int, ...]
    layers: tuple[int, ...] = ()
    experts: int = 1
    used: int = 1

    @property
    def count(self) -> int:
        """How many such tensors the model holds."""
        return max(1, len(self.layers)) * self.experts

    @property
    def params(self) -> int:
        return self.count * math.prod(self.shape)

    @property
    def active(self) -> int:
        """Numbers that one token meets; of an embedding table, none is counted: a token reads a single row."""
        return 0 if self.role == "embed" else self.params * self.used // self.experts


def parts(config: Mapping[str, Any] | str | Path | Any) -> tuple[Part, ...]:
    """The parts of the language model with this config: a dict, a transformers config or the path of a config.json.

    A config with `parameters` instead of shapes is a bare count. ValueError for a family whose tensors are not known
    here, and for a config that lacks a size.

    >>> tiny = dict(model_type="llama", hidden_size=4, intermediate_size=8, num_hidden_layers=2, num_attention_heads=2,
    ...             vocab_size=10)
    >>> sum(part.params for part in parts(tiny))
    420
    """
    config = released(config)
    family = config.get("model_type")
    if "parameters" in config:
        return (Part("weights", "mlp", (1, whole(config, "parameters"))),)
    if family not in FAMILIES:
        raise ValueError(f"config must be of one of {', '.join(FAMILIES)}, got model_type {family!r}")
    return tuple(_outside(config, family)) + tuple(_attention(config, family)) + tuple(_feed_forward(config, family))


def tied(config: Mapping[str, Any]) -> bool:
    """Whether the output head is the embedding table; `config` as `released` returns it."""
    return bool(config.get("tie_word_embeddings", config.get("model_type") in TIED))


def _outside(c: Mapping[str, Any], family: str) -> Iterator[Part]:
    hidden, vocab, layers = whole(c, "hidden_size"), whole(c, "vocab_size"), _layers(c)
    yield Part("model.embed_tokens.weight", "embed", (vocab, hidden))
    if not tied(c):
        yield Part("lm_head.weight", "head", (vocab, hidden))
    names = ["input_layernorm", "post_attention_layernorm"]
    if family in ("gemma2", "gemma3_text"):
        names += ["pre_feedforward_layernorm", "post_feedforward_layernorm"]
    for name in names:
        yield Part(f"{name}.weight", "small", (hidden,), layers)
    yield Part("model.norm.weight", "small", (hidden,))


def _attention(c: Mapping[str, Any], family: str) -> Iterator[Part]:
    hidden, heads, layers = whole(c, "hidden_size"), whole(c, "num_attention_heads"), _layers(c)
    if family.startswith("deepseek"):
        yield from _latent_attention(c, hidden, heads, layers)
        return
    kv_heads = c.get("num_key_value_heads") or heads
    head_dim = c.get("head_dim") or hidden // heads
    if family == "phi3":
        out = (heads + 2 * kv_heads) * head_dim
        yield Part("self_attn.qkv_proj.weight", "attention", (out, hidden), layers)
        yield Part("self_attn.o_proj.weight", "attention", (hidden, heads * head_dim), layers)
        return
    for name, out, into in (
        ("q_proj", heads * head_dim, hidden), ("k_proj", kv_heads * head_dim, hidden),
        ("v_proj", kv_heads * head_dim, hidden), ("o_proj", hidden, heads * head_dim),
    ):  # fmt: skip
        yield Part(f"self_attn.{name}.weight", "attention", (out, into), layers)
        if (family == "qwen2" and name != "o_proj") or c.get("attention_bias"):
            yield Part(f"self_attn.{name}.bias", "small", (out,), layers)
    if family in ("qwen3", "qwen3_moe", "gemma3_text"):
        yield from (Part(f"self_attn.{n}_norm.weight", "small", (head_dim,), layers) for n in "qk")
    if family == "gpt_oss":
        yield Part("self_attn.sinks", "small", (heads,), layers)


def _latent_attention(c: Mapping[str, Any], hidden: int, heads: int, layers: tuple[int, ...]) -> Iterator[Part]:
    """DeepSeek's MLA: queries and keys through low ranks, one rotated key for all heads (arXiv:2405.04434, 2.1)."""
    rank, rope, nope = (whole(c, key) for key in ("kv_lora_rank", "qk_rope_head_dim", "qk_nope_head_dim"))
    value, query = whole(c, "v_head_dim"), c.get("q_lora_rank")
    matrices = [("kv_a_proj_with_mqa", rank + rope, hidden), ("kv_b_proj", heads * (nope + value), rank),
                ("o_proj", hidden, heads * value)]  # fmt: skip
    if query:
        matrices += [("q_a_proj", query, hidden), ("q_b_proj", heads * (nope + rope), query)]
        yield Part("self_attn.q_a_layernorm.weight", "small", (query,), layers)
    else:
        matrices += [("q_proj", heads * (nope + rope), hidden)]
    yield Part("self_attn.kv_a_layernorm.weight", "small", (rank,), layers)
    for name, out, into in matrices:
        yield Part(f"self_attn.{name}.weight", "attention", (out, into), layers)


def _feed_forward(c: Mapping[str, Any], family: str) -> Iterator[Part]:
    hidden, layers = whole(c, "hidden_size"), _layers(c)
    sparse = _sparse_layers(c, family, layers)
    dense = tuple(i for i in layers if i not in set(sparse))
    if family == "phi3":
        ffn = whole(c, "intermediate_size")
        yield Part("mlp.gate_up_proj.weight", "mlp", (2 * ffn, hidden), layers)
        yield Part("mlp.down_proj.weight", "mlp", (hidden, ffn), layers)
    elif dense:
        yield from _gated("mlp", "mlp", hidden, whole(c, "intermediate_size"), dense)
        if c.get("mlp_bias"):
            ffn = c["intermediate_size"]
            yield from (Part(f"mlp.{n}_proj.bias", "small", (size,), dense)
                        for n, size in (("gate", ffn), ("up", ffn), ("down", hidden)))  # fmt: skip
    if not sparse:
        return
    experts = whole(c, EXPERTS)
    used = whole(c, ("num_experts_per_tok", "experts_per_token"))
    if used > experts:
        raise ValueError(f"config needs num_experts_per_tok of at most {experts} experts, got {used}")
    ffn = whole(c, "moe_intermediate_size" if c.get("moe_intermediate_size") else "intermediate_size")
    yield Part(f"mlp.{'router' if family == 'gpt_oss' else 'gate'}.weight", "router", (experts, hidden), sparse)
    yield from _gated("mlp.experts", "experts", hidden, ffn, sparse, experts, used)
    if family == "gpt_oss":
        yield Part("mlp.router.bias", "small", (experts,), sparse)
        for name, size in (("gate", ffn), ("up", ffn), ("down", hidden)):
            yield Part(f"mlp.experts.{name}_proj_bias", "small", (size,), sparse, experts, used)
    if family == "deepseek_v3":
        yield Part("mlp.gate.e_score_correction_bias", "small", (experts,), sparse)
    if c.get("n_shared_experts"):
        yield from _gated("mlp.shared_experts", "mlp", hidden, ffn * c["n_shared_experts"], sparse)


def _gated(name: str, role: str, hidden: int, ffn: int, layers: tuple[int, ...], experts: int = 1,
           used: int = 1) -> Iterator[Part]:  # fmt: skip
    for which, shape in (("gate", (ffn, hidden)), ("up", (ffn, hidden)), ("down", (hidden, ffn))):
        yield Part(f"{name}.{which}_proj.weight", role, shape, layers, experts, used)


def _layers(c: Mapping[str, Any]) -> tuple[int, ...]:
    return tuple(range(whole(c, "num_hidden_layers")))


def _sparse_layers(c: Mapping[str, Any], family: str, layers: tuple[int, ...]) -> tuple[int, ...]:
    """The layers whose feed-forward part is a set of experts."""
    if family in ("mixtral", "gpt_oss"):
        return layers
    if family == "qwen3_moe":
        step, plain = c.get("decoder_sparse_step", 1), set(c.get("mlp_only_layers") or ())
        return tuple(i for i in layers if i not in plain and (i + 1) % step == 0)
    if family.startswith("deepseek"):
        first, every = c.get("first_k_dense_replace", 0), c.get("moe_layer_freq", 1)
        return tuple(i for i in layers if i >= first and i % every == 0)
    return ()
