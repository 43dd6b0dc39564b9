"""What a GGUF file asks of a machine: the bytes of each layer, of the output layer and of the cache, from its header.

Nothing of the data is read, so that a file of 40 GB takes no longer than one of 4.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from course_lib.artifacts.gguf import GGUFFile
from course_lib.artifacts.gguf.mixes import Model, size_of, tensor_type
from course_lib.capacity.offload import Needs
from course_lib.kvcache.layers import layers as kv_layers

CACHE_TYPES = {16: ("f16", 16), 8: ("q8_0", 8.5), 4: ("q4_0", 4.5)}  # --kv-bits: llama.cpp's name, stored bits
CONTEXT_STEP = 256  # llama.cpp rounds a context up to a multiple of this
BATCH = 512  # tokens that llama.cpp works on at once: its default -ub
_OTHER_ATTENTION = ("attention.kv_lora_rank", "ssm.state_size", "full_attention_interval")


def kv_layer_bytes(context: int, kv_heads: int, key: int, value: int, bits: float = 16) -> int:
    """Bytes of one layer's cache: context · kv_heads · (key + value) · bits / 8; context rounded up as llama.cpp does.

    >>> kv_layer_bytes(8192, kv_heads=8, key=128, value=128) * 32 / 2**30        # Llama 3 8B
    1.0
    """
    for name, n in (("context", context), ("kv_heads", kv_heads), ("key", key), ("value", value)):
        if not isinstance(n, int) or isinstance(n, bool) or n < 1:
            raise ValueError(f"{name} must be a whole number from 1 up, got {n!r}")
    rows = -(-context // CONTEXT_STEP) * CONTEXT_STEP
    return round(rows * kv_heads * (key + value) * bits / 8)


def window_cells(window: int, context: int, sequences: int = 1) -> int:
    """Tokens that llama.cpp keeps in a layer with a window: one window a sequence and a batch, at most the context.

        min(context, window · sequences + 512), rounded up to a multiple of 256

    llama_kv_cache_iswa in llama.cpp's src/llama-kv-cache-iswa.cpp, without --swa-full.

    >>> window_cells(1024, 8192), window_cells(1024, 8192, sequences=4), window_cells(4096, 2048)
    (1536, 4608, 2048)
    """
    for name, n in (("window", window), ("context", context), ("sequences", sequences)):
        if not isinstance(n, int) or isinstance(n, bool) or n < 1:
            raise ValueError(f"{name} must be a whole number from 1 up, got {n!r}")
    rows = -(-context // CONTEXT_STEP) * CONTEXT_STEP
    return -(-min(rows, window * sequences + BATCH) // CONTEXT_STEP) * CONTEXT_STEP


def compute_bytes(vocabulary: int, hidden: int, ffn: int, context: int, used: int = 0, cells: int = 0) -> int:
    """Bytes of a GPU's compute buffer, at most, with batch = 512 or the context where that is shorter.

        4 · batch · (max(vocabulary, wide) + 6 · hidden) + 2 · batch · (context + cells)

    Logits or the wide tensors of an MLP, the residual stream and what stands beside it, and 16-bit masks, of which
    layers with a window have one of their own, as long as their cache (`window_cells`; 0 without windows); with flash
    attention, as is llama.cpp's default. wide is 3 · ffn; where a token goes to `used` experts of such an ffn,
    used · max(3 · ffn, 2 · hidden). Fitted to the buffer sizes that it reports; tests hold it against them.
    """
    rows = -(-context // CONTEXT_STEP) * CONTEXT_STEP
    batch = min(BATCH, context)
    wide = used * max(3 * ffn, 2 * hidden) if used else 3 * ffn
    return 4 * batch * (max(vocabulary, wide) + 6 * hidden) + 2 * batch * (rows + cells)


def needs_of_file(file: GGUFFile, context: int, kv_bits: float = 16) -> Needs:
    """Needs of an opened GGUF file for one sequence of `context` tokens; ValueError names what cannot be placed."""
    keys = file.metadata
    arch = keys.get("general.architecture")
    other = [key for key in _OTHER_ATTENTION if keys.get(f"{arch}.{key}")]
    if other:
        raise ValueError(f"the planner counts plain attention only, and this file has {arch}.{other[0]}")
    layers, hidden = (_whole(keys, f"{arch}.{key}") for key in ("block_count", "embedding_length"))
    sizes = _by_place({name: info.nbytes for name, info in file.tensors.items()})
    missing = next((n for n in range(layers) if str(n) not in sizes), None)
    if missing is not None or "token_embd.weight" not in file.tensors:
        raise ValueError(f"the file has no tensors of {'the embedding' if missing is None else f'layer {missing}'}")
    embedding, width = sizes["token_embd"], _head_sizes(keys, arch, hidden)
    vocabulary, ffn, used = file.tensors["token_embd.weight"].shape[0], f"{arch}.feed_forward_length", 0
    if keys.get(f"{arch}.expert_count"):
        used = _whole(keys, f"{arch}.expert_used_count")
        ffn = f"{arch}.expert_feed_forward_length" if f"{arch}.expert_feed_forward_length" in keys else ffn
    caps, heads = _caps(_windows(keys, arch, layers), context), _kv_heads(keys, arch, layers)
    return Needs(
        layers=tuple(sizes[str(n)] for n in range(layers)),
        kv=_kv(caps, heads, width, context, kv_bits),
        output=sizes.get("output_norm", 0) + sizes.get("output", embedding),  # tied: a second copy of the embedding
        embedding=embedding,
        compute=compute_bytes(vocabulary, hidden, _whole(keys, ffn), context, used, _cells(caps, context)),
        caps=caps,
    )


def needs_of_config(config: Mapping, mix: str, context: int, kv_bits: float = 16, sequences: int = 1) -> Needs:
    """Needs of a config as a GGUF file of this mix would have them, before any file is made.

    context counts the tokens of all sequences; ValueError for a model that no GGUF file is written of.
    """
    from course_lib.artifacts.gguf import experts
    from course_lib.artifacts.gguf.architectures import ARCHITECTURES, OF_MODEL_TYPE, gguf_name
    from course_lib.capacity.shapes import parameter_shapes

    found = experts.parted({name: (shape, None) for name, shape in parameter_shapes(config).items()})
    architecture = ARCHITECTURES[OF_MODEL_TYPE[config.get("model_type", "llama")]]
    shapes = {gguf_name(name, architecture): shape for name, (shape, _) in found.items()}
    heads, hidden, vocabulary = (config[key] for key in ("num_attention_heads", "hidden_size", "vocab_size"))
    kv_heads, layers = config.get("num_key_value_heads") or heads, config["num_hidden_layers"]
    of_experts = shapes.get("blk.0.ffn_up_exps.weight", (0, config["intermediate_size"]))
    model = Model(layers, heads // kv_heads, "output.weight" not in shapes, False, architecture.name, of_experts[0])
    sizes = _by_place({name: _stored(shape, tensor_type(name, shape, mix, model)) for name, shape in shapes.items()})
    width = config.get("head_dim") or hidden // heads
    used = config["num_experts_per_tok"] if of_experts[0] else 0
    windows = [layer.cap for layer in kv_layers(config)] if architecture.windows else [None] * layers
    caps = _caps(windows, context, sequences)
    return Needs(
        layers=tuple(sizes[str(n)] for n in range(layers)),
        kv=_kv(caps, [kv_heads] * layers, (width, width), context, kv_bits),
        output=sizes["output_norm"] + sizes.get("output", sizes["token_embd"]),
        embedding=sizes["token_embd"],
        compute=compute_bytes(vocabulary, hidden, of_experts[1], context, used, _cells(caps, context)),
        caps=caps,
    )


def _windows(keys: Mapping, arch: str, layers: int) -> list[int | None]:
    """The window of each layer, None where it has none; ValueError where it is not known which layers have one."""
    from course_lib.artifacts.gguf.architectures import ARCHITECTURES
    from course_lib.artifacts.gguf.attention import WINDOW, windows

    known = ARCHITECTURES.get(arch)
    if known is not None and known.windows:
        found = windows(keys, known, layers)
        return [found["sliding_window"] if kind == WINDOW else None for kind in found["layer_types"]]
    if keys.get(f"{arch}.attention.sliding_window") and arch != "phi3":  # of a phi3 llama.cpp puts the window aside
        raise ValueError(f"the planner does not know which layers have a window, and this file has"
                         f" {arch}.attention.sliding_window")  # fmt: skip
    return [None] * layers


def _caps(windows: list[int | None], context: int, sequences: int = 1) -> tuple[float, ...]:
    """Tokens from which each layer's cache no longer grows."""
    whole = [None if w is None else max(context, w * sequences + BATCH) for w in windows]
    return tuple(math.inf if w is None else window_cells(w, n, sequences) for w, n in zip(windows, whole, strict=True))


def _kv(caps: tuple[float, ...], heads: list[int], width: tuple[int, int], context: int, bits: float) -> tuple:
    """Bytes of each layer's cache."""
    kept = [context if cap == math.inf else min(context, int(cap)) for cap in caps]
    return tuple(kv_layer_bytes(tokens, n, *width, bits) for tokens, n in zip(kept, heads, strict=True))


def _cells(caps: tuple[float, ...], context: int) -> int:
    """Tokens of the longest cache of a layer with a window; 0 where there is none."""
    rows = -(-context // CONTEXT_STEP) * CONTEXT_STEP
    return max((min(rows, int(cap)) for cap in caps if cap < math.inf), default=0)


def _by_place(sizes: Mapping[str, int]) -> dict[str, int]:
    """Bytes by tensor name -> bytes by place: "0", "1" … for the layers, else the name's first word."""
    found: dict[str, int] = {}
    for name, size in sizes.items():
        first, second = (*name.split("."), "")[:2]
        place = second if first == "blk" else first
        found[place] = found.get(place, 0) + size
    return found


def _stored(shape: tuple[int, ...], name: str) -> int:
    size = size_of(name)
    return math.prod(shape) // size.elements * size.bytes


def _kv_heads(keys: Mapping, arch: str, layers: int) -> list[int]:
    """Key/value heads of every layer: one number for all, or a list."""
    found = keys.get(f"{arch}.attention.head_count_kv", keys.get(f"{arch}.attention.head_count"))
    found = [found] * layers if isinstance(found, int) else found
    if not isinstance(found, list) or len(found) != layers:
        raise ValueError(f"{arch}.attention.head_count_kv must be a number, or one a layer, got {found!r}")
    return found


def _head_sizes(keys: Mapping, arch: str, hidden: int) -> tuple[int, int]:
    if f"{arch}.attention.key_length" in keys:
        return _whole(keys, f"{arch}.attention.key_length"), _whole(keys, f"{arch}.attention.value_length")
    return (hidden // _whole(keys, f"{arch}.attention.head_count"),) * 2


def _whole(keys: Mapping, key: str) -> int:
    value = keys.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value < 2**31:
        raise ValueError(f"the file needs {key} as a positive whole number, got {value!r}")
    return value
