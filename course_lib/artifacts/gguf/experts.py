"""A mixture of experts in a file: each matrix of all experts of a layer is one tensor, (experts, out, in).

Checkpoints of Mixtral and Qwen3-MoE hold every expert's gate, up and down by themselves; transformers has gate above up
in one tensor of all experts, and down in another. Beside them stands the router, which stays float32. llama.cpp takes
the experts that a softmax over all of them puts first, and divides their shares by the sum. Sources: llama.cpp's
conversion/llama.py and qwen.py, src/models/llama.cpp and qwen3moe.cpp, build_moe_ffn in src/llama-graph.cpp.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from course_lib.artifacts.experts import count, plain
from course_lib.artifacts.gguf.values import GGUFError

MOST = 512  # experts of a layer, as llama.cpp has it
_ONE = re.compile(r"(.+\.)mlp\.experts\.(\d+)\.(gate_proj|up_proj|down_proj)\.weight")
Read = Callable[[], Tensor]


def merged(name: str) -> tuple[str, int | None]:
    """(name of the tensor of all experts that a parameter belongs to, the expert's number); other names stay, None.

    >>> merged("model.layers.0.block_sparse_moe.experts.3.w2.weight")
    ('model.layers.0.mlp.experts.down_proj.weight', 3)
    """
    name = plain(name)
    found = _ONE.fullmatch(name)
    if found is None:
        return name, None
    layer, number, which = found.groups()
    return f"{layer}mlp.experts.{which}.weight", int(number)


def parted(weights: Mapping[str, tuple[tuple, Read]]) -> dict[str, tuple[tuple, Read]]:
    """Weights, name -> (shape, function that reads it), as a file has them: matrices of all experts, gate beside up.

    Nothing is read. ValueError for experts that differ in shape, or of which one is missing.
    """
    found, single = {}, {}
    for given, (shape, read) in weights.items():
        name, number = merged(given)
        stem, _, leaf = name.rpartition(".")
        if number is not None:
            single.setdefault(name, {})[number] = shape, read
            found[name] = None  # in its place
        elif leaf == "gate_up_proj" and len(shape) == 3:
            half = shape[0], shape[1] // 2, shape[2]
            for k, which in enumerate(("gate_proj", "up_proj")):
                found[f"{stem}.{which}.weight"] = half, functools.partial(_half, read, k)
        else:
            found[f"{name}.weight" if leaf == "down_proj" and len(shape) == 3 else name] = shape, read
    return found | {name: _stacked(name, experts) for name, experts in single.items()}


def _half(read: Read, k: int) -> Tensor:
    return read().chunk(2, 1)[k]


def _stacked(name: str, experts: Mapping[int, tuple[tuple, Read]]) -> tuple[tuple, Read]:
    """The experts' shape and a function that reads them, one after the other."""
    numbers, shapes = sorted(experts), {shape for shape, _ in experts.values()}
    if numbers != list(range(len(numbers))) or len(shapes) > 1:
        raise ValueError(f"{name} must have experts of one shape from number 0 on, got {_said(numbers)} of"
                         f" {', '.join(map(str, sorted(shapes)))}")  # fmt: skip
    reads = [experts[number][1] for number in numbers]
    return (len(reads), *shapes.pop()), lambda: torch.stack([read() for read in reads])


def _said(numbers: list[int]) -> str:
    missing = sorted(set(range(numbers[-1] + 1)) - set(numbers))
    return f"all but {missing[0]} up to {numbers[-1]}" if missing else f"0 to {numbers[-1]}"


def fused(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The way back to transformers' tensors; `state`, whose other weights stay as they are, is changed."""
    for name in [name for name in state if name.endswith(".mlp.experts.gate_proj.weight")]:
        stem = name.removesuffix("gate_proj.weight")
        gate, up = state.pop(name), state.pop(f"{stem}up_proj.weight")
        state[f"{stem}gate_up_proj"] = torch.cat([gate, up], 1)
        state[f"{stem}down_proj"] = state.pop(f"{stem}down_proj.weight")
    return state


def modules(name: str, shape: tuple[int, ...]) -> list[str]:
    """The modules that a weight of this shape belongs to: each expert's, or one.

    >>> modules("model.layers.0.mlp.experts.up_proj.weight", (2, 8, 4))
    ['model.layers.0.mlp.experts.0.up_proj', 'model.layers.0.mlp.experts.1.up_proj']
    """
    name = name.removesuffix(".weight")
    stem, _, leaf = name.rpartition(".")
    return [f"{stem}.{number}.{leaf}" for number in range(shape[0])] if len(shape) == 3 else [name]


def keys(config, name: str) -> dict:
    """The keys of ARCHITECTURE.expert_*; ValueError for a mixture that llama.cpp computes otherwise."""
    experts = count(config)
    if not experts:
        return {}
    used, step = config.num_experts_per_tok, getattr(config, "decoder_sparse_step", 1)
    dense = set(getattr(config, "mlp_only_layers", None) or ())
    dense |= {k for k in range(config.num_hidden_layers) if (k + 1) % step}
    if dense:
        raise ValueError(f"model must have experts in every layer, as llama.cpp's {name} has, got layer {min(dense)}"
                         " without")  # fmt: skip
    if not getattr(config, "norm_topk_prob", True):
        raise ValueError("model must divide the shares of the chosen experts by their sum, as llama.cpp does,"
                         " got norm_topk_prob False")  # fmt: skip
    if not 1 <= used <= experts <= MOST:
        raise ValueError(f"model must send a token to 1 or more of at most {MOST} experts, got {used} of {experts}")
    found = {f"{name}.expert_count": experts, f"{name}.expert_used_count": used}
    inner = getattr(config, "moe_intermediate_size", None)
    return found | ({f"{name}.expert_feed_forward_length": inner} if inner else {})


def parameters(keys: Mapping, name: str, needed: bool, ffn: int) -> dict:
    """The way back from `keys`: what transformers' config says of experts, {} for a dense model.

    needed: whether the architecture has no dense models; ffn: what feed_forward_length says.
    """
    experts, used = _whole(keys, f"{name}.expert_count", needed, MOST), 0
    if not experts:
        return {}
    used = _whole(keys, f"{name}.expert_used_count", True, experts)
    if keys.get(f"{name}.expert_group_count", 0) not in (0, 1):
        raise GGUFError(f"{name}.expert_group_count must be 1, got {keys[f'{name}.expert_group_count']!r:.60}")
    if not needed:
        return {"model_type": "mixtral", "num_local_experts": experts, "num_experts_per_tok": used}
    key = f"{name}.expert_feed_forward_length"
    inner = _whole({key: ffn // used} | dict(keys), key, True, 2**31 - 1)
    return {"num_experts": experts, "num_experts_per_tok": used, "moe_intermediate_size": inner, "norm_topk_prob": True}


def _whole(keys: Mapping, key: str, needed: bool, most: int) -> int:
    value = keys.get(key, 0)
    if type(value) is not int or not needed <= value <= most:
        raise GGUFError(f"{key} must be a whole number from {int(needed)} to {most}, got {value!r:.60}")
    return value


def rows(config: Mapping) -> int:
    """Rows of the largest tensor of experts that such a config describes."""
    experts = config.get("num_experts", config.get("num_local_experts", 0))
    return experts * config.get("moe_intermediate_size", config["intermediate_size"])
