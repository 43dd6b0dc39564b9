"""Peak memory of `course quantize` on a synthetic model of more than 300 million parameters, beside what it holds.

    python benchmarks/stream_memory.py [--layers 24] [--keep DIRECTORY]

Wanted: the peak grows with a block and the activations, not with the number of blocks. So it is measured for the
model and for one of a sixth of its blocks. Linux only: the peak is VmHWM of a process of its own.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from record import record

SHAPE = dict(hidden_size=1024, intermediate_size=3072, num_attention_heads=16, num_key_value_heads=8, vocab_size=1024,
             max_position_embeddings=512, tie_word_embeddings=True, pad_token_id=0)  # fmt: skip
RUN = """
import sys, torch
from course_lib import Scheme
from course_lib.artifacts.stream import stream
torch.set_num_threads(1)
peak = lambda: next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM"))
before = peak()
g = torch.Generator().manual_seed(0)
batches = list(torch.randint(1, 1024, (2, 256), generator=g).split(1))
scheme = Scheme.int(4, "full", 128, scale_dtype=torch.float16)
stream(sys.argv[1], sys.argv[2], scheme, "gptq", batches, progress=False)
print(before, peak())
"""


def build(folder: Path, layers: int) -> int:
    """A random Llama of this many blocks as a bfloat16 checkpoint; its number of parameters."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(**SHAPE, num_hidden_layers=layers)).bfloat16()
    model.save_pretrained(folder)
    return model.num_parameters()


def measure(folder: Path, layers: int) -> dict:
    """Parameters, peak memory beyond an idle process, and seconds."""
    source = folder / f"model-{layers}"
    parameters = build(source, layers)
    began = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", RUN, str(source), str(folder / f"out-{layers}")], check=True,
                          capture_output=True, text=True)  # fmt: skip
    idle, peak = (int(part) / 1024 for part in done.stdout.split())
    return {
        "parameters": parameters,
        "float32_model_mib": round(parameters * 4 / 2**20),
        "idle_process_mib": round(idle),
        "peak_mib": round(peak),
        "peak_above_idle_mib": round(peak - idle),
        "wall_s": round(time.perf_counter() - began, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--layers", type=int, default=24)
    parser.add_argument("--keep", help="directory for the checkpoints; a temporary one by default")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.keep) as folder:
        found = {f"{n} blocks": measure(Path(folder), n) for n in (args.layers // 6, args.layers)}
    found["one block in float32, mib"] = round(4 * (1024 * 1024 * 3 + 3 * 1024 * 3072) / 2**20)
    print(json.dumps(found, indent=1))
    record("stream_memory", found, scheme="gptq int4 g128, 512 tokens of calibration")


if __name__ == "__main__":
    main()
