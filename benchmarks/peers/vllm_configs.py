"""Our directories through vLLM's own configuration classes, linear layers and weight loaders, without its kernels.

    pip download vllm==0.33.0 --no-deps -d DIR && unzip -q DIR/vllm-*.whl 'vllm/*.py' -d DIR/vllm
    PYTHONPATH=.:DIR/vllm:DIR/needed .course-peers/bin/python benchmarks/peers/vllm_configs.py

vLLM's wheels on the package index are for GPUs. Its Python part runs without one: `from_config` accepts or refuses a
directory's `quantization_config`, `get_quant_method` says which linears are packed, `create_weights` gives every tensor
its name, dtype and shape, and `weight_loader` takes ours. AWQ's codes are compared behind vLLM's own conversion.

Not run: the choice of a kernel and the kernel itself, both replaced here, hence no logits. Modules that vLLM imports,
and that this work does not need, are stood in for. DIR/needed holds those that it builds upon (pip install --no-deps
--target DIR/needed): aiohappyeyeballs aiohttp aiosignal apache-tvm-ffi attrs cachetools cbor2 cloudpickle fastapi
frozenlist httpx2 msgspec multidict openai openai-harmony prometheus-client propcache pybase64 pyzmq sniffio starlette
uvloop xgrammar yarl.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import json
import os
import sys
import tempfile
import types
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from unittest.mock import MagicMock

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import loading  # noqa: E402
import torch  # noqa: E402
from record import record  # noqa: E402
from safetensors.torch import load_file  # noqa: E402

from course_lib import Scheme, artifacts  # noqa: E402
from course_lib.calibrate import quantize_model  # noqa: E402
from course_lib.formats.packing import unpack  # noqa: E402

VLLM = "0.33.0"
FUSED = {"qkv_proj": ["q_proj", "k_proj", "v_proj"], "gate_up_proj": ["gate_proj", "up_proj"]}
ACT, STATIC = {"act_order": True}, {"act_order": True, "static_groups": True}
CASES = [  # layout, bits, symmetric, group, method, its options
    *(("gptq", bits, "full", 64, "rtn", {}) for bits in (2, 3, 4, 8)),
    ("gptq_v2", 4, "full", 64, "rtn", {}),
    ("gptq", 4, "full", None, "rtn", {}),
    ("gptq_v2", 4, False, 64, "rtn", {}),
    ("gptq_v2", 8, False, 64, "rtn", {}),
    ("gptq", 4, "full", 64, "gptq", ACT),
    ("gptq", 4, "full", 64, "gptq", STATIC),
    ("gptq", 4, "full", 64, "rtn", {"skip": loading.SOME}),
    ("awq", 4, False, 64, "rtn", {}),
    ("awq", 4, False, None, "rtn", {}),
    ("awq", 4, False, 64, "rtn", {"skip": loading.SOME}),
    *(
        ("compressed-tensors", b, s, g, "rtn", {})
        for b in (4, 8)
        for s, g in (("full", 64), (False, 64), ("full", None))
    ),
    ("compressed-tensors", 4, "full", 64, "rtn", {"skip": loading.SOME}),
]


class Absent(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Stands in for modules that are not installed, once they are among `names`."""

    names: set[str] = set()

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in self.names:
            return importlib.machinery.ModuleSpec(name, self, is_package=True)

    def create_module(self, spec):
        module = types.ModuleType(spec.name)

        def attribute(name):
            if name.startswith("__"):
                raise AttributeError(name)
            return MagicMock(name=name)

        module.__getattr__ = attribute
        return module

    def exec_module(self, module):
        pass


def patiently(get: Callable):
    """get(), again for each module that it lacks, with a stand-in."""
    while True:
        try:
            return get()
        except ModuleNotFoundError as error:
            top = error.name.partition(".")[0]
            if top in {"vllm", "torch", *Absent.names}:
                raise
            Absent.names.add(top)


class Kernel:
    """In place of the kernel that a GPU would get: knows only what it was asked for."""

    def __init__(self, config, **names):
        self.config = config


def vllm():
    """vLLM's registry of configurations and its plain linear, with the choice of a kernel taken out."""

    def get():
        from vllm.distributed import parallel_state
        from vllm.model_executor.layers.linear import ReplicatedLinear
        from vllm.model_executor.layers.quantization import auto_awq, auto_gptq, get_quantization_config
        from vllm.model_executor.layers.quantization.compressed_tensors.schemes import compressed_tensors_wNa16

        parallel_state._TP = types.SimpleNamespace(rank_in_group=0, world_size=1)  # one GPU, without its process group
        return get_quantization_config, ReplicatedLinear, (auto_awq, auto_gptq, compressed_tensors_wNa16)

    sys.meta_path.append(Absent())
    get_config, linear, modules = patiently(get)
    patiently(lambda: [get_config(name) for name in ("gptq", "awq", "compressed-tensors")])
    for module in modules:
        module.choose_mp_linear_kernel = lambda config: Kernel
        if hasattr(module, "verify_marlin_supported"):
            module.verify_marlin_supported = lambda **_: None
    return get_config, linear, modules[0]


def look(folder: Path, model, get_config, Linear, awq) -> dict:
    """What vLLM says about one directory: accepted or why not; linears that it packs; tensors that it has taken."""
    facts = json.loads((folder / "config.json").read_text(encoding="utf-8"))["quantization_config"]
    try:
        config = get_config(facts["quant_method"]).from_config(facts)
        config.packed_modules_mapping = FUSED
        config.maybe_update_config(str(folder))
    except ValueError as error:
        return {"accepted": False, "why": " ".join(str(error).split())}
    stored, packed, taken = load_file(folder / "model.safetensors"), 0, 0
    quantized = artifacts.load(folder)[0].qtensors
    linears = {n: m for n, m in model.named_modules() if isinstance(m, torch.nn.Linear) and n != "lm_head"}
    for name, module in linears.items():
        layer = Linear(module.in_features, module.out_features, bias=False, params_dtype=torch.float16,
                       quant_config=config, prefix=name, disable_tp=True)  # fmt: skip
        wanted = dict(layer.named_parameters())
        ours = {n.removeprefix(f"{name}."): t for n, t in stored.items() if n.startswith(f"{name}.")}
        for other in ("bias", "g_idx"):  # a bias is no business of the method; vLLM's mapper drops every g_idx
            ours.pop(other, None)
        assert ours.keys() == wanted.keys(), (name, sorted(ours), sorted(wanted))
        for key, tensor in ours.items():
            assert tensor.dtype == wanted[key].dtype, (name, key, tensor.dtype, wanted[key].dtype)
            wanted[key].weight_loader(wanted[key], tensor)  # asserts the shape
            taken += 1
        assert (name in quantized) == ("weight" not in ours), name
        packed += name in quantized
        if facts["quant_method"] == "awq" and name in quantized:
            awq._convert_awq_to_standard_format(layer, "qweight", "qzeros", 4)
            codes = unpack(layer.qweight.data, 4, module.in_features, axis=0).T
            assert torch.equal(codes, quantized[name].codes), name
    return {"accepted": True, "packed": packed, "of": len(linears), "tensors_taken": taken, **fused(config, Linear)}


def fused(config, Linear) -> dict:
    """The methods of the layers that vLLM fuses, asked by its names for them; it raises where parts of one disagree."""
    plain = Linear(64, 64, bias=False, params_dtype=torch.float16, disable_tp=True)
    names = [f"model.layers.{i}.{part}" for i in (0, 1) for part in ("self_attn.qkv_proj", "mlp.gate_up_proj")]
    return {"methods": sorted({type(config.get_quant_method(plain, n)).__name__ for n in names})}


def main() -> None:
    tools, table = vllm(), {}
    model, _, calibration = loading.qwen2()
    for layout, bits, symmetric, group, method, options in CASES:
        scheme = Scheme.int(bits, symmetric, group, scale_dtype=torch.float16)
        key = " ".join([layout, scheme.name, method, *options])
        quantized = quantize_model(model, scheme, method, calibration, progress=False, **options)
        with tempfile.TemporaryDirectory() as parent, torch.no_grad():
            table[key] = look(artifacts.save(quantized, Path(parent) / "out", layout), model, *tools)
        print(f"{key:60} {table[key]}", flush=True)
    about = {"vllm": VLLM, "stood_in_for": sorted(Absent.names), "compressed-tensors": version("compressed-tensors")}
    record("vllm_configs", table, **about)


if __name__ == "__main__":
    main()
