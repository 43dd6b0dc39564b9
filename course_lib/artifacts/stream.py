"""Quantize a checkpoint that does not fit in memory: one block at a time, shard by shard, and resumable."""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import json
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save
from torch import Tensor, nn

from course_lib.artifacts import experts
from course_lib.artifacts.checkpoint import files_of_tensors
from course_lib.artifacts.layouts import by_name
from course_lib.artifacts.state import stored, untied
from course_lib.artifacts.write import check_experts, checkpoint_config
from course_lib.calibrate.blocks import Flow, blocks_of
from course_lib.calibrate.calibration import check_tokens
from course_lib.calibrate.experts import take_apart
from course_lib.calibrate.sequential import ONE_BLOCK
from course_lib.calibrate.stats import evaluating
from course_lib.calibrate.targets import DEFAULT_SKIP, check_fit, linears_of
from course_lib.files import replace, write_atomic
from course_lib.progress import bar
from course_lib.qtensor import QTensor
from course_lib.scheme import Scheme


def stream(
    source,
    out,
    scheme: Scheme,
    method: str,
    batches: list[Tensor],
    layout: str = "gptq",
    skip: Iterable[str] = DEFAULT_SKIP,
    tokenizer=None,
    progress: bool | None = None,
    few: dict[str, int] | None = None,
    **options,
) -> Path:
    """What `quantize_model` and `save` do, for a checkpoint directory `source`, with one block in memory at a time.

    In memory are: embedding and head, one block in float32 with its Hessians, and the hidden states of `batches`
    (tokens (rows, length)). Every block leaves a shard in `.OUT.partial` beside `out`; a run that was interrupted goes
    on behind the last whole shard, and the directory gets its name when all is there. A run that is refused (a weight
    that is not finite) leaves nothing: it would be refused again.

    Linears outside the blocks stay at 16 bits. Experts of Mixtral and Qwen3-MoE are quantized one by one, however the
    checkpoint holds them; those that too few tokens reached, `Flow.few`, go into the dict `few`. ValueError where an
    interrupted run had other settings, or where the checkpoint lacks a tensor; FileExistsError where `out` holds files.
    """
    source, out, lay = Path(source), Path(out), by_name(layout)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise FileExistsError(f"out must be a new or empty directory, got {str(out)!r}, which holds files")
    files = files_of_tensors(source)
    model = _skeleton(source)
    files = experts.pieces(files, experts.count(model.config))
    batches = [check_tokens(model, ids) for ids in batches]
    linears = linears_of(model, skip)
    check_experts(model, lay, linears)
    check_fit(scheme, linears)
    blocks = blocks_of(model, linears)
    work = _work(out, source, scheme, method, batches, layout, skip, options)
    with evaluating(model), _nothing_if_refused(work):
        _load(model, "", [n for n in model.state_dict() if not n.startswith(tuple(f"{b}." for b in blocks))], files)
        model.tie_weights()
        _rebuild_buffers(model, list(blocks))
        flow = Flow(model, list(blocks), batches)
        example = _run(model, flow, blocks, files, work, lay, scheme, method, options, progress)
        (few if few is not None else {}).update(flow.few)
    return _finish(model, blocks, linears, example, lay, scheme, work, out, source, tokenizer)


@contextlib.contextmanager
def _nothing_if_refused(work: Path) -> Iterator[None]:
    try:
        yield
    except ValueError:
        shutil.rmtree(work, ignore_errors=True)
        raise


def _run(model, flow: Flow, blocks, files, work: Path, lay, scheme: Scheme, method, options, progress) -> dict:
    """Quantize block after block into shards; the QTensors of the last one, for what config.json says of them."""
    last = max(i for i, inside in enumerate(blocks.values()) if inside)
    start, example = _resume(flow, work), {}
    for i, (name, inside) in bar(list(enumerate(blocks.items()))[start:], method, progress):
        block = flow.block
        _load(block, name + ".", list(block.state_dict()), files)
        done = ONE_BLOCK[method](flow, {n: model.get_submodule(n) for n in inside}, scheme, **options)
        example = done or example
        write_atomic(work / f"model-{i + 1:05}.safetensors", save(_shard(model, block, name, done, lay, scheme)))
        flow.advance()
        block.to("meta")
        _trim()
        if i < last:  # what comes behind is done again after an interruption, so that there is an example
            about = {"blocks": str(i + 1), "few": json.dumps(flow.few)}
            write_atomic(work / "hidden.safetensors", save(flow.state(), about))
    return example


def _trim() -> None:
    """Give freed memory back to the system, where glibc is: else its heap, in pieces, grows with every block."""
    try:
        ctypes.CDLL("libc.so.6").malloc_trim(0)
    except (OSError, AttributeError):
        pass


def _skeleton(source: Path) -> nn.Module:
    """The model without memory for its weights, its experts taken apart."""
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.from_pretrained(source)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    if take_apart(model, trusted=True):
        experts.check_family(config, json.loads((source / "config.json").read_text(encoding="utf-8")))
    return model


def _load(module: nn.Module, prefix: str, names: list[str], files: dict[str, experts.Piece]) -> None:
    """Give a module its tensors in float32; a tensor that the checkpoint lacks must be tied to another."""
    if prefix and (lacking := [name for name in names if prefix + name not in files]):
        raise ValueError(f"the checkpoint lacks {prefix}{lacking[0]}")
    found = experts.read({name: files[prefix + name] for name in names if prefix + name in files})
    for name, wanted in module.state_dict().items():
        if name in found and found[name].shape != wanted.shape:
            raise ValueError(f"{files[prefix + name].name} must have the shape {tuple(wanted.shape)} that config.json"
                             f" says, got {tuple(found[name].shape)}")  # fmt: skip
    module.load_state_dict({name: tensor.float() for name, tensor in found.items()}, strict=False, assign=True)


def _rebuild_buffers(model: nn.Module, blocks: list[str]) -> None:
    """Buffers that no checkpoint holds (rotary frequencies) are computed by building their module anew."""
    for name, module in list(model.named_modules()):
        if name.startswith(tuple(blocks)) or all(not b.is_meta for b in module.buffers(recurse=False)):
            continue
        if hasattr(module, "scalar_embed_scale"):  # Gemma multiplies its embedding, whose buffer says so again
            module.embed_scale = torch.tensor(module.scalar_embed_scale)
            continue
        model.set_submodule(name, type(module)(model.config))
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        if tensor.is_meta and not name.startswith(tuple(f"{block}." for block in blocks)):
            raise ValueError(f"the checkpoint lacks {name}")


def _work(out: Path, source: Path, scheme: Scheme, method: str, batches, layout: str, skip, options: dict) -> Path:
    """The directory of an unfinished run, new or with the same settings and weights (sizes and times of files)."""
    tokens = hashlib.sha256(b"".join(ids.cpu().numpy().tobytes() for ids in batches)).hexdigest()
    weights = {file.name: file.stat() for file in sorted(set(files_of_tensors(source).values()))}
    weights = {name: [about.st_size, about.st_mtime_ns] for name, about in weights.items()}
    settings = {"source": str(source.resolve()), "scheme": scheme.to_dict(), "method": method, "layout": layout,
                "skip": list(skip), "options": options, "tokens": tokens, "weights": weights}  # fmt: skip
    work, text = out.parent / f".{out.name}.partial", json.dumps(settings, indent=1) + "\n"
    if (work / "settings.json").exists():
        if (work / "settings.json").read_text(encoding="utf-8") != text:
            raise ValueError(f"out: {str(work)!r} holds an interrupted run with other settings or other weights:"
                             " delete it, or repeat it with its own")  # fmt: skip
        return work
    work.mkdir(parents=True, exist_ok=True)
    write_atomic(work / "settings.json", text)
    return work


def _resume(flow: Flow, work: Path) -> int:
    """Stand in front of the first block that is not known to be done, and say which one that is."""
    if not (work / "hidden.safetensors").exists():
        return 0
    with safe_open(work / "hidden.safetensors", "pt") as opened:
        done = int(opened.metadata()["blocks"])
        flow.few |= json.loads(opened.metadata().get("few", "{}"))
    held = load_file(work / "hidden.safetensors")
    flow.restore({name: tensor.clone() for name, tensor in held.items()}, done)  # the file is soon replaced
    return done


def _shard(model, block, name: str, done: dict[str, QTensor], lay, scheme: Scheme) -> dict[str, Tensor]:
    """Tensors of one finished block as they are stored."""
    if done:
        lay.check(done)
    packed = {f"{n}.{suffix}": part for n, q in done.items() for suffix, part in lay.pack(n, q).items()}
    codes = {f"{n}.weight" for n in done}
    rest = {f"{name}.{n}": t for n, t in block.state_dict().items()}
    whole = packed | {n: stored(n, t, lay.dtype(scheme)) for n, t in rest.items() if n not in codes}
    return {experts.on_disk(n, model.config.model_type): t for n, t in whole.items()}


def _finish(model, blocks, linears, example, lay, scheme, work: Path, out: Path, source: Path, tokenizer) -> Path:
    """The rest of the model, the index and the configuration; then the directory gets its name."""
    inside = tuple(f"{name}." for name in blocks)
    outside = {name: tensor for name, tensor in untied(model).items() if not name.startswith(inside)}
    rest = {name: stored(name, tensor, lay.dtype(scheme)) for name, tensor in outside.items()}
    write_atomic(work / f"model-{len(blocks) + 1:05}.safetensors", save(rest, {"format": "pt"}))
    weight_map, size = {}, 0
    for file in sorted(work.glob("model-*.safetensors")):
        with safe_open(file, "pt") as opened:
            weight_map |= dict.fromkeys(opened.keys(), file.name)
        size += file.stat().st_size
    index = {"metadata": {"total_size": size}, "weight_map": weight_map}
    write_atomic(work / "model.safetensors.index.json", json.dumps(index, indent=1) + "\n")
    quantized = [name for part in blocks.values() for name in part]
    one = next((q for q in example.values() if q.g_idx is not None), next(iter(example.values())))
    for name in quantized:  # the linears that are left are those that the config names as not quantized
        model.set_submodule(name, nn.Identity())
    config = checkpoint_config(model, lay, dict.fromkeys(quantized, one), lay.dtype(scheme))
    write_atomic(work / "config.json", json.dumps(config, indent=2) + "\n")
    if (source / "generation_config.json").exists():
        write_atomic(work / "generation_config.json", (source / "generation_config.json").read_bytes())
    if tokenizer is not None:
        tokenizer.save_pretrained(work)
    for name in ("hidden.safetensors", "settings.json"):
        (work / name).unlink()
    replace(work, out)
    return out
