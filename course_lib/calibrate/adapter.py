"""LoRA: two thin matrices trained beside a weight that stays as it is, and the weight that both make when merged.

y = W x + (alpha / r) B A x     A (r, in), B (out, r), B = 0 at the start     Hu et al., "LoRA", 2021
W = decode(encode(w))           for a base in few bits                        Dettmers et al., "QLoRA", 2023
"""

from __future__ import annotations

import contextlib
import copy
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.calibrate.targets import linears_of
from course_lib.files import write_atomic
from course_lib.progress import bar

Factors = dict[str, tuple[Tensor, Tensor]]  # name of a linear -> A (r, in), B (out, r)
PREFIX = "base_model.model."  # PEFT's names begin with it
OTHERS = ("use_dora", "use_rslora", "modules_to_save", "rank_pattern", "alpha_pattern", "alora_invocation_tokens")


def fresh(model: nn.Module, rank: int = 8, seed: int = 0) -> Factors:
    """A and B for every linear of the model: A random, of variance 1/in, B zero, so that nothing is added yet."""
    if not isinstance(rank, int) or rank < 1:
        raise ValueError(f"rank must be a whole number of at least 1, got {rank!r}")
    generator, factors = torch.Generator().manual_seed(seed), {}
    for name, linear in linears_of(model).items():
        out, cols = linear.weight.shape
        factors[name] = torch.randn(rank, cols, generator=generator) / cols**0.5, torch.zeros(out, rank)
    return factors


def added(model: nn.Module, factors: Factors) -> nn.Module:
    """A copy of the model with W + B A in place of each weight: merged, or, where W was decoded, as if kept beside.

    ValueError where a name is no linear of the model or a product has another shape.
    """
    linears = linears_of(model)
    for name, (A, B) in factors.items():
        shape = tuple(linears[name].weight.shape) if name in linears else "no such linear"
        if shape != (len(B), A.shape[1]) or len(A) != B.shape[1]:
            raise ValueError(f"factors must fit the model's weights: {name} is {shape}, got A {tuple(A.shape)}"
                             f" and B {tuple(B.shape)}")  # fmt: skip
    result = copy.deepcopy(model)
    with torch.no_grad():
        for name, (A, B) in factors.items():
            weight = result.get_submodule(name).weight
            weight.copy_(weight.float() + (B.float() @ A.float()).to(weight.device))
    return result


def train(model: nn.Module, rows: Sequence[tuple[list[int], int]], rank: int = 8, steps: int = 60, rate: float = 4e-3,
          batch: int = 8, progress: bool | None = None, log: list | None = None) -> Factors:  # fmt: skip
    """A and B that lower −ln p of each row's answer beside the model's weights as they are: AdamW, a rate falling to 0.

    rows    (tokens, where its answer begins), read in turn, `batch` of them a step
    log     a list that gets the loss of every step, nats a token of the answers
    """
    factors = {name: tuple(t.requires_grad_() for t in pair) for name, pair in fresh(model, rank).items()}
    parameters = [t for pair in factors.values() for t in pair]
    optimizer = torch.optim.AdamW(parameters, lr=rate, weight_decay=0.0)
    weights = {name: model.get_submodule(name).weight for name in factors}
    with _frozen(model):
        for step in bar(range(steps), "adapter", progress):
            for group in optimizer.param_groups:
                group["lr"] = rate * min(1.0, (step + 1) / 10) * (1 - step / steps)
            chosen = [rows[(step * batch + i) % len(rows)] for i in range(batch)]
            merged = {f"{n}.weight": weights[n] + (B @ A).to(weights[n]) for n, (A, B) in factors.items()}
            loss = answer_loss(model, chosen, merged)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            if log is not None:
                log.append(loss.item())
    return {name: (A.detach(), B.detach()) for name, (A, B) in factors.items()}


@contextlib.contextmanager
def _frozen(model: nn.Module) -> Iterator[None]:
    """No parameter of the model gathers a gradient; afterwards those that did before do again."""
    learning = [p for p in model.parameters() if p.requires_grad]
    model.requires_grad_(False)
    try:
        yield
    finally:
        for p in learning:
            p.requires_grad_(True)


def answer_loss(model: nn.Module, rows: Sequence[tuple[list[int], int]], weights: dict[str, Tensor]) -> Tensor:
    """Mean −ln p of the rows' answers, nats a token, with `weights` in place of the model's own; differentiable."""
    longest = max(len(tokens) for tokens, _ in rows)
    inputs = torch.tensor([tokens + [0] * (longest - len(tokens)) for tokens, _ in rows])
    at = torch.arange(1, longest)
    first = torch.tensor([first for _, first in rows])[:, None]
    ours = (at >= first) & (at < torch.tensor([len(tokens) for tokens, _ in rows])[:, None])  # (rows, longest - 1)
    inputs, ours = (t.to(next(model.parameters()).device) for t in (inputs, ours))
    out = torch.func.functional_call(model, weights, (inputs,), {"use_cache": False}).logits[:, :-1]
    return F.cross_entropy(out[ours].float(), inputs[:, 1:][ours])


def save(folder: str | Path, factors: Factors) -> Path:
    """Write PEFT's two files, adapter_config.json and adapter_model.safetensors, in float16; alpha is r."""
    from safetensors.torch import save as packed

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {}
    for name, (A, B) in factors.items():
        for which, factor in (("A", A), ("B", B)):
            tensors[f"{PREFIX}{name}.lora_{which}.weight"] = factor.half().contiguous()
    rank = len(next(iter(factors.values()))[0])
    config = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": rank, "lora_alpha": rank, "bias": "none",
              "lora_dropout": 0.0, "inference_mode": True, "base_model_name_or_path": None,
              "target_modules": sorted({name.rsplit(".", 1)[-1] for name in factors})}  # fmt: skip
    write_atomic(folder / "adapter_model.safetensors", packed(tensors, {"format": "pt"}))
    write_atomic(folder / "adapter_config.json", json.dumps(config, indent=2) + "\n")
    return folder


def load(folder: str | Path) -> Factors:
    """A and B of each linear from PEFT's files, alpha / r multiplied into B.

    ValueError for another kind of adapter, or where a matrix has no partner.
    """
    from safetensors.torch import load_file

    folder = Path(folder)
    config = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    odd = [key for key in OTHERS if config.get(key)]
    numbers = all(isinstance(config.get(key), int | float) and config[key] > 0 for key in ("r", "lora_alpha"))
    if config.get("peft_type") != "LORA" or odd or not numbers:
        raise ValueError(f"folder must hold a plain LoRA with r and lora_alpha, got peft_type"
                         f" {config.get('peft_type')!r} {' '.join(odd)}")  # fmt: skip
    tensors, factors = load_file(folder / "adapter_model.safetensors"), {}
    scale = config["lora_alpha"] / config["r"]
    for key in [key for key in tensors if key.endswith(".lora_A.weight")]:
        partner = key.replace(".lora_A.", ".lora_B.")
        if partner not in tensors:
            raise ValueError(f"folder must hold {partner} beside {key}")
        name = key.removeprefix(PREFIX).removesuffix(".lora_A.weight")
        factors[name] = tensors[key].float(), scale * tensors[partner].float()
    if 2 * len(factors) != len(tensors):
        raise ValueError(f"folder must hold pairs of lora_A and lora_B alone, got {len(tensors)} tensors")
    return factors
