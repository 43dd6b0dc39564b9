"""A checkpoint of Hugging Face as GGUF, as llama.cpp's converter and quantizer would leave it: keys and tensors.

Llama, Mistral, Mixtral, Qwen2, Qwen3, Qwen3-MoE, Gemma 1 to 3 (text) and Phi-3; `architectures` says what they differ
in.
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from course_lib.artifacts.checkpoint import files_of_tensors
from course_lib.artifacts.gguf import architectures, attention, experts, mixes, rope
from course_lib.artifacts.gguf.architectures import gguf_name, hf_name, permute, unpermute
from course_lib.artifacts.gguf.tensors import FLOATS, type_id
from course_lib.artifacts.gguf.tokenizer import more_ends, named, tokenizer_keys
from course_lib.artifacts.gguf.writer import Part, write
from course_lib.formats import ggml

__all__ = ["export", "gguf_name", "head_dim_of", "hf_name", "keys", "permute", "stored", "tensors", "tokenizer_keys",
           "unpermute"]  # fmt: skip


def export(model, tokenizer, path, mix: str = "F16", imatrix: Mapping | None = None):
    """Write a Hugging Face `model` and its tokenizer as the GGUF file `path`, its tensors typed by `mix`.

    model    the model, or the directory of its checkpoint, which need not fit into memory
    mix      F32, F16, BF16 or one of llama.cpp's mixes, such as "Q4_K_M" (mixes.BASE)
    imatrix  importance of each column, by tensor name of the file ("blk.0.attn_q.weight") -> (in,), of a tensor of
             experts ("blk.0.ffn_up_exps.weight") -> (experts, in)

    One tensor at a time is read, turned and quantized. ValueError names what such a file cannot hold.
    """
    if mix not in mixes.WRITTEN:
        raise ValueError(f"mix must be one of {', '.join(mixes.WRITTEN)}, got {mix!r}")
    config, weights = _weights(model)
    metadata = keys(config, mix, config.vocab_size) | tokenizer_keys(tokenizer, config.vocab_size)
    metadata["general.name"] = named(metadata["general.name"], tokenizer)
    metadata |= more_ends(tokenizer, _ends(model, config))
    shape = mixes.Model(
        config.num_hidden_layers,
        config.num_attention_heads // config.num_key_value_heads,
        bool(config.tie_word_embeddings),
        imatrix is not None,
        architectures.of_config(config).name,
        experts.count(config),
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
    """Config, and parameter -> (shape, function that reads it), of a model or of a checkpoint directory.

    Experts are those of `experts.parted`, however model or checkpoint holds them.
    """
    if not isinstance(model, str | os.PathLike):
        here = {name: (tuple(w.shape), lambda w=w: w) for name, w in model.state_dict().items()}
        return model.config, experts.parted(here)
    from safetensors import safe_open
    from transformers import AutoConfig, AutoModelForCausalLM

    found, files = {}, files_of_tensors(model)
    for file in sorted(set(files.values())):
        with safe_open(file, "pt") as opened:
            for name in opened.keys():
                found[name] = tuple(opened.get_slice(name).get_shape()), functools.partial(_read, file, name)
    config = AutoConfig.from_pretrained(model)
    architectures.of_config(config)
    with torch.device("meta"):
        wanted = AutoModelForCausalLM.from_config(config).state_dict()
    if config.tie_word_embeddings:
        del wanted["lm_head.weight"]
    found, wanted = experts.parted(found), experts.parted({n: (tuple(w.shape), None) for n, w in wanted.items()})
    here = sum(name in found and found[name][0] == shape for name, (shape, _) in wanted.items())
    if here < len(wanted):
        raise ValueError(f"model must be a checkpoint of {len(wanted)} weights in safetensors files, got {here}")
    return config, found


def _ends(model, config) -> list[int]:
    """The tokens at which transformers ends a reply: those of the generation config, else of the config."""
    from transformers import GenerationConfig

    generation = getattr(model, "generation_config", None)
    if isinstance(model, str | os.PathLike) and (Path(model) / "generation_config.json").is_file():
        generation = GenerationConfig.from_pretrained(model)
    found = getattr(generation, "eos_token_id", None)
    found = config.eos_token_id if found is None else found
    return found if isinstance(found, list) else [] if found is None else [found]


def _read(file: Path, name: str) -> Tensor:
    from safetensors import safe_open

    with safe_open(file, "pt") as opened:
        return opened.get_tensor(name)


def _in_the_file(config, weights) -> Iterator[tuple[str, tuple, Callable]]:
    """Name, shape and a function that reads the weight in ggml's order, of each tensor of the file."""
    architecture = architectures.of_config(config)
    heads = architecture.heads(config)
    turning = rope.of_config(config, architecture)
    for name, divisors in rope.tensors(turning, rope.turned(turning, head_dim_of(config))).items():
        yield name, tuple(divisors.shape), lambda divisors=divisors: divisors
    for theirs, (shape, read) in weights.items():
        if theirs == "lm_head.weight" and config.tie_word_embeddings or theirs.endswith("rotary_emb.inv_freq"):
            continue
        name = gguf_name(theirs, architecture)
        if not architecture.holds(name):
            raise ValueError(f"{theirs} has no counterpart in a GGUF file of the architecture {architecture.name}")
        n = heads.get(name.split(".")[-2])
        yield name, shape, functools.partial(_in_ggmls_order, read, n, architecture.shift_of(name))


def _in_ggmls_order(read: Callable, heads: int | None, shift: float) -> Tensor:
    """A weight as the file has it: rows permuted where it has heads, a norm's shift added in float32."""
    w = permute(read(), heads) if heads else read()
    return w.float() + shift if shift else w


def _part(name: str, shape: tuple, read: Callable, mix: str, model: mixes.Model, imatrix: Mapping) -> Part:
    number = type_id(mixes.tensor_type(name, shape, mix, model))

    def data():
        try:
            return stored(read(), number, _importance(imatrix.get(name), shape))
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from error

    return Part(name, shape, number, data)


def _importance(given, shape: tuple[int, ...]):
    """The importance of a tensor of experts as (experts, in), of a matrix as it is; None where there is none."""
    if given is None or len(shape) < 3:
        return given
    if np.size(given) != shape[0] * shape[2]:
        raise ValueError(f"imatrix must hold {shape[0]} x {shape[2]} numbers, one an expert and column, got"
                         f" {np.size(given)}")  # fmt: skip
    return np.reshape(given, (shape[0], shape[2]))


def stored(w: Tensor, number: int, importance=None) -> np.ndarray:
    """The bytes of w as the tensor type of this id; of experts one after the other, each with its own importance."""
    w = w.cpu()
    if w.dim() == 3 and number not in FLOATS:
        rows = [None] * len(w) if importance is None else importance
        return np.concatenate([stored(one, number, row) for one, row in zip(w, rows, strict=True)])
    if number == 30:
        return w.to(torch.bfloat16).contiguous().view(torch.uint8).numpy()
    if number in FLOATS:
        return w.float().numpy().astype(FLOATS[number][1])
    return ggml.quantize(w.float().numpy(), ggml.BY_ID[number].name, importance)


def keys(config, mix: str, vocabulary: int) -> dict:
    """The keys of general.* and ARCHITECTURE.* that llama.cpp needs to build the model."""
    architecture = architectures.of_config(config)
    name, head_dim = architecture.name, head_dim_of(config)
    if not 1 <= config.max_position_embeddings < 2**31:
        raise ValueError("model must have max_position_embeddings from 1 to 2^31 - 1, as llama.cpp counts tokens,"
                         f" got {config.max_position_embeddings!r}")  # fmt: skip
    return {
        "general.architecture": name,
        "general.name": re.split(r"[\\/]", str(getattr(config, "_name_or_path", "") or name).rstrip("\\/"))[-1],
        "general.file_type": mixes.BASE[mix][1],
        "general.quantization_version": 2,
        f"{name}.vocab_size": vocabulary,
        f"{name}.context_length": config.max_position_embeddings,
        f"{name}.embedding_length": config.hidden_size,
        f"{name}.block_count": config.num_hidden_layers,
        f"{name}.feed_forward_length": config.intermediate_size,
        f"{name}.attention.head_count": config.num_attention_heads,
        f"{name}.attention.head_count_kv": config.num_key_value_heads,
        f"{name}.attention.key_length": head_dim,
        f"{name}.attention.value_length": head_dim,
        f"{name}.attention.layer_norm_rms_epsilon": float(config.rms_norm_eps),
        f"{name}.rope.dimension_count": rope.turned(rope.of_config(config, architecture), head_dim),
        **experts.keys(config, name),
        **attention.keys(config, architecture, head_dim),
        **rope.keys(config, architecture),
    }


def head_dim_of(config) -> int:
    """Numbers in a head: the config's own, or the width shared out."""
    return getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
