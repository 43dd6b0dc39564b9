"""A llama GGUF file as a model in torch: keys become a config, blocks float32 weights in Hugging Face's order."""

from __future__ import annotations

import math

import torch

from course_lib.artifacts.gguf import scales
from course_lib.artifacts.gguf.llama import PRE_TOKENIZERS, hf_name, unpermute
from course_lib.artifacts.gguf.reader import GGUFError, GGUFFile, read
from course_lib.calibrate import QuantLinear, quantized
from course_lib.formats.ggml import TYPES
from course_lib.formats.ggml.weight import Blocks

ROPE_BASE = 10_000.0  # what llama.cpp takes where the key is missing
MAX_LAYERS = 512  # as llama.cpp has it
TENSORS_OF_A_LAYER = 9
_SPECIAL = {"bos": "bos", "eos": "eos", "pad": "padding"}  # transformers' name of a token: ggml's


def load(path, blocks: bool = False):
    """Return `(model, tokenizer)` from a llama GGUF file of any tensor types, weights decoded to float32.

    blocks=True makes QuantLinears of the linears, with the file's own blocks as their weights: on a GPU kernels then
    read those. GGUFError for a file that is damaged, is no llama, or lacks a key or a tensor.
    """
    file = read(path)
    model = model_of(file)
    return keeping_blocks(model, file) if blocks else model, tokenizer_of(file)


def keeping_blocks(model, file: GGUFFile):
    """The model of a file with QuantLinears over the file's blocks, moved to a GPU if there is one."""
    heads = {"attn_q": model.config.num_attention_heads, "attn_k": model.config.num_key_value_heads}
    for name in scales.weights(file):
        info = file.tensors[name]
        ours, role = _known(name).removesuffix(".weight"), name.split(".")[-2]
        linear = isinstance(model.get_submodule(ours), torch.nn.Linear)
        if info.type not in TYPES or not linear or scales.scale(file, name) is not None:
            continue
        rows = torch.from_numpy(file.data(name).copy()).reshape(info.shape[0], -1)
        rows = unpermute(rows, heads[role]).contiguous() if role in heads else rows
        model.set_submodule(ours, QuantLinear(Blocks(rows, info.type)))
    model.qtensors = quantized(model)
    return model.to("cuda" if torch.cuda.is_available() else "cpu")


def config_of(file: GGUFFile):
    """The LlamaConfig that the keys describe; every number in it is held against the tensors that are there."""
    from transformers import LlamaConfig

    keys = file.metadata
    _check_kind(file)
    vocabulary, hidden = _vocabulary_size(keys), _number(keys, "llama.embedding_length", int)
    heads = _number(keys, "llama.attention.head_count", int)
    head_dim = _number(keys, "llama.attention.key_length", int, max(1, hidden // heads))
    config = dict(
        vocab_size=vocabulary,
        max_position_embeddings=_number(keys, "llama.context_length", int),
        hidden_size=hidden,
        num_hidden_layers=_number(keys, "llama.block_count", int),
        intermediate_size=_number(keys, "llama.feed_forward_length", int),
        num_attention_heads=heads,
        num_key_value_heads=_number(keys, "llama.attention.head_count_kv", int, heads),
        head_dim=head_dim,
        rms_norm_eps=_number(keys, "llama.attention.layer_norm_rms_epsilon", float),
        rope_parameters={"rope_type": "default",
                         "rope_theta": _number(keys, "llama.rope.freq_base", float, ROPE_BASE)},
        tie_word_embeddings="output.weight" not in file.tensors,
        **{f"{ours}_token_id": _token(keys, theirs, vocabulary) for ours, theirs in _SPECIAL.items()},
    )  # fmt: skip
    _check_sizes(config, keys, file)
    return LlamaConfig(**config)


def _check_kind(file: GGUFFile) -> None:
    """GGUFError for a file that is whole and right, and still no llama that can be built here."""
    keys = file.metadata
    if keys.get("general.architecture") != "llama":
        raise GGUFError(f"general.architecture must be 'llama', got {keys.get('general.architecture')!r:.60}")
    if keys.get("split.count", 1) not in (0, 1):
        raise GGUFError("the file is one part of several: `llama-gguf-split --merge` makes one of them")
    if "rope_freqs.weight" in file.tensors or any(key.startswith("llama.rope.scal") for key in keys):
        raise GGUFError("only plain rotary positions are read, the file scales them")


def _vocabulary_size(keys: dict) -> int:
    """llama.vocab_size, or the number of tokens where the key is missing."""
    tokens = keys.get("tokenizer.ggml.tokens")
    size = _number(keys, "llama.vocab_size", int, len(tokens) if isinstance(tokens, list) else None)
    if isinstance(tokens, list) and len(tokens) > size:
        raise GGUFError(f"llama.vocab_size is {size}, but there are {len(tokens)} tokens")
    return size


def _number(keys: dict, key: str, kind: type, default=None):
    """keys[key], a positive number of this type, or the default where the key is missing."""
    value = keys.get(key, default)
    if type(value) is not kind or not 0 < value < (2**31 if kind is int else math.inf):
        raise GGUFError(f"{key} must be a positive {kind.__name__}, got {value!r:.60}")
    return value


def _token(keys: dict, name: str, size: int) -> int | None:
    """The number of a special token; None where there is none, or none of the vocabulary, as llama.cpp has it."""
    value = keys.get(f"tokenizer.ggml.{name}_token_id")
    return value if type(value) is int and 0 <= value < size else None


def _check_sizes(config: dict, keys: dict, file: GGUFFile) -> None:
    """GGUFError for numbers that do not go together, or for a model that is far larger than the file."""
    hidden, heads, head_dim = (config[name] for name in ("hidden_size", "num_attention_heads", "head_dim"))
    if hidden % heads or heads % config["num_key_value_heads"] or head_dim % 2:
        raise GGUFError(f"{heads} heads of {head_dim}, {config['num_key_value_heads']} of them with keys, do not"
                        f" share {hidden} channels")  # fmt: skip
    for key in ("llama.rope.dimension_count", "llama.attention.value_length"):
        if keys.get(key, head_dim) != head_dim:
            raise GGUFError(f"{key} must be the keys' length, {head_dim}, got {keys[key]!r:.60}")
    widest = hidden * max(config["vocab_size"], config["intermediate_size"], heads * head_dim)
    layers = config["num_hidden_layers"]
    if widest > 64 * sum(info.nbytes for info in file.tensors.values()) or layers > MAX_LAYERS:
        raise GGUFError("the keys describe a model that is far larger than the file")
    if TENSORS_OF_A_LAYER * layers > len(file.tensors):
        raise GGUFError(f"llama.block_count is {layers}, but there are only {len(file.tensors)} tensors")


def model_of(file: GGUFFile):
    """The LlamaForCausalLM of a file, on the CPU in float32."""
    from transformers import LlamaForCausalLM

    config = config_of(file)
    with torch.device("meta"):
        model = LlamaForCausalLM(config)
    wanted = {name: tuple(p.shape) for name, p in model.state_dict().items()}
    if config.tie_word_embeddings:
        del wanted["lm_head.weight"]
    for name in scales.weights(file):
        info = file.tensors[name]
        if wanted.pop(_known(name), None) != info.shape:
            raise GGUFError(f"{name} has the shape {info.shape}, which the keys do not describe")
    if wanted:
        raise GGUFError(f"{len(wanted)} tensors are missing, {min(wanted)} among them")
    heads, state = {"attn_q": config.num_attention_heads, "attn_k": config.num_key_value_heads}, {}
    for name in scales.weights(file):
        w, role = torch.from_numpy(file.tensor(name)), name.split(".")[-2]
        factor = scales.scale(file, name)
        w = w if factor is None else w * factor
        state[_known(name)] = unpermute(w, heads[role]).contiguous() if role in heads else w
    if config.tie_word_embeddings:
        state["lm_head.weight"] = state["model.embed_tokens.weight"]
    model.load_state_dict(state, assign=True)
    model.tie_weights()
    model.model.rotary_emb = type(model.model.rotary_emb)(config)  # its frequencies are in no file
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
    from tokenizers import AddedToken, Tokenizer, decoders, models, processors
    from transformers import PreTrainedTokenizerFast

    tokens, merges = _vocabulary(keys)
    vocabulary, name = {token: number for number, token in enumerate(tokens)}, keys.get("tokenizer.ggml.pre")
    whole = name == "llama-bpe"  # llama.cpp then takes a piece that is a token as it is, without its merges
    bpe = Tokenizer(models.BPE(vocab=vocabulary, merges=merges, ignore_merges=whole))
    bpe.pre_tokenizer, bpe.decoder = _pre_tokenizer(name), decoders.ByteLevel()
    for kind, add in ((3, bpe.add_special_tokens), (4, bpe.add_tokens)):
        add([AddedToken(t, special=kind == 3, normalized=False) for t in _of_kind(tokens, keys, kind)])
    given = {f"{ours}_token": _token(keys, theirs, len(tokens)) for ours, theirs in _SPECIAL.items()}
    first = keys.get("tokenizer.ggml.add_bos_token", whole)  # with llama-bpe also where the key is missing
    if first is True and given["bos_token"] is not None:
        bos = tokens[given["bos_token"]]
        bpe.post_processor = processors.TemplateProcessing(
            single=["BOS:0", "$A:0"], pair=["BOS:0", "$A:0", "BOS:1", "$B:1"],
            special_tokens=[{"id": "BOS", "ids": [given["bos_token"]], "tokens": [bos]}],
        )  # fmt: skip
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        clean_up_tokenization_spaces=False,
        **{name: tokens[number] for name, number in given.items() if number is not None},
    )


def _pre_tokenizer(name):
    """How text is cut before its bytes are merged, by ggml's name for it; GGUFError for a name that is not known."""
    from tokenizers import Regex, pre_tokenizers

    pattern = next((regex for regex, known in PRE_TOKENIZERS.items() if known == name), ...)
    if pattern is ...:
        raise GGUFError(f"tokenizer.ggml.pre must be one of {', '.join(PRE_TOKENIZERS.values())}, got {name!r:.60}")
    level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=pattern is None)
    if pattern is None:
        return level
    return pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(pattern), "isolated"), level])


def _of_kind(tokens: list[str], keys: dict, kind: int) -> list[str]:
    """The tokens of a kind, such as 3 for special ones."""
    kinds = keys.get("tokenizer.ggml.token_type")
    return [t for t, k in zip(tokens, kinds if isinstance(kinds, list) else (), strict=False) if k == kind]


def _vocabulary(keys: dict) -> tuple[list[str], list[tuple[str, str]]]:
    """(tokens, merges) after looking that tokens differ, and that each merge joins two of them to a third."""
    tokens, merges = (_texts(keys, f"tokenizer.ggml.{name}") for name in ("tokens", "merges"))
    known = set(tokens)
    if len(known) < len(tokens):
        raise GGUFError("tokenizer.ggml.tokens must differ from each other")
    pairs = [tuple(merge.split(" ", 1)) for merge in merges]
    for merge, pair in zip(merges, pairs, strict=True):
        if len(pair) < 2 or not known.issuperset((*pair, "".join(pair))):
            raise GGUFError(f"tokenizer.ggml.merges must join two tokens to a third, got {merge!r:.60}")
    return tokens, pairs


def _texts(keys: dict, key: str) -> list[str]:
    """keys[key], a list of strings in valid UTF-8."""
    value = keys.get(key)
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        try:
            "".join(value).encode()
            return value
        except UnicodeEncodeError:
            pass
    raise GGUFError(f"{key} must be a list of strings in UTF-8")
