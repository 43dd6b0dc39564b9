"""A model's config.json as it was released: nested parts merged, keys found under all their names, gaps named."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

# One idea, several names. The first is the one that an error message uses.
LAYERS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")
HEADS = ("num_attention_heads", "n_head", "n_heads", "num_heads")
KV_HEADS = ("num_key_value_heads", "num_kv_heads", "n_head_kv", "multi_query_group_num")
WIDTH = ("hidden_size", "n_embd", "d_model")
NESTED = ("text_config", "llm_config", "language_config")
_SHAPE = (*LAYERS, *HEADS, *KV_HEADS, *WIDTH, "head_dim", "kv_lora_rank", "sliding_window")


def released(config: Mapping[str, Any] | str | Path | Any) -> dict[str, Any]:
    """The keys that describe the language model, as one dict; nothing is filled in.

    `config` is a dict, a transformers config, or the path of a config.json or of its folder. A multimodal file keeps
    the language model in `text_config`: those keys win, and one that says something else outside is refused.

    >>> released({"model_type": "gemma3", "text_config": {"num_hidden_layers": 62}})
    {'model_type': 'gemma3', 'num_hidden_layers': 62}
    """
    keys = _as_dict(config)
    inner = [name for name in NESTED if isinstance(keys.get(name), Mapping)]
    if not inner:
        return keys
    outer = {k: v for k, v in keys.items() if k not in NESTED}
    text = dict(keys[inner[0]])
    for name in _SHAPE:
        if outer.get(name) is not None and text.get(name) is not None and outer[name] != text[name]:
            raise ValueError(f"config says {name}={outer[name]!r} outside and {text[name]!r} in {inner[0]}: keep one")
    return outer | text


def whole(config: Mapping[str, Any], names: str | tuple[str, ...], why: str = "", least: int = 1) -> int:
    """The whole number under one of `names`, at least `least`; ValueError names what is missing or contradicts itself.

    >>> whole({"n_layer": 12}, LAYERS)
    12
    """
    value = optional(config, names, least)
    if value is None:
        name = names if isinstance(names, str) else names[0]
        raise ValueError(f"config needs {name}{', ' + why if why else ''}: it is missing, and no default is assumed")
    return value


def optional(config: Mapping[str, Any], names: str | tuple[str, ...], least: int = 1) -> int | None:
    """Like whole, with None where no name is there (or holds null)."""
    names = (names,) if isinstance(names, str) else names
    found = {name: config[name] for name in names if config.get(name) is not None}
    for name, value in found.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ValueError(f"config's {name} must be a whole number from {least} up, got {value!r}")
    if len(set(found.values())) > 1:
        raise ValueError(f"config contradicts itself: {', '.join(f'{k}={v}' for k, v in found.items())}")
    return next(iter(found.values()), None)


def flag(config: Mapping[str, Any], name: str) -> bool | None:
    """The True or False under a name, None where it is absent or null."""
    value = config.get(name)
    if value is not None and not isinstance(value, bool):
        raise ValueError(f"config's {name} must be true or false, got {value!r}")
    return value


def _as_dict(config: Any) -> dict[str, Any]:
    if isinstance(config, (str, Path)):
        path = Path(config)
        path = path / "config.json" if path.is_dir() else path
        try:
            config = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise ValueError(f"config must be a config.json that exists, got {str(path)!r}") from None
        except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
            raise ValueError(f"config must be a JSON file, got {str(path)!r}: {error}") from None
    if hasattr(config, "to_dict"):
        config = config.to_dict()
    if not isinstance(config, Mapping):
        raise TypeError(f"config must be a dict, a transformers config or a path, got {type(config).__name__}")
    return dict(config)
