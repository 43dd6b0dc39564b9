"""A GGUF file as a model in torch: keys become a config, blocks float32 weights in Hugging Face's order."""

from __future__ import annotations

import math

import torch

from course_lib.artifacts.gguf import attention, experts, longrope, rope, scales
from course_lib.artifacts.gguf.architectures import ARCHITECTURES, ROPE_FREQS, Architecture, hf_name, unpermute
from course_lib.artifacts.gguf.reader import GGUFError, GGUFFile, read
from course_lib.artifacts.gguf.tokenizer import token_id, tokenizer_of
from course_lib.calibrate import QuantLinear, quantized
from course_lib.calibrate.experts import take_apart
from course_lib.formats.ggml import TYPES
from course_lib.formats.ggml.weight import Blocks

MAX_LAYERS = 512  # as llama.cpp has it
TENSORS_OF_A_LAYER = 6  # at least
_SPECIAL = {"bos": "bos", "eos": "eos", "pad": "padding"}  # transformers' name of a token: ggml's
__all__ = ["config_of", "keeping_blocks", "load", "model_of", "tokenizer_of"]


def load(path, blocks: bool = False):
    """Return `(model, tokenizer)` from a GGUF file of any tensor types, weights decoded to float32.

    blocks=True makes QuantLinears of the linears, with the file's own blocks as their weights: on a GPU kernels then
    read those; experts are then taken apart. GGUFError for a file that is damaged, of another architecture, or lacks a
    key or a tensor.
    """
    file = read(path)
    model = model_of(file)
    return keeping_blocks(model, file) if blocks else model, tokenizer_of(file)


def keeping_blocks(model, file: GGUFFile):
    """The model of a file with QuantLinears over the file's blocks, moved to a GPU if there is one."""
    architecture = architecture_of(file)
    heads = architecture.heads(model.config)
    take_apart(model)
    modules = dict(model.named_modules())
    for name in _weights(file):
        info, role = file.tensors[name], name.split(".")[-2]
        ours = experts.modules(_known(name, architecture), info.shape)
        if info.type not in TYPES or name.endswith(".bias") or scales.scale(file, name) is not None:
            continue
        if not isinstance(modules.get(ours[0]), torch.nn.Linear):
            continue
        rows = torch.from_numpy(file.data(name).copy()).reshape(len(ours), info.shape[-2], -1)
        for one, blocks in zip(ours, rows, strict=True):
            blocks = unpermute(blocks, heads[role]).contiguous() if role in heads else blocks
            model.set_submodule(one, QuantLinear(Blocks(blocks, info.type), modules[one].bias))
    model.qtensors = quantized(model)
    return model.to("cuda" if torch.cuda.is_available() else "cpu")


def architecture_of(file: GGUFFile) -> Architecture:
    """The architecture of a file; GGUFError for one that is whole and still no model that can be built here."""
    name = file.metadata.get("general.architecture")
    if not isinstance(name, str) or name not in ARCHITECTURES:
        raise GGUFError(f"general.architecture must be one of {', '.join(ARCHITECTURES)}, got {name!r:.60}")
    if file.metadata.get("split.count", 1) not in (0, 1):
        raise GGUFError("the file is one part of several: `llama-gguf-split --merge` makes one of them")
    return ARCHITECTURES[name]


def config_of(file: GGUFFile):
    """The transformers config that the keys describe; every number in it is held against the tensors that are there."""
    from transformers import AutoConfig

    architecture = architecture_of(file)
    keys, arch = file.metadata, architecture.name
    vocabulary, hidden = _vocabulary_size(keys, arch), _number(keys, f"{arch}.embedding_length", int)
    heads = _number(keys, f"{arch}.attention.head_count", int)
    head_dim = _number(keys, f"{arch}.attention.key_length", int, max(1, hidden // heads))
    config = dict(
        vocab_size=vocabulary,
        max_position_embeddings=_number(keys, f"{arch}.context_length", int),
        hidden_size=hidden,
        num_hidden_layers=_number(keys, f"{arch}.block_count", int),
        intermediate_size=_number(keys, f"{arch}.feed_forward_length", int),
        num_attention_heads=heads,
        num_key_value_heads=_number(keys, f"{arch}.attention.head_count_kv", int, heads),
        head_dim=head_dim,
        rms_norm_eps=_number(keys, f"{arch}.attention.layer_norm_rms_epsilon", float),
        tie_word_embeddings="output.weight" not in file.tensors,
        **{f"{ours}_token_id": token_id(keys, theirs, vocabulary) for ours, theirs in _SPECIAL.items()},
    )
    ends = (config["eos_token_id"], *(token_id(keys, kind, vocabulary) for kind in ("eot", "eom")))
    if len(found := list(dict.fromkeys(number for number in ends if number is not None))) > 1:
        config["eos_token_id"] = found
    config |= experts.parameters(keys, arch, architecture.experts is True, config["intermediate_size"])
    if config.get("model_type", arch) == "llama":
        for name, role in (("attention_bias", "attn_q"), ("mlp_bias", "ffn_up")):
            config[name] = f"blk.0.{role}.bias" in file.tensors
    _check_sizes(config, keys, file, arch)
    config |= attention.parameters(keys, architecture, config)
    config["rope_parameters"] = _rope(file, architecture, head_dim)
    twice = "original_max_position_embeddings"  # in Phi-3's config
    config |= {name: value for name, value in config["rope_parameters"].items() if name == twice}
    return AutoConfig.for_model(**{"model_type": architecture.model_type} | config)


def _rope(file: GGUFFile, architecture: Architecture, head_dim: int) -> dict:
    base = _number(file.metadata, f"{architecture.name}.rope.freq_base", float, rope.ROPE_BASE)
    given = {name: torch.from_numpy(file.tensor(name)) for name in rope.TENSORS if name in file.tensors}
    if architecture.partial:
        return longrope.parameters(file.metadata, architecture.name, base, given, head_dim)
    if set(given) - {ROPE_FREQS}:
        raise GGUFError(f"rope_factors belong to phi3 files, got one of {architecture.name}")
    found = rope.parameters(file.metadata, architecture, base, given.get(ROPE_FREQS), head_dim)
    if not architecture.local:
        return found
    local = _number(file.metadata, f"{architecture.name}.{rope.WINDOWS_BASE}", float, rope.ROPE_BASE)
    return {"full_attention": found, "sliding_attention": {"rope_type": "default", "rope_theta": local}}


def _vocabulary_size(keys: dict, arch: str) -> int:
    """ARCHITECTURE.vocab_size, or the number of tokens where the key is missing."""
    tokens = keys.get("tokenizer.ggml.tokens")
    size = _number(keys, f"{arch}.vocab_size", int, len(tokens) if isinstance(tokens, list) else None)
    if isinstance(tokens, list) and len(tokens) > size:
        raise GGUFError(f"{arch}.vocab_size is {size}, but there are {len(tokens)} tokens")
    return size


def _number(keys: dict, key: str, kind: type, default=None):
    """keys[key], a positive number of this type, or the default where the key is missing."""
    value = keys.get(key, default)
    if type(value) is not kind or not 0 < value < (2**31 if kind is int else math.inf):
        raise GGUFError(f"{key} must be a positive {kind.__name__}, got {value!r:.60}")
    return value


def _check_sizes(config: dict, keys: dict, file: GGUFFile, arch: str) -> None:
    """GGUFError for numbers that do not go together, or for a model that is far larger than the file."""
    hidden, heads, head_dim = (config[name] for name in ("hidden_size", "num_attention_heads", "head_dim"))
    if hidden % heads or heads % config["num_key_value_heads"] or head_dim % 2:
        raise GGUFError(f"{heads} heads of {head_dim}, {config['num_key_value_heads']} of them with keys, do not"
                        f" share {hidden} channels")  # fmt: skip
    turned = () if ARCHITECTURES[arch].partial else (f"{arch}.rope.dimension_count",)
    for key in (*turned, f"{arch}.attention.value_length"):
        if keys.get(key, head_dim) != head_dim:
            raise GGUFError(f"{key} must be the keys' length, {head_dim}, got {keys[key]!r:.60}")
    widest = hidden * max(config["vocab_size"], config["intermediate_size"], heads * head_dim, experts.rows(config))
    layers = config["num_hidden_layers"]
    if widest > 64 * sum(info.nbytes for info in file.tensors.values()) or layers > MAX_LAYERS:
        raise GGUFError("the keys describe a model that is far larger than the file")
    if TENSORS_OF_A_LAYER * layers > len(file.tensors):
        raise GGUFError(f"{arch}.block_count is {layers}, but there are only {len(file.tensors)} tensors")


def model_of(file: GGUFFile):
    """The transformers model of a file, on the CPU in float32."""
    from transformers import AutoModelForCausalLM

    config = config_of(file)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    wanted, architecture = _wanted(model), architecture_of(file)
    for name in _weights(file):
        info = file.tensors[name]
        if not architecture.holds(name) or wanted.pop(_known(name, architecture), None) != info.shape:
            raise GGUFError(f"{name} has the shape {info.shape}, which the keys do not describe")
    if wanted:
        raise GGUFError(f"{len(wanted)} tensors are missing, {min(wanted)} among them")
    heads, state = architecture.heads(config), {}
    for name in _weights(file):
        w, role = torch.from_numpy(file.tensor(name)), name.split(".")[-2]
        factor = scales.scale(file, name)
        w = w if factor is None else w * torch.from_numpy(factor)
        w = w - shift if (shift := architecture.shift_of(name)) else w
        state[_known(name, architecture)] = unpermute(w, heads[role]).contiguous() if role in heads else w
    if config.tie_word_embeddings:
        state["lm_head.weight"] = state["model.embed_tokens.weight"]
    model.load_state_dict(experts.fused(state), assign=True)
    model.tie_weights()
    model.model.rotary_emb = type(model.model.rotary_emb)(config)  # its frequencies are in no file
    if hasattr(model.model.embed_tokens, "scalar_embed_scale"):  # nor is Gemma's factor of the embedding
        model.model.embed_tokens.embed_scale = torch.tensor(model.model.embed_tokens.scalar_embed_scale)
    return model.eval()


def _wanted(model) -> dict[str, tuple[int, ...]]:
    """Name -> shape of the weights that a model's file holds, named as in transformers but for experts."""
    shapes = {name: (tuple(p.shape), None) for name, p in model.state_dict().items()}
    if model.config.tie_word_embeddings:
        del shapes["lm_head.weight"]
    return {name: shape for name, (shape, _) in experts.parted(shapes).items()}


def _weights(file: GGUFFile) -> list[str]:
    """Names of the tensors that are parameters of the model."""
    return [name for name in scales.weights(file) if name not in rope.TENSORS]


def _known(name: str, architecture: Architecture) -> str:
    try:
        return hf_name(name, architecture)
    except ValueError as error:
        raise GGUFError(str(error)) from None
