"""A llama GGUF file as a model in torch: keys become a config, blocks float32 weights in Hugging Face's order."""

from __future__ import annotations

import torch

from course_lib.artifacts.gguf.llama import PRE_TOKENIZERS, hf_name, unpermute
from course_lib.artifacts.gguf.reader import GGUFError, GGUFFile, read

_CONFIG = {  # LlamaConfig: (key, type)
    "vocab_size": ("llama.vocab_size", int),
    "max_position_embeddings": ("llama.context_length", int),
    "hidden_size": ("llama.embedding_length", int),
    "num_hidden_layers": ("llama.block_count", int),
    "intermediate_size": ("llama.feed_forward_length", int),
    "num_attention_heads": ("llama.attention.head_count", int),
    "rms_norm_eps": ("llama.attention.layer_norm_rms_epsilon", float),
}
ROPE_BASE = 10_000.0  # what llama.cpp takes where the key is missing


def load(path):
    """Return `(model, tokenizer)` from a llama GGUF file of any tensor types, weights decoded to float32.

    GGUFError for a file that is damaged, is no llama, or lacks a key or a tensor.
    """
    file = read(path)
    config = config_of(file)
    return _model(file, config), tokenizer_of(file)


def config_of(file: GGUFFile):
    """The LlamaConfig that the keys describe."""
    from transformers import LlamaConfig

    keys = file.metadata
    if keys.get("general.architecture") != "llama":
        raise GGUFError(f"general.architecture must be 'llama', got {keys.get('general.architecture')!r}")
    found = {}
    for name, (key, kind) in _CONFIG.items():
        if name == "vocab_size" and key not in keys:
            keys[key] = len(keys.get("tokenizer.ggml.tokens", ()))
        value = keys.get(key)
        if not isinstance(value, kind) or not value > 0:
            raise GGUFError(f"{key} must be a positive {kind.__name__}, got {value!r}")
        found[name] = value
    heads, rope = found["num_attention_heads"], keys.get("llama.rope.freq_base", ROPE_BASE)
    if "rope_freqs.weight" in file.tensors or "llama.rope.scaling.type" in keys:
        raise GGUFError("only plain rotary positions are read, the file scales them")
    return LlamaConfig(
        **found,
        num_key_value_heads=keys.get("llama.attention.head_count_kv", heads),
        head_dim=keys.get("llama.attention.key_length", found["hidden_size"] // heads),
        rope_parameters={"rope_type": "default", "rope_theta": rope},
        tie_word_embeddings="output.weight" not in file.tensors,
        bos_token_id=keys.get("tokenizer.ggml.bos_token_id"),
        eos_token_id=keys.get("tokenizer.ggml.eos_token_id"),
        pad_token_id=keys.get("tokenizer.ggml.padding_token_id"),
    )


def _model(file: GGUFFile, config):
    from transformers import LlamaForCausalLM

    stored = sum(info.nbytes for info in file.tensors.values())
    if config.vocab_size * config.hidden_size > 64 * stored or config.num_hidden_layers > len(file.tensors):
        raise GGUFError("the keys describe a model that is far larger than the file")
    with torch.device("meta"):
        model = LlamaForCausalLM(config)
    wanted = {name: tuple(p.shape) for name, p in model.state_dict().items()}
    if config.tie_word_embeddings:
        del wanted["lm_head.weight"]
    heads = {"attn_q": config.num_attention_heads, "attn_k": config.num_key_value_heads}
    state = {}
    for name, info in file.tensors.items():
        theirs = _known(name)
        if wanted.pop(theirs, None) != info.shape:
            raise GGUFError(f"{name} has the shape {info.shape}, which the keys do not describe")
        w = torch.from_numpy(file.tensor(name))
        role = name.split(".")[-2]
        state[theirs] = unpermute(w, heads[role]).contiguous() if role in heads else w.clone()
    if wanted:
        raise GGUFError(f"{len(wanted)} tensors are missing, {min(wanted)} among them")
    if config.tie_word_embeddings:
        state["lm_head.weight"] = state["model.embed_tokens.weight"]
    # built a second time off the meta device, for the buffers of the rotary positions
    model = LlamaForCausalLM(config)
    model.load_state_dict(state, assign=True)
    model.tie_weights()
    return model.eval()


def _known(name: str) -> str:
    try:
        return hf_name(name)
    except ValueError as error:
        raise GGUFError(str(error)) from None


def tokenizer_of(file: GGUFFile):
    """The tokenizer that the keys describe, or None where the file has no byte-level BPE."""
    keys = file.metadata
    if keys.get("tokenizer.ggml.model") != "gpt2" or "tokenizer.ggml.merges" not in keys:
        return None
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    tokens = keys["tokenizer.ggml.tokens"]
    merges = [tuple(merge.split(" ", 1)) for merge in keys["tokenizer.ggml.merges"]]
    bpe = Tokenizer(models.BPE(vocab={token: number for number, token in enumerate(tokens)}, merges=merges))
    pattern = {name: regex for regex, name in PRE_TOKENIZERS.items()}.get(keys.get("tokenizer.ggml.pre"), ...)
    if pattern is ...:
        raise GGUFError(f"tokenizer.ggml.pre must be one of {', '.join(PRE_TOKENIZERS.values())}")
    level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=pattern is None)
    if pattern is not None:
        from tokenizers import Regex

        level = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(pattern), "isolated"), level])
    bpe.pre_tokenizer, bpe.decoder = level, decoders.ByteLevel()
    special = [t for t, kind in zip(tokens, keys.get("tokenizer.ggml.token_type", ()), strict=False) if kind == 3]
    bpe.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    names = {"bos_token": "bos", "eos_token": "eos", "pad_token": "padding"}
    given = {ours: keys.get(f"tokenizer.ggml.{theirs}_token_id") for ours, theirs in names.items()}
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        clean_up_tokenization_spaces=False,
        **{name: tokens[number] for name, number in given.items() if number is not None and number < len(tokens)},
    )
