"""save: a quantized model becomes a checkpoint directory that transformers, GPTQModel, vLLM or mlx-lm reads."""

from __future__ import annotations

import functools
import json
import shutil
import tempfile
from collections.abc import Collection
from pathlib import Path

import torch
from torch import Tensor, nn

from course_lib.artifacts import experts
from course_lib.artifacts.layout import Layout
from course_lib.artifacts.layouts import by_name
from course_lib.artifacts.state import stored, untied
from course_lib.calibrate import QuantLinear
from course_lib.calibrate.experts import Experts, apart
from course_lib.calibrate.lowrank import Corrected
from course_lib.files import replace, write_atomic
from course_lib.qtensor import QTensor


def save(model: nn.Module, out, layout: str = "gptq", tokenizer=None) -> Path:
    """Write what `quantize_model` returned to a new directory `out` (config, packed weights, tokenizer) and return it.

    layout   "gptq"                GPTQ, zero point - 1 (v1, the most widely read); 2, 3, 4, 8 bits
             "gptq_v2"             GPTQ, the zero point itself; holds every asymmetric tensor
             "awq"                 AWQ's GEMM order; 4 bits, symmetric=False
             "compressed-tensors"  pack-quantized; 4 or 8 bits
             "mlx"                 Apple's MLX; 2, 3, 4, 5, 6, 8 bits with a bias -z·s, rounded, for a zero point;
                                   MXFP4, MXFP8 (E4M3), and NVFP4 without a tensor scale

    All but AWQ hold symmetric="full" and False. Scales are stored in 16 bits and must have been computed so
    (scale_dtype=torch.float16), hence `load` gives back the same codes, scales and zero points; those of "mlx" come
    back as biases, in which zero points are rounded (`formats.affine`). All else is stored in the dtype of the scales.
    The directory appears whole or not at all. ValueError for what a layout cannot hold; FileExistsError where `out` is
    there already.

    transformers with GPTQModel reads all of these but "mlx", and of the GPTQ and AWQ layouts no quantized lm_head
    (`skip=()`), which only GPTQModel itself reads. vLLM 0.33 takes of the GPTQ files only those with 4 or 8 bits and
    symmetric="full", and act-order only with static groups; for zero points take "awq" or "compressed-tensors"
    (benchmarks/peers/vllm_configs.py). mlx-lm 0.32 reads "mlx" and, rounding zero points as above, "awq"
    (benchmarks/peers/mlx_run.py).

    Of mixtures, Mixtral and Qwen3-MoE are written, their experts one by one under the names that vLLM reads, in all
    layouts but "mlx"; GPTQModel 7.6 reads those of Qwen3-MoE, and gives Mixtral's experts other names.
    """
    lay, out = by_name(layout), Path(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise FileExistsError(f"out must be a new or empty directory, got {str(out)!r}, which holds files")
    if not out.parent.is_dir():
        raise FileNotFoundError(f"out: its parent directory {str(out.parent)!r} does not exist")
    quantized = _quantized(model)
    qtensors = {name: linear.qtensor for name, linear in quantized.items()}
    dtype = lay.dtype(lay.check(qtensors))
    with apart(model):  # experts that stay at 16 bits lie one by one, too
        check_experts(model, lay, qtensors)
        packed = {f"{name}.{end}": part for name, q in qtensors.items() for end, part in lay.pack(name, q).items()}
        tensors = packed | _rest(model, quantized, dtype)
        config = checkpoint_config(model, lay, qtensors, dtype)
    tensors = {experts.on_disk(name, model.config.model_type): tensor for name, tensor in tensors.items()}
    _write(out, config, tensors, model, tokenizer)
    return out


def check_experts(model: nn.Module, layout: Layout, quantized: Collection[str]) -> None:
    """ValueError for experts, taken apart, that this layout or its readers do not take; quantized: names of linears."""
    for home, module in model.named_modules():
        if not isinstance(module, Experts):
            continue
        experts.check_family(model.config)
        if not layout.experts:
            raise ValueError(f"layout {layout.name!r} has all experts of a layer in one tensor, which is not written"
                             " here: take 'compressed-tensors', 'gptq' or 'awq'")  # fmt: skip
        names = [f"{home}.{k}.{which}_proj" for k in range(len(module)) for which in ("gate", "up", "down")]
        left = [name for name in names if name not in quantized]
        if 0 < len(left) < len(names):
            raise ValueError(f"{left[0]} is not quantized and others of its layer are: readers take all or none")


def _quantized(model: nn.Module) -> dict[str, QuantLinear]:
    """Name -> module of every quantized linear, none of which quantizes its inputs."""
    if not isinstance(model, nn.Module) or not hasattr(model, "config"):
        raise TypeError(f"model must be a causal language model from quantize_model, got {type(model).__name__}")
    found = {name: module for name, module in model.named_modules() if isinstance(module, QuantLinear)}
    if not found:
        raise ValueError("model must hold QuantLinear modules, as quantize_model makes them; it has none")
    corrected = [name for name, module in model.named_modules() if isinstance(module, Corrected)]
    if corrected:
        raise ValueError(f"{corrected[0]} has 16-bit factors beside its codes, for which these layouts have no place:"
                         " save the model from before `correct`")  # fmt: skip
    for name, linear in found.items():
        if linear.activations is not None:
            raise ValueError(f"{name} quantizes its inputs ({linear.activations.name}), which these layouts, being for"
                             " weights alone, cannot hold")  # fmt: skip
    return found


def _rest(model: nn.Module, quantized: dict[str, QuantLinear], dtype: torch.dtype) -> dict[str, Tensor]:
    """All that is not quantized, in 16 bits; of tensors that are tied the first only."""
    codes = {f"{name}.weight" for name in quantized}
    rest = {}
    for name, tensor in untied(model).items():
        if name in codes:
            continue
        if tensor.dim() > 2:
            raise ValueError(f"{name}: fused expert weights of shape {tuple(tensor.shape)} cannot be written yet")
        rest[name] = stored(name, tensor, dtype).clone()  # safetensors refuses tensors that share memory
    return rest


def checkpoint_config(model: nn.Module, layout: Layout, qtensors: dict[str, QTensor], dtype: torch.dtype) -> dict:
    """config.json: the model's own, with the class, the dtype and what the layout has to say."""
    config, gates = json.loads(model.config.to_json_string(use_diff=False)), experts.routers(model)
    left = [name for name, module in model.named_modules() if isinstance(module, nn.Linear) or name in gates]
    called = functools.partial(experts.on_disk, family=config["model_type"])
    said = layout.config({called(name): q for name, q in qtensors.items()}, [called(name) for name in left])
    if config["model_type"] == "qwen3_moe":  # the hub's files, and readers before transformers 5, know it by this name
        config["num_experts"] = experts.count(model.config)
    config["architectures"] = [type(model).__name__]
    config["dtype"] = str(dtype).removeprefix("torch.")
    return config | older_rope(config) | dict.fromkeys(layout.keys, said)


def older_rope(config: dict) -> dict:
    """The keys in which readers from before transformers 5, and mlx-lm, look for rotary positions.

    transformers 5 writes `rope_parameters`; who knows rope_theta and rope_scaling alone would take its own defaults.

    >>> older_rope({"rope_parameters": {"rope_type": "linear", "factor": 4.0, "rope_theta": 5e5}})
    {'rope_theta': 500000.0, 'rope_scaling': {'rope_type': 'linear', 'factor': 4.0}}
    """
    rope = config.get("rope_parameters") or {}
    local = rope.get("sliding_attention") or {}
    rope = rope.get("full_attention", rope)  # Gemma 3 has two
    apart = ("rope_theta", "partial_rotary_factor")
    found = {key: rope[key] for key in apart if key in rope}
    if "rope_theta" in local:
        found["rope_local_base_freq"] = local["rope_theta"]
    kind = rope.get("rope_type", "default")
    if kind == "longrope":  # Phi-3's class wants these three and no more; the original length stands beside them
        found["rope_scaling"] = {"type": kind} | {key: rope[key] for key in ("short_factor", "long_factor")}
    elif kind != "default":
        found["rope_scaling"] = {key: value for key, value in rope.items() if key not in apart}
    return found


def _write(out: Path, config: dict, tensors: dict[str, Tensor], model: nn.Module, tokenizer) -> None:
    """Fill a temporary directory beside `out`, then give it its name."""
    from safetensors.torch import save_file

    folder = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}."))
    try:
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
        write_atomic(folder / "config.json", json.dumps(config, indent=2) + "\n")
        if getattr(model, "generation_config", None) is not None:
            model.generation_config.save_pretrained(folder)
        if tokenizer is not None:
            tokenizer.save_pretrained(folder)
        for file in folder.rglob("*"):
            file.chmod(0o755 if file.is_dir() else 0o644)
        folder.chmod(0o755)
        replace(folder, out)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
