"""Directories that we wrote, read by transformers with gptqmodel and compressed-tensors; theirs, read by us.

Both sides see the same tokens. Theirs computes in float16, so the yardstick is what float16 does to *our* model: the
largest difference between our logits in float32 and in float16. Theirs may differ from ours by at most twice that.

GPTQModel's default kernel on a CPU (TorchAtenLinear, for 4-bit symmetric files) is no such yardstick: it rounds scales
and inputs to bfloat16, whatever the model's dtype. `kernels` measures both, on a directory that was streamed.
"""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path

import torch
from torch import nn

from course_lib import Scheme, artifacts, models
from course_lib.artifacts.stream import stream
from course_lib.calibrate import calibration_batches, quantize_model

SOME = ("lm_head", r"model\.layers\.0\..*", "down_proj")  # linears that stay at 16 bits
# layout, bits, symmetric, group, method, its options; the first five go through both models
CASES = [
    ("gptq", 4, "full", 64, "gptq", {"act_order": True}),
    ("gptq_v2", 3, False, 64, "rtn", {}),
    ("awq", 4, False, 64, "awq", {"clip": False}),
    ("compressed-tensors", 4, "full", 64, "rtn", {}),
    ("compressed-tensors", 8, False, None, "rtn", {}),
    ("gptq", 2, "full", 64, "rtn", {}),
    ("gptq", 3, "full", 64, "rtn", {}),
    ("gptq", 8, "full", None, "rtn", {}),
    ("gptq_v2", 4, False, 64, "gptq", {}),
    ("compressed-tensors", 4, False, 64, "gptq", {"act_order": True, "static_groups": True}),
    ("gptq", 4, "full", 64, "rtn", {"skip": SOME}),
    ("awq", 4, False, 64, "rtn", {"skip": SOME}),
    ("compressed-tensors", 4, "full", 64, "rtn", {"skip": SOME}),
]


def bundled() -> tuple[nn.Module, object, object]:
    """The course's model, its tokenizer and a little to calibrate it with."""
    model, tokenizer = models.load("bundled")
    return model, tokenizer, calibration_batches(tokenizer, "prose", samples=2, length=256)


def qwen2() -> tuple[nn.Module, object, object]:
    """A random model of Qwen2's shape: grouped queries, biases on q, k and v, a head of its own."""
    from transformers import Qwen2Config, Qwen2ForCausalLM

    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=1024, hidden_size=256, intermediate_size=384, num_hidden_layers=2, num_attention_heads=8,
        num_key_value_heads=2, max_position_embeddings=512, tie_word_embeddings=False, initializer_range=0.08,
    )  # fmt: skip
    model = Qwen2ForCausalLM(config).eval()
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            nn.init.normal_(parameter, std=0.1)
    return model.half().float(), None, [torch.randint(0, 1024, (2, 256))]


def theirs(folder: Path, layout: str, gptq: str = "gptq_torch") -> nn.Module:
    """transformers' own reading; GPTQ and AWQ in gptqmodel's plain torch kernels, which multiply in float16."""
    from transformers import AutoModelForCausalLM, AwqConfig, GPTQConfig

    more = {}
    if layout.startswith("gptq"):
        more = {"quantization_config": GPTQConfig(bits=4, backend=gptq)}
    elif layout == "awq":
        more = {"quantization_config": AwqConfig(bits=4, backend="torch_awq")}
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float16, **more).eval()


def differences(ours: nn.Module, other: nn.Module, dtype: torch.dtype = torch.float16) -> dict:
    """Largest difference of logits between ours in float32 and theirs, and what 16 bits alone do to ours."""
    ids = torch.randint(0, 1024, (2, 64), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        reference, other_logits = ours(ids).logits, other(ids).logits.float()
        in_half = ours.to(dtype)(ids).logits.float()
    alone = f"{str(dtype).removeprefix('torch.')}_alone"
    found = {
        "max_difference": round((reference - other_logits).abs().max().item(), 5),
        alone: round((reference - in_half).abs().max().item(), 5),
        "same_argmax": round((reference.argmax(-1) == other_logits.argmax(-1)).float().mean().item(), 4),
        "largest_logit": round(reference.abs().max().item(), 2),
    }
    return found | {"within": found["max_difference"] <= 2 * found[alone]}


def forth() -> dict[str, dict]:
    """ "model: layout scheme method" -> differences, for every case: ours written, theirs read."""
    table = {}
    for make, cases in ((bundled, CASES), (qwen2, CASES[:5])):
        model, tokenizer, calibration = make()
        for layout, bits, symmetric, group, method, options in cases:
            scheme = Scheme.int(bits, symmetric, group, scale_dtype=torch.float16)
            quantized = quantize_model(model, scheme, method, calibration, progress=False, **options)
            key = " ".join([f"{make.__name__}: {layout}", scheme.name, method, *options])
            with tempfile.TemporaryDirectory() as parent:
                folder = artifacts.save(quantized, Path(parent) / "out", layout, tokenizer)
                table[key] = differences(artifacts.load(folder)[0], theirs(folder, layout))
            print(key, table[key], flush=True)
    return table


def kernels() -> dict[str, dict]:
    """GPTQModel's kernel -> differences, for the bundled model, streamed: the plain one, and its own choice."""
    _, tokenizer, calibration = bundled()
    scheme, table = Scheme.int(4, "full", 64, scale_dtype=torch.float16), {}
    with tempfile.TemporaryDirectory() as parent:
        folder = stream(models.BUNDLED, Path(parent) / "out", scheme, "gptq", calibration, progress=False)
        for backend, dtype in (("gptq_torch", torch.float16), ("auto", torch.bfloat16)):
            other = theirs(folder, "gptq", backend)
            key = f"{type(other.get_submodule('model.layers.0.mlp.up_proj')).__name__} beside {dtype}"
            table[key] = differences(artifacts.load(folder)[0], other, dtype)
            print(key, table[key], flush=True)
    return table


def mixtures() -> dict[str, dict]:
    """ "family: layout, reader" -> differences, for random mixtures, experts one by one: ours written, theirs read.

    A token goes to all experts, so that no rounding sends it to others. GPTQModel 7.6 knows no file of Mixtral with the
    experts' names of vLLM, and transformers none of GPTQ's.
    """
    table = {}
    for family, layouts in (("mixtral", ("compressed-tensors",)), ("qwen3_moe", ("compressed-tensors", "gptq"))):
        model, tokenizer = mixture(family)
        for layout in layouts:
            scheme = Scheme.int(4, "full", 64, scale_dtype=torch.float16)
            with tempfile.TemporaryDirectory() as parent:
                saved = artifacts.save(quantize_model(model, scheme), Path(parent) / "out", layout, tokenizer)
                other = _in_gptqmodel(saved) if layout == "gptq" else theirs(saved, layout)
                key = f"{family}: {layout}, {'GPTQModel' if layout == 'gptq' else 'transformers'}"
                table[key] = differences(artifacts.load(saved)[0], other)
            print(key, table[key], flush=True)
    return table


def mixture(family: str) -> tuple[nn.Module, object]:
    """A random model of four experts, all of which take each token, and the bundled model's tokenizer."""
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(0)
    config = AutoConfig.for_model(
        family, vocab_size=1024, hidden_size=256, intermediate_size=192, moe_intermediate_size=192, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, head_dim=64, max_position_embeddings=512, num_local_experts=4,
        num_experts_per_tok=4, initializer_range=0.08, sliding_window=None,
    )  # fmt: skip
    return AutoModelForCausalLM.from_config(config).eval(), models.load("bundled")[1]


def _in_gptqmodel(folder: Path) -> nn.Module:
    from gptqmodel import BACKEND, GPTQModel

    return GPTQModel.load(str(folder), device="cpu", backend=BACKEND.GPTQ_TORCH, dtype=torch.float16).model


def back() -> dict[str, dict]:
    """Who wrote it -> differences: theirs written, from the bundled model, ours and theirs read."""
    table = {}
    for name, write, layout in (("GPTQModel", _by_gptqmodel, "gptq"), ("llm-compressor", _by_llmcompressor, "")):
        with tempfile.TemporaryDirectory() as parent:
            folder = Path(parent) / "out"
            write(folder)
            table[name] = differences(artifacts.load(folder)[0], theirs(folder, layout))
        print(f"{name} wrote it:", table[name], flush=True)
    return table


def _by_gptqmodel(folder: Path) -> None:
    from gptqmodel import GPTQModel, QuantizeConfig

    _, tokenizer = models.load("bundled")
    batches = calibration_batches(tokenizer, "prose", samples=2, length=256)
    config = QuantizeConfig(bits=4, group_size=64, offload_to_disk=False)
    model = GPTQModel.load(str(models.BUNDLED), config)
    with contextlib.chdir(folder.parent):  # it writes a folder "logs" where it runs
        model.quantize([row.tolist() for rows in batches for row in rows], batch_size=1)
    model.save(str(folder))


def _by_llmcompressor(folder: Path) -> None:
    from llmcompressor import oneshot
    from llmcompressor.modifiers.quantization import QuantizationModifier

    model, tokenizer = models.load("bundled", dtype=torch.float16)
    oneshot(model=model, recipe=QuantizationModifier(targets="Linear", scheme="W4A16", ignore=["lm_head"]))
    model.save_pretrained(folder, save_compressed=True)
    tokenizer.save_pretrained(folder)
