"""What attention has beside heads and rotary positions, as keys of a GGUF file: windows, soft caps, a factor on scores.

A window: a token sees so many tokens back, itself among them. A soft cap c turns x into c · tanh(x / c). Gemma 2 has
both caps, and a window in every other layer; Gemma 3 has a window in five layers of six. The factor on the scores is in
no file: llama.cpp takes 1 / √head_dim, but 1 / √(width / heads) for the largest model of either. In the other
architectures every token sees all before it. Sources: llama.cpp's src/models/gemma2.cpp, gemma3.cpp, load_swa_pattern.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from course_lib.artifacts.gguf.architectures import Architecture
from course_lib.artifacts.gguf.values import GGUFError

WINDOW, ALL = "sliding_attention", "full_attention"  # transformers' names of a layer's attention
CAPS = ("attn_logit_softcapping", "final_logit_softcapping")
_DEFAULTS = {"attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0}  # llama.cpp's, of a Gemma 2 only
_WINDOW = 4096  # likewise


def usual(layers: int, architecture: Architecture) -> list[str]:
    """The attention of each layer where a file says nothing.

    >>> from course_lib.artifacts.gguf.architectures import ARCHITECTURES
    >>> usual(3, ARCHITECTURES["gemma2"])
    ['sliding_attention', 'full_attention', 'sliding_attention']
    """
    every = architecture.windows or 1
    return [ALL if k % every == every - 1 else WINDOW for k in range(layers)]


def scale_of(hidden: int, heads: int, head_dim: int, layers: int, architecture: Architecture) -> int:
    """The number by whose root scores are divided."""
    return hidden // heads if layers == architecture.wide else head_dim


def keys(config, architecture: Architecture, head_dim: int) -> dict:
    """The keys of windows and soft caps; ValueError for attention that llama.cpp computes otherwise."""
    name, layers = architecture.name, config.num_hidden_layers
    if getattr(config, "use_bidirectional_attention", None):
        raise ValueError("model must attend to earlier tokens only, got use_bidirectional_attention")
    wanted = scale_of(config.hidden_size, config.num_attention_heads, head_dim, layers, architecture)
    given = getattr(config, "query_pre_attn_scalar", wanted)
    if given != wanted:
        raise ValueError(f"model must divide its scores by √{wanted}, as llama.cpp does in a {name} of {layers} layers,"
                         f" got query_pre_attn_scalar {given!r}")  # fmt: skip
    if architecture.partial and config.hidden_size != config.num_attention_heads * head_dim:
        raise ValueError(f"model must have heads of width / heads, as llama.cpp reads a {name}, got head_dim {head_dim}"
                         f" of {config.num_attention_heads} heads over a width of {config.hidden_size}")  # fmt: skip
    found = {}
    for cap in CAPS:
        value, needed = getattr(config, cap, None), architecture.caps.get(cap)
        if value is None and not needed:
            continue
        if needed is None or type(value) not in (int, float) or not 0 < value < math.inf:
            asked = "none" if needed is None else "a positive number"
            raise ValueError(f"model must have {asked} as {cap}, as llama.cpp has in a {name}, got {value!r}")
        found[f"{name}.{cap}"] = float(value)
    if architecture.windows:
        found |= _windows(config, architecture)
    elif architecture.partial:  # releases before 2025-05 take a window that they guess unless told otherwise
        found[f"{name}.attention.sliding_window"] = 0
    return found


def _windows(config, architecture: Architecture) -> dict:
    """Their length, and where they are unless that is as usual."""
    name, kinds = f"{architecture.name}.attention", list(config.layer_types)
    if WINDOW not in kinds:  # Gemma 3 does without; a Gemma 2 has them in llama.cpp, here with room for all tokens
        return {f"{name}.sliding_window": 0 if architecture.local else config.max_position_embeddings}
    found = {f"{name}.sliding_window": int(config.sliding_window)}
    if kinds != usual(len(kinds), architecture):
        found[f"{name}.sliding_window_pattern"] = [kind == WINDOW for kind in kinds]
    return found


def parameters(keys: Mapping, architecture: Architecture, config: Mapping) -> dict:
    """The way back from `keys`: what transformers' config says of them. `config` has layers, width, heads, head_dim."""
    if not architecture.windows:
        return {}
    layers, name = config["num_hidden_layers"], architecture.name
    sizes = (config["hidden_size"], config["num_attention_heads"], config["head_dim"])
    found = dict.fromkeys(CAPS) | {"query_pre_attn_scalar": scale_of(*sizes, layers, architecture)}
    for cap, needed in architecture.caps.items():
        value = keys.get(f"{name}.{cap}", _DEFAULTS[cap] if needed else 0.0)
        if type(value) is not float or not (needed and 0 < value < math.inf or not needed and 0 <= value < math.inf):
            raise GGUFError(f"{name}.{cap} must be a positive float, got {value!r:.60}")
        found[cap] = value or None
    return found | windows(keys, architecture, layers)


def windows(keys: Mapping, architecture: Architecture, layers: int) -> dict:
    """sliding_window and layer_types. A pattern is a list of flags, or a number as in `usual`."""
    name = f"{architecture.name}.attention"
    window = keys.get(f"{name}.sliding_window", _WINDOW if not architecture.local else 0)
    if type(window) is not int or not 0 <= window < 2**31:
        raise GGUFError(f"{name}.sliding_window must be a whole number of tokens, got {window!r:.60}")
    if not window:  # Gemma 3 only: no windows at all, whose length transformers still asks for
        return {"sliding_window": 1, "layer_types": [ALL] * layers}
    pattern = keys.get(f"{name}.sliding_window_pattern")
    if type(pattern) is int and 0 < pattern <= layers:
        kinds = usual(layers, architecture._replace(windows=pattern))
    elif pattern is None:
        kinds = usual(layers, architecture)
    elif isinstance(pattern, list) and len(pattern) == layers and set(map(type, pattern)) == {bool}:
        kinds = [WINDOW if flag else ALL for flag in pattern]
    else:
        raise GGUFError(f"{name}.sliding_window_pattern must be {layers} flags, one a layer, got {pattern!r:.60}")
    return {"sliding_window": window, "layer_types": kinds}
