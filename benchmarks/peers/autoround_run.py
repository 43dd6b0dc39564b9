"""Our learned rounding and our GPTQ beside AutoRound: the bundled model's first block, the same tokens.

    AUTOROUND/bin/python benchmarks/peers/autoround_run.py     recorded in benchmarks/results/autoround_peer.json

AUTOROUND is an environment of its own, with the pins of benchmarks/peers/requirements-autoround.txt and PYTHONPATH=.
(`make peers` pins numpy and transformers where this does not). GPTQModel's errors are our GPTQ's to four digits: the
part `errors` of peers.json.

The error is |block'(x) - block(x)|² / |block(x)|² on held-out prose.
The tool leaves the last token of a window out of its loss; ours gets windows without it.
"""

from __future__ import annotations

import copy
import logging
import os
import sys
from importlib.metadata import version
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch  # noqa: E402
from record import record  # noqa: E402
from torch import nn  # noqa: E402

from course_lib import Scheme, models  # noqa: E402
from course_lib.calibrate import calibration_batches, quantize_model  # noqa: E402

GROUP, ITERS, WINDOWS, LENGTH, BLOCKS = 64, 20, 16, 128, 1
SETTINGS = {"3 bits asymmetric": (3, False, False), "2 bits asymmetric": (2, False, False)}  # bits, symmetric, signed


def theirs(model: nn.Module, ids: torch.Tensor, bits: int, symmetric, seed: int) -> nn.Module:
    """The model as AutoRound leaves it."""
    from auto_round import AutoRound

    tool = AutoRound(
        copy.deepcopy(model), tokenizer=object(), bits=bits, group_size=GROUP, sym=bool(symmetric), iters=ITERS,
        nsamples=WINDOWS, batch_size=8, seqlen=LENGTH, dataset=list(ids.split(1)), amp=False, device_map="cpu",
        enable_torch_compile=False, scale_dtype="fp16", seed=seed,
    )  # fmt: skip
    return tool.quantize()[0]


def errors(model: nn.Module, other: nn.Module, ids: torch.Tensor) -> list[float]:
    """Relative squared error behind each block."""
    seen: list[list[torch.Tensor]] = []
    for one in (model, other):
        found: list[torch.Tensor] = []
        handles = [b.register_forward_hook(lambda _, a, out, to=found: to.append(out)) for b in one.model.layers]
        with torch.inference_mode():
            one(ids)
        for handle in handles:
            handle.remove()
        seen.append(found)
    pairs = zip(*seen, strict=True)
    return [round(((b - a).square().sum() / a.square().sum()).item(), 5) for a, b in pairs]


def main() -> None:
    """Measure everything and write the results."""
    torch.set_num_threads(1)
    logging.disable(logging.CRITICAL)
    model, tokenizer = models.load("bundled")
    model.model.layers = model.model.layers[:BLOCKS]  # the tool is slow on a CPU
    ids = torch.cat(calibration_batches(tokenizer, "prose", WINDOWS, LENGTH))
    texts = tokenizer("\n".join(models.texts.heldout("prose", 100)))["input_ids"]
    held = torch.tensor(texts[: 16 * LENGTH]).reshape(16, LENGTH)
    results = {}
    for name, (bits, symmetric, signed) in SETTINGS.items():
        scheme = Scheme.int(bits, symmetric, GROUP, scale_dtype=torch.float16)
        batches = list(ids[:, :-1].split(8))
        rows = {
            "RTN, ours": quantize_model(model, scheme),
            "GPTQ, ours": quantize_model(model, scheme, "gptq", batches),
        }
        for seed in (0, 1):
            options = {"iters": ITERS, "signed": signed, "seed": seed, "progress": False}
            rows[f"learned, ours, seed {seed}"] = quantize_model(model, scheme, "autoround", batches, **options)
            rows[f"AutoRound, seed {seed}"] = theirs(model, ids, bits, symmetric, seed)
        results[name] = {way: errors(model, other, held) for way, other in rows.items()}
        for way, found in results[name].items():
            print(f"{name:20}{way:26}", *(f"{e:.5f}" for e in found), flush=True)
    about = {"group": GROUP, "iterations": ITERS, "windows": WINDOWS, "length": LENGTH, "blocks": BLOCKS}
    record("autoround_peer", results, peers={"auto-round": version("auto-round")}, **about)


if __name__ == "__main__":
    main()
