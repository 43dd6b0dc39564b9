"""A checkpoint directory before anything is made of it: which file holds which tensor, and what stands in the way."""

from __future__ import annotations

import json
import math
from pathlib import Path

from course_lib.models.load import refuse_adapter

EXPERTS = ("num_local_experts", "num_experts", "n_routed_experts")  # a mixture's keys in config.json
TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json", "tokenizer_config.json")


def check(source) -> tuple:
    """(config, tokenizer) of a directory, as transformers reads them without running code that lies in it.

    ValueError, in a sentence, for one that is quantized already, lacks its tokenizer or weights, or is not read so.
    """
    from transformers import AutoConfig, AutoTokenizer

    source = Path(source)
    try:
        config = json.loads((source / "config.json").read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{source / 'config.json'} must be a JSON object, got {error}") from error
    if not isinstance(config, dict):
        raise ValueError(f"{source / 'config.json'} must be a JSON object, got a {type(config).__name__}")
    done = config.get("quantization_config") or config.get("quantization")
    if done:
        how = done.get("quant_method", "mlx") if isinstance(done, dict) else done
        raise ValueError(f"{str(source)!r} is quantized already, says its config.json ({how}): start from the original")
    if not any((source / name).is_file() for name in TOKENIZERS):
        raise ValueError(f"{str(source)!r} must hold its tokenizer, such as tokenizer.json, got none")
    files_of_tensors(source)
    return _read(source, AutoConfig, "config.json"), _read(source, AutoTokenizer, "tokenizer")


def _read(source: Path, kind, what: str):
    """What transformers makes of a directory; errors of any kind become one sentence."""
    try:
        return kind.from_pretrained(source, trust_remote_code=False)
    except Exception as error:
        said = " ".join(str(error).split())
        if "trust_remote_code" in said:
            said = "it needs Python code from the directory, which is not run here"
        raise ValueError(f"the {what} of {str(source)!r} is none that transformers reads: {said}") from error


def is_mixture(config) -> bool:
    """Whether a transformers config says that there are experts."""
    return any((getattr(config, key, None) or 0) > 1 for key in EXPERTS)


def weights(source, tied: bool = False) -> int:
    """How many numbers the tensors of a checkpoint hold; a head that is tied to the embedding counts once."""
    from safetensors import safe_open

    names, found = files_of_tensors(source), 0
    for file in sorted(set(names.values())):
        with safe_open(file, "pt") as opened:
            held = [name for name in opened.keys() if names[name] == file and not (tied and name == "lm_head.weight")]
            found += sum(math.prod(opened.get_slice(name).get_shape()) for name in held)
    return found


def files_of_tensors(source) -> dict[str, Path]:
    """Name of each tensor -> the safetensors file that holds it; ValueError names a file that is missing or cut off.

    The files are those that transformers reads: model.safetensors, or all that its index names, which may lie in
    folders below; other files beside them, such as Mistral's consolidated.safetensors, are left alone.
    """
    from safetensors import SafetensorError, safe_open

    source, found = Path(source), {}
    refuse_adapter(source)
    for file in _files(source):
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


def _files(source: Path) -> list[Path]:
    """The safetensors files of a checkpoint; without the usual names all there are."""
    single, index = source / "model.safetensors", source / "model.safetensors.index.json"
    named = _named(index) if index.is_file() else set()
    if single.is_file() and single.name not in named:  # an index that is left over from shards
        return [single]
    if missing := sorted(name for name in named if not (source / name).is_file()):
        raise ValueError(f"{str(source)!r} lacks {missing[0]}, one of the {len(named)} files that its index names")
    return sorted(source / name for name in named) or sorted(source.glob("*.safetensors"))


def _named(index: Path) -> set[str]:
    """The files that an index names; ValueError unless it maps tensors to names."""
    try:
        named = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{index.name} must map tensors to files, got {error}") from error
    if odd := [name for name in named if not isinstance(name, str)]:
        raise ValueError(f"{index.name} must map tensors to files, got {odd[0]!r}")
    return named
