"""load: every checkpoint that the course writes, and 16-bit ones, without the packages that made them."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from torch import Tensor, nn

from course_lib import models
from course_lib.artifacts import experts
from course_lib.artifacts.layout import Layout, expect
from course_lib.artifacts.layouts import claimed, of_config
from course_lib.artifacts.state import untied
from course_lib.calibrate import QuantLinear, quantized, quantized_fraction
from course_lib.calibrate.experts import take_apart
from course_lib.qtensor import QTensor

_CONFIG_BYTES = 2**24  # no config.json comes near


def load(path, dtype: torch.dtype | None = None):
    """Return `(model, tokenizer)` from a checkpoint (GPTQ, AWQ, compressed-tensors, MLX, 16 bits) or a GGUF file.

    The linears that are stored as codes become QuantLinear modules, with codes, scales, zero points and g_idx as
    stored; `.qtensors` and `.quantized_fraction` are those of `quantize_model`. An embedding of codes, which MLX has,
    is decoded. The dtype is that of `models.load`: float32 on a CPU. The tokenizer is None where the directory holds
    none. A `path` that is no directory goes to `models.load`. ValueError for a file that is cut off, a tensor that is
    missing, left over or of a wrong shape, and a config.json that does not agree with the tensors.
    """
    folder = Path(path)
    if folder.is_file() and folder.suffix == ".gguf":
        from course_lib.artifacts.gguf.load import load as load_gguf

        model, tokenizer = load_gguf(folder)
        return model.to(dtype or torch.float32), tokenizer
    config = _read_config(folder / "config.json") if (folder / "config.json").is_file() else {}
    claims = claimed(config)
    if claims is None:
        return models.load(path, dtype)
    layout = of_config(claims)
    facts = layout.facts(claims)
    tensors = _read_tensors(folder)
    skeleton = _skeleton(folder, len(tensors), layout)
    if take_apart(skeleton, trusted=True):
        experts.check_family(skeleton.config)
    kinds = nn.Linear | nn.Embedding if layout.embeddings else nn.Linear
    linears = {name: module for name, module in skeleton.named_modules() if isinstance(module, kinds)}
    parts = _take_parts(tensors, layout, facts, linears)
    _check_rest(tensors, skeleton, parts)
    qtensors = {
        name: layout.unpack(name, mine, tuple(linears[name].weight.shape), facts) for name, mine in parts.items()
    }
    dtype = dtype or (
        layout.dtype(next(iter(qtensors.values())).scheme) if torch.cuda.is_available() else torch.float32
    )
    return _build(skeleton, tensors, qtensors, folder, dtype), _tokenizer(folder)


def _read_config(path: Path) -> dict:
    """config.json as a dict."""
    if path.stat().st_size > _CONFIG_BYTES:
        raise ValueError(f"{path}: expected a JSON object of some kB, got {path.stat().st_size} bytes")
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: expected a JSON object, got {error}") from error
    if not isinstance(config, dict):
        raise ValueError(f"{path}: expected a JSON object, got {type(config).__name__}")
    return config


def _read_tensors(folder: Path) -> dict[str, Tensor]:
    """All tensors of all safetensors files of a directory."""
    from safetensors import SafetensorError, safe_open

    tensors: dict[str, Tensor] = {}
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise FileNotFoundError(f"path: expected model.safetensors in {str(folder)!r}, found no safetensors file")
    for file in files:
        try:
            with safe_open(file, "pt") as opened:
                for name in opened.keys():
                    if experts.plain(name) in tensors:
                        raise ValueError(f"{file.name}: {name} is in another file too")
                    tensors[experts.plain(name)] = opened.get_tensor(name).clone()  # else the file stays mapped
        except (SafetensorError, OSError) as error:
            raise ValueError(f"{file.name}: not a whole safetensors file: {error}") from error
    return tensors


def _skeleton(folder: Path, count: int, layout: Layout) -> nn.Module:
    """The model that config.json describes, without memory for its weights: shapes to hold the file against."""
    from transformers import AutoConfig, AutoModelForCausalLM

    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
        layers = config.get_text_config().num_hidden_layers
        if layers > count:
            raise ValueError(f"num_hidden_layers is {layers}, but the checkpoint holds only {count} tensors")
        for key in layout.keys:
            if hasattr(config, key):
                delattr(config, key)
        with torch.device("meta"):
            return AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    except Exception as error:  # whatever a wrong number makes transformers or torch say
        raise ValueError(f"config.json: not a causal language model that transformers can build: {error}") from error


def _take_parts(tensors, layout: Layout, facts, linears) -> dict[str, dict[str, Tensor]]:
    """Linear -> suffix -> tensor, taken out of `tensors`."""
    ending = f".{layout.marker}"
    names = {name.removesuffix(ending) for name in tensors if name.endswith(ending)}
    if not names:
        raise ValueError(f"path: expected tensors named …{ending}, as layout {layout.name!r} has, found none")
    if names - set(linears):
        raise ValueError(f"{min(names - set(linears))}{ending}: config.json describes no linear of this name")
    parts = {}
    for name in (name for name in linears if name in names):
        suffixes = layout.suffixes(facts.of(name))
        missing = [suffix for suffix in suffixes if f"{name}.{suffix}" not in tensors]
        if missing:
            raise ValueError(f"{name}: expected tensors {', '.join(suffixes)}; missing: {', '.join(missing)}")
        parts[name] = {suffix: tensors.pop(f"{name}.{suffix}") for suffix in suffixes}
    if named := {name for name, one in facts.layers.items() if one is not None} - set(parts):
        raise ValueError(f"config.json says how {min(named)} is quantized, and no codes of this name are there")
    return parts


def _check_rest(tensors: dict[str, Tensor], skeleton: nn.Module, parts) -> None:
    """ValueError unless the other tensors are exactly those of the model, in its shapes and in 16 or 32 bits."""
    wanted = {name: t for name, t in untied(skeleton).items() if name.removesuffix(".weight") not in parts}
    missing, extra = sorted(set(wanted) - set(tensors)), sorted(set(tensors) - set(wanted))
    if missing:
        raise ValueError(f"path: {len(missing)} tensors are missing, the first is {missing[0]}")
    if extra:
        raise ValueError(f"path: {len(extra)} tensors belong to no part of the model, the first is {extra[0]}")
    for name, tensor in wanted.items():
        allowed = (torch.float16, torch.bfloat16, torch.float32) if tensor.is_floating_point() else (tensor.dtype,)
        expect(name, tensors[name], allowed, tuple(tensor.shape))


def _build(skeleton, rest: dict[str, Tensor], qtensors: dict[str, QTensor], folder: Path, dtype) -> nn.Module:
    """The real model: transformers fills it as from any checkpoint, then the linears become QuantLinears."""
    from transformers import GenerationConfig
    from transformers.utils import logging

    device = "cuda" if torch.cuda.is_available() else "cpu"
    state = rest | {f"{name}.weight": q.dequantize() for name, q in qtensors.items()}
    state = {experts.on_disk(name, skeleton.config.model_type): tensor for name, tensor in state.items()}
    bars = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        model = type(skeleton).from_pretrained(None, config=skeleton.config, state_dict=state, dtype=dtype)
    finally:
        if bars:
            logging.enable_progress_bar()
    take_apart(model, lambda home: not any(name.startswith(f"{home}.") for name in qtensors), trusted=True)
    for name, q in qtensors.items():
        if not isinstance(model.get_submodule(name), nn.Linear):
            continue
        model.set_submodule(name, QuantLinear(q, model.get_submodule(name).bias, None, dtype))
    if (folder / "generation_config.json").is_file():
        model.generation_config = GenerationConfig.from_pretrained(folder)
    model.qtensors, model.quantized_fraction = quantized(model), quantized_fraction(model)
    return model.to(device).eval()


def _tokenizer(folder: Path):
    """The tokenizer of a directory, None if it holds none."""
    if not (folder / "tokenizer.json").is_file() and not (folder / "tokenizer_config.json").is_file():
        return None
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
