"""A checkpoint directory before anything is made of it: which file holds which tensor, and what stands in the way."""

from __future__ import annotations

import json
from pathlib import Path

EXPERTS = ("num_local_experts", "num_experts", "n_routed_experts")  # a mixture's keys in config.json
TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json", "tokenizer_config.json")


def check(source) -> None:
    """ValueError, in a sentence, for a directory that is quantized already, has no tokenizer or not all its weights."""
    source = Path(source)
    try:
        config = json.loads((source / "config.json").read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{source / 'config.json'} must be a JSON object, got {error}") from error
    done = config.get("quantization_config") or config.get("quantization") if isinstance(config, dict) else None
    if done:
        how = done.get("quant_method", "mlx") if isinstance(done, dict) else done
        raise ValueError(f"{str(source)!r} is quantized already, says its config.json ({how}): start from the original")
    if not any((source / name).is_file() for name in TOKENIZERS):
        raise ValueError(f"{str(source)!r} must hold its tokenizer, such as tokenizer.json, got none")
    files_of_tensors(source)


def is_mixture(config) -> bool:
    """Whether a transformers config says that there are experts."""
    return any((getattr(config, key, None) or 0) > 1 for key in EXPERTS)


def files_of_tensors(source) -> dict[str, Path]:
    """Name of each tensor -> the safetensors file that holds it; ValueError names a file that is missing or cut off."""
    from safetensors import SafetensorError, safe_open

    source, found = Path(source), {}
    index = source / "model.safetensors.index.json"
    if index.is_file():
        try:
            named = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
            missing = sorted(name for name in named if not (source / name).is_file())
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{index.name} must map tensors to files, got {error}") from error
        if missing:
            raise ValueError(f"{str(source)!r} lacks {missing[0]}, one of the {len(named)} files that its index names")
    for file in sorted(source.glob("*.safetensors")):
        try:
            with safe_open(file, "pt") as opened:
                found |= dict.fromkeys(opened.keys(), file)
        except (SafetensorError, OSError) as error:
            raise ValueError(f"{file.name} is no whole safetensors file: {error}") from error
    if not found:
        others = sorted(file.name for suffix in ("bin", "pth", "gguf") for file in source.glob(f"*.{suffix}"))
        instead = f", only {others[0]}: load it with transformers and save_pretrained it" if others else ""
        raise FileNotFoundError(f"{str(source)!r} must hold safetensors files, got none{instead}")
    return found
