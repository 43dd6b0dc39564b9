"""A mixture of experts on disk: every expert's gate, up and down by themselves, under the names of its family.

transformers 5 holds all experts of a layer in two tensors, and `calibrate.experts` takes them apart. Checkpoints, of 16
bits or quantized, have one tensor an expert, and so has what vLLM, GPTQModel and llm-compressor read and write; the
router beside them is never quantized. Sources: transformers' conversion_mapping; vLLM 0.33, models/qwen3_moe.py and
mixtral.py.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from torch import Tensor, nn

_HOME = {"mixtral": "block_sparse_moe", "qwen3_moe": "mlp"}  # family -> what its checkpoints call a layer's experts
_MIXTRAL = {"w1": "gate_proj", "w3": "up_proj", "w2": "down_proj"}
_NUMBER = re.compile(r"\.mlp\.experts\.(\d+)\.")
FAMILIES = tuple(_HOME)


def plain(name: str) -> str:
    """The name, in a model whose experts were taken apart, of what a checkpoint calls `name`.

    >>> plain("model.layers.0.block_sparse_moe.experts.3.w2.weight")
    'model.layers.0.mlp.experts.3.down_proj.weight'
    """
    before, mixtral, after = name.partition(".block_sparse_moe.")
    return f"{before}.mlp." + ".".join(_MIXTRAL.get(part, part) for part in after.split(".")) if mixtral else name


def on_disk(name: str, family: str) -> str:
    """The way back from `plain`, in a checkpoint of this family (`model_type` in config.json).

    >>> on_disk("model.layers.0.mlp.experts.3.down_proj.qweight", "mixtral")
    'model.layers.0.block_sparse_moe.experts.3.w2.qweight'
    """
    before, found, after = name.partition(".mlp.")
    if family != "mixtral" or not found:
        return name
    theirs = {ours: short for short, ours in _MIXTRAL.items()}
    return f"{before}.block_sparse_moe." + ".".join(theirs.get(part, part) for part in after.split("."))


def count(config) -> int:
    """Experts of a layer in a transformers config, 0 for a dense model."""
    return getattr(config, "num_local_experts", None) or getattr(config, "num_experts", None) or 0


def check_family(config, given: Mapping | None = None) -> None:
    """ValueError for a mixture whose checkpoints have other names, or whose config.json, `given`, counts no experts."""
    family = getattr(config, "model_type", None)
    if family not in FAMILIES:
        raise ValueError(f"of mixtures of experts, checkpoints of the model_type {' and '.join(FAMILIES)} are quantized"
                         f" and read here, got {family!r}")  # fmt: skip
    if given is not None and not any(type(given.get(key)) is int for key in ("num_experts", "num_local_experts")):
        raise ValueError("config.json must say how many experts a layer has, as num_experts, got none")


def routers(model: nn.Module) -> list[str]:
    """Names of the parts that send tokens to experts; transformers has them as no nn.Linear.

    >>> routers(nn.ModuleDict({"gate": nn.Linear(2, 2), "up": nn.Linear(2, 2)}))
    []
    """
    homes = (name for name, module in model.named_modules() if isinstance(getattr(module, "experts", None), nn.Module))
    gates = (f"{name}.gate" for name in homes if hasattr(model.get_submodule(name), "gate"))
    return [name for name in gates if not isinstance(model.get_submodule(name), nn.Linear)]


def together(names: Iterable[str]) -> list[str]:
    """The same names, the experts of a layer as one, which is how GPTQ's and AWQ's readers ask for them.

    >>> together(["lm_head", "layers.0.mlp.experts.0.up_proj", "layers.0.mlp.experts.1.up_proj"])
    ['lm_head', 'layers.0.mlp.experts']
    """
    return list(dict.fromkeys(re.sub(r"(?<=\.experts)\.\d+\..*", "", name) for name in names))


class Piece(NamedTuple):
    """A weight of a checkpoint: the file, the tensor in it, and which part of that, () being all."""

    file: Path
    name: str
    part: tuple = ()


def pieces(files: Mapping[str, Path], experts: int = 0) -> dict[str, Piece]:
    """Weight, named as in a model that was taken apart -> where it lies, of a checkpoint's tensor -> file.

    Experts lie there one by one, or as transformers' own state_dict has them, (experts, out, in), gate above up.
    ValueError for a weight that lies there twice, and an expert beyond those that config.json counts.
    """
    found: dict[str, Piece] = {}
    for name, file in files.items():
        for ours, piece in _of_tensor(plain(name), Piece(file, name)):
            number = _NUMBER.search(ours)
            if number and int(number[1]) >= experts:
                raise ValueError(f"{name} belongs to expert {number[1]}, and config.json counts {experts} from 0 on")
            if ours in found:
                raise ValueError(f"the checkpoint holds {ours} twice, as {found[ours].name} and as {name}")
            found[ours] = piece
    return found


def _of_tensor(name: str, piece: Piece) -> Iterable[tuple[str, Piece]]:
    stem, _, leaf = name.rpartition(".")
    if not stem.endswith(".mlp.experts") or leaf not in ("gate_up_proj", "down_proj"):
        return [(name, piece)]
    from safetensors import safe_open

    with safe_open(piece.file, "pt") as opened:
        shape = opened.get_slice(piece.name).get_shape()
    half = shape[1] // 2
    parts = {"gate_proj": slice(None, half), "up_proj": slice(half, None)}
    parts = parts if leaf == "gate_up_proj" else {leaf: slice(None)}
    return [(f"{stem}.{k}.{which}.weight", piece._replace(part=(k, rows)))
            for k in range(shape[0]) for which, rows in parts.items()]  # fmt: skip


def read(wanted: Mapping[str, Piece]) -> dict[str, Tensor]:
    """Name -> tensor of these pieces, each file opened once."""
    from safetensors import safe_open

    found: dict[str, Tensor] = {}
    for file in {piece.file for piece in wanted.values()}:
        with safe_open(file, "pt") as opened:
            for name, piece in wanted.items():
                if piece.file == file and piece.part:
                    found[name] = opened.get_slice(piece.name)[piece.part]
                elif piece.file == file:
                    found[name] = opened.get_tensor(piece.name)
    return found
