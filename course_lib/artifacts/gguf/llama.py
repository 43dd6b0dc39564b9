"""A Llama checkpoint of Hugging Face as GGUF: names, the q/k permutation, keys, tokenizer."""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from course_lib.artifacts.gguf import mixes
from course_lib.artifacts.gguf.tensors import FLOATS, type_id
from course_lib.artifacts.gguf.writer import Part, write
from course_lib.formats import ggml

OUTSIDE = {
    "model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output",
}  # fmt: skip
INSIDE = {
    "input_layernorm": "attn_norm", "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output", "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
}  # fmt: skip
PRE_TOKENIZERS = {  # the split's regular expression: llama.cpp's name of it
    None: "gpt-2",
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+": "llama-bpe",
}  # fmt: skip


def gguf_name(name: str) -> str:
    """llama.cpp's name of a parameter; ValueError for one that it does not know.

    >>> gguf_name("model.layers.3.self_attn.q_proj.weight")
    'blk.3.attn_q.weight'
    """
    stem, _, leaf = name.rpartition(".")
    if stem in OUTSIDE:
        return f"{OUTSIDE[stem]}.{leaf}"
    parts = stem.split(".", 3)
    if len(parts) == 4 and parts[:2] == ["model", "layers"] and parts[3] in INSIDE:
        return f"blk.{int(parts[2])}.{INSIDE[parts[3]]}.{leaf}"
    raise ValueError(f"{name} has no counterpart in a llama GGUF file: only Llama-like dense models are written")


def hf_name(name: str) -> str:
    """The way back from gguf_name."""
    stem, _, leaf = name.rpartition(".")
    outside = {ours: theirs for theirs, ours in OUTSIDE.items()}
    if stem in outside:
        return f"{outside[stem]}.{leaf}"
    parts, inside = stem.split("."), {ours: theirs for theirs, ours in INSIDE.items()}
    if len(parts) == 3 and parts[0] == "blk" and parts[1].isdecimal() and parts[2] in inside:
        return f"model.layers.{int(parts[1])}.{inside[parts[2]]}.{leaf}"
    raise ValueError(f"{name} is no tensor of a Llama model")


def permute(w: Tensor, heads: int) -> Tensor:
    """Rows of q or k (heads * head_dim, in) in ggml's order: rotated pairs side by side instead of half a head apart.

    Hugging Face turns row j with row j + head_dim/2 of a head, ggml row 2j with row 2j + 1. Forget it, and the model
    still loads and still speaks, nonsense.

    >>> permute(torch.arange(8)[:, None], heads=2).flatten().tolist()
    [0, 2, 1, 3, 4, 6, 5, 7]
    """
    half = w.shape[0] // heads // 2
    return w.reshape(heads, 2, half, *w.shape[1:]).transpose(1, 2).reshape(w.shape)


def unpermute(w: Tensor, heads: int) -> Tensor:
    """The way back from permute."""
    half = w.shape[0] // heads // 2
    return w.reshape(heads, half, 2, *w.shape[1:]).transpose(1, 2).reshape(w.shape)


def export(model, tokenizer, path, mix: str = "F16", imatrix: Mapping | None = None):
    """Write a Hugging Face Llama `model` and its tokenizer as the GGUF file `path`, its tensors typed by `mix`.

    model    the model, or the directory of its checkpoint, which need not fit into memory
    mix      F32, F16, BF16 or one of llama.cpp's mixes, such as "Q4_K_M" (mixes.BASE)
    imatrix  importance of each column, by tensor name of the file ("blk.0.attn_q.weight") -> (in,)

    One tensor at a time is read, turned and quantized. ValueError names what such a file cannot hold.
    """
    if mix not in mixes.WRITTEN:
        raise ValueError(f"mix must be one of {', '.join(mixes.WRITTEN)}, got {mix!r}")
    config, weights = _weights(model)
    metadata = keys(config, mix, config.vocab_size) | tokenizer_keys(tokenizer, config.vocab_size)
    shape = mixes.Model(
        config.num_hidden_layers,
        config.num_attention_heads // config.num_key_value_heads,
        bool(config.tie_word_embeddings),
        imatrix is not None,
    )
    parts = [_part(name, size, read, mix, shape, imatrix or {}) for name, size, read in _in_the_file(config, weights)]
    if imatrix and not any(part.name in imatrix for part in parts):
        raise ValueError(f"imatrix must name tensors of the file, such as blk.0.attn_q.weight, got {min(imatrix)}")
    return write(path, metadata, parts)


def tensors(model) -> Iterator[tuple[str, Tensor]]:
    """(name in the file, weight in ggml's order) of every parameter; a tied head is left out."""
    for name, _, read in _in_the_file(*_weights(model)):
        yield name, read()


def _weights(model) -> tuple[object, dict[str, tuple[tuple, Callable]]]:
    """Config, and parameter -> (shape, function that reads it), of a model or of a checkpoint directory."""
    if not isinstance(model, str | os.PathLike):
        return model.config, {name: (tuple(w.shape), lambda w=w: w) for name, w in model.state_dict().items()}
    from safetensors import safe_open
    from transformers import AutoConfig

    found = {}
    for file in sorted(Path(model).glob("*.safetensors")):
        with safe_open(file, "pt") as opened:
            for name in opened.keys():
                found[name] = tuple(opened.get_slice(name).get_shape()), functools.partial(_read, file, name)
    config = AutoConfig.from_pretrained(model)
    wanted = 9 * config.num_hidden_layers + (2 if config.tie_word_embeddings else 3)
    here = sum(name.endswith(".weight") for name in found) - (config.tie_word_embeddings and "lm_head.weight" in found)
    if here != wanted:
        raise ValueError(f"model must be a checkpoint of {wanted} weights in safetensors files, got {here}")
    return config, found


def _read(file: Path, name: str) -> Tensor:
    from safetensors import safe_open

    with safe_open(file, "pt") as opened:
        return opened.get_tensor(name)


def _in_the_file(config, weights) -> Iterator[tuple[str, tuple, Callable]]:
    """Name, shape and a function that reads the weight in ggml's order, of each tensor of the file."""
    heads = {"attn_q": config.num_attention_heads, "attn_k": config.num_key_value_heads}
    for theirs, (shape, read) in weights.items():
        if theirs == "lm_head.weight" and config.tie_word_embeddings or theirs.endswith("rotary_emb.inv_freq"):
            continue
        name = gguf_name(theirs)
        n = heads.get(name.split(".")[-2])
        yield name, shape, (lambda read=read, n=n: permute(read(), n)) if n else read


def _part(name: str, shape: tuple, read: Callable, mix: str, model: mixes.Model, imatrix: Mapping) -> Part:
    number = type_id(mixes.tensor_type(name, shape, mix, model))
    return Part(name, shape, number, lambda: stored(read(), number, imatrix.get(name)))


def stored(w: Tensor, number: int, importance=None) -> np.ndarray:
    """The bytes of w as the tensor type of this id."""
    w = w.cpu()
    if number == 30:
        return w.to(torch.bfloat16).contiguous().view(torch.uint8).numpy()
    if number in FLOATS:
        return w.float().numpy().astype(FLOATS[number][1])
    return ggml.quantize(w.float().numpy(), ggml.BY_ID[number].name, importance)


def keys(config, mix: str, vocabulary: int) -> dict:
    """The keys of general.* and llama.* that llama.cpp needs to build the model."""
    if config.model_type not in ("llama", "mistral"):
        raise ValueError(f"model must be a Llama or Mistral, got model_type {config.model_type!r}")
    if getattr(config, "hidden_act", "silu") != "silu":
        raise ValueError(f"model must have the activation silu, as llama.cpp computes it, got {config.hidden_act!r}")
    rope = getattr(config, "rope_parameters", None) or {"rope_theta": getattr(config, "rope_theta", 10_000.0)}
    if rope.get("rope_type", "default") != "default":
        raise ValueError(f"model must have plain rotary positions, got rope_type {rope['rope_type']!r}")
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return {
        "general.architecture": "llama",
        "general.name": str(getattr(config, "_name_or_path", "") or "llama").rstrip("/").split("/")[-1],
        "general.file_type": mixes.BASE[mix][1],
        "general.quantization_version": 2,
        "llama.vocab_size": vocabulary,
        "llama.context_length": config.max_position_embeddings,
        "llama.embedding_length": config.hidden_size,
        "llama.block_count": config.num_hidden_layers,
        "llama.feed_forward_length": config.intermediate_size,
        "llama.attention.head_count": config.num_attention_heads,
        "llama.attention.head_count_kv": config.num_key_value_heads,
        "llama.attention.key_length": head_dim,
        "llama.attention.value_length": head_dim,
        "llama.attention.layer_norm_rms_epsilon": float(config.rms_norm_eps),
        "llama.rope.dimension_count": head_dim,
        "llama.rope.freq_base": float(rope["rope_theta"]),
    }


def tokenizer_keys(tokenizer, size: int | None = None) -> dict:
    """The keys of tokenizer.ggml.*: tokens, kinds and merges of a byte-level BPE, padded to `size` tokens.

    Kinds: 1 of the vocabulary, 3 special, 4 added (cut out before the split, as are special ones), 5 unused.
    """
    described = json.loads(tokenizer.backend_tokenizer.to_str())
    if described["model"]["type"] != "BPE":
        raise ValueError(f"tokenizer must be a byte-level BPE, got {described['model']['type']}")
    tokens = {number: token for token, number in tokenizer.get_vocab().items()}
    size = size or max(tokens) + 1
    if max(tokens) >= size:
        raise ValueError(f"tokenizer must have at most {size} tokens, as the embedding has rows, got {max(tokens) + 1}")
    kinds = dict.fromkeys(tokens, 1) | {t["id"]: 3 if t["special"] else 4 for t in described["added_tokens"]}
    bos = tokenizer.bos_token_id
    result = {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": _pre_tokenizer(described["pre_tokenizer"]),
        "tokenizer.ggml.tokens": [tokens.get(number, f"[PAD{number}]") for number in range(size)],
        "tokenizer.ggml.token_type": np.array([kinds.get(number, 5) for number in range(size)], np.int32),
        "tokenizer.ggml.merges": [m if isinstance(m, str) else " ".join(m) for m in described["model"]["merges"]],
        "tokenizer.ggml.add_bos_token": bos is not None and tokenizer("a").input_ids[0] == bos,
    }
    for key, number in (("bos", bos), ("eos", tokenizer.eos_token_id), ("padding", tokenizer.pad_token_id)):
        if number is not None:
            result[f"tokenizer.ggml.{key}_token_id"] = number
    return result


def _pre_tokenizer(described: dict) -> str:
    """llama.cpp's name of the split before the merges; a wrong one gives other tokens without a word."""
    steps = described.get("pretokenizers", [described]) if described else []
    splits = [step["pattern"].get("Regex") for step in steps if step["type"] == "Split"] or [None]
    if [step["type"] for step in steps if step["type"] != "Split"] != ["ByteLevel"] or splits[0] not in PRE_TOKENIZERS:
        raise ValueError(f"tokenizer must split as GPT-2 or Llama 3 does, got {[step['type'] for step in steps]}")
    return PRE_TOKENIZERS[splits[0]]
