"""Export to GGUF: seconds for the bundled model, and peak memory for a checkpoint of more than 300 million parameters.

    python benchmarks/gguf_export.py [--layers 24] [--mix Q4_K_M] [--keep DIRECTORY] [--write]

Wanted: at most 2 s for the bundled model once it is loaded; a peak that grows with the largest tensors, not with the
model. So memory is measured for the checkpoint and for one of a sixth of its layers. Linux only: the peak is VmHWM of a
process of its own, above what that process holds after its imports.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from record import record, seconds
from stream_memory import SHAPE, build

RUN = """
import sys, time, torch
from course_lib import models
from course_lib.artifacts.gguf import llama
import safetensors, transformers.models.llama.modeling_llama
torch.set_num_threads(1)
peak = lambda: int(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
tokenizer = models.load("bundled")[1]
warm = llama.export(models.BUNDLED, tokenizer, sys.argv[2] + ".warm", "Q4_0")
before, began, cpu = peak(), time.perf_counter(), time.process_time()
llama.export(sys.argv[1], tokenizer, sys.argv[2], sys.argv[3])
print(before, peak(), time.perf_counter() - began, time.process_time() - cpu)
"""


def bundled(mix: str, folder: Path) -> dict:
    """Seconds of the export of the bundled model, loaded before, on the wall and of the processor."""
    import torch

    from course_lib import models
    from course_lib.artifacts.gguf import llama

    torch.set_num_threads(1)
    model, tokenizer = models.load("bundled")
    cpu = []

    def export():
        began = time.process_time()
        llama.export(model, tokenizer, folder / "bundled.gguf", mix)
        cpu.append(round(time.process_time() - began, 4))

    found = seconds(export) | {"cpu_s": cpu[1:]}
    parameters = sum(p.numel() for p in model.parameters())
    return {"parameters": parameters, "file_bytes": (folder / "bundled.gguf").stat().st_size, **found}


def large(layers: int, mix: str, folder: Path) -> dict:
    """Peak memory and seconds of the export of a random checkpoint, one tensor at a time."""
    source, out = folder / f"model-{layers}", folder / f"model-{layers}.gguf"
    parameters = build(source, layers)
    done = subprocess.run([sys.executable, "-c", RUN, str(source), str(out), mix], check=True, capture_output=True,
                          text=True)  # fmt: skip
    before, peak, wall, cpu = done.stdout.split()
    return {
        "parameters": parameters,
        "bfloat16_checkpoint_mib": round(parameters * 2 / 2**20),
        "file_mib": round(out.stat().st_size / 2**20),
        "peak_above_base_mib": round((int(peak) - int(before)) / 1024),
        "wall_s": round(float(wall), 1),
        "cpu_s": round(float(cpu), 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=int, default=24)
    parser.add_argument("--mix", default="Q4_K_M")
    parser.add_argument("--keep", help="directory for the checkpoints; a temporary one by default")
    parser.add_argument("--write", action="store_true", help="record the result")
    args = parser.parse_args()
    largest = max(SHAPE["hidden_size"] * SHAPE["intermediate_size"], SHAPE["vocab_size"] * SHAPE["hidden_size"])
    with tempfile.TemporaryDirectory(dir=args.keep) as folder:
        found = {"bundled": bundled(args.mix, Path(folder))}
        for layers in (args.layers // 6, args.layers):
            found[f"{layers} layers"] = large(layers, args.mix, Path(folder))
    found["largest tensor in float32, mib"] = round(4 * largest / 2**20)
    print(json.dumps(found, indent=1))
    if args.write:
        record("gguf_export", found, mix=args.mix)


if __name__ == "__main__":
    main()
