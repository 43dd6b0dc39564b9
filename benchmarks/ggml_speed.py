"""Our ggml blocks beside ggml's C code and the gguf package: seconds for one matrix, one thread, the same run.

    python benchmarks/ggml_speed.py [--size 4096] [--repeat 3] [--write] [TYPE ...]

Wanted: K types at most 2 times the C code's time, IQ4 types 0.5 times, the others 4 times and faster than gguf wherever
it can quantize; dequantization no slower than gguf's. CPU time, so that another load on the machine counts less.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from pathlib import Path

import gguf
import numpy as np
from record import record

sys.path.insert(0, str(Path(__file__).parent.parent))
from course_lib.formats import ggml
from tests import ggml_oracle


def cpu_seconds(work, repeat):
    times = []
    for _ in range(repeat):
        began = time.process_time()
        work()
        times.append(time.process_time() - began)
    return round(statistics.median(times), 4)


def row(name: str, x: np.ndarray, repeat: int) -> dict:
    """Median CPU seconds of each way to do the same, and whether the bytes agree."""
    blocks, kind = ggml_oracle.quantize(x, name), gguf.GGMLQuantizationType[name]
    entry = {
        "type": name,
        "same_bytes": bool(np.array_equal(ggml.quantize(x, name), blocks)),
        "quantize_c_s": cpu_seconds(lambda: ggml_oracle.quantize(x, name), repeat),
        "quantize_s": cpu_seconds(lambda: ggml.quantize(x, name), repeat),
        "quantize_gguf_s": None,
        "dequantize_c_s": cpu_seconds(lambda: ggml_oracle.dequantize(blocks, name, x.shape[1]), repeat),
        "dequantize_s": cpu_seconds(lambda: ggml.dequantize(blocks, name), repeat),
        "dequantize_gguf_s": cpu_seconds(lambda: gguf.dequantize(blocks, kind), repeat),
    }
    try:
        entry["quantize_gguf_s"] = cpu_seconds(lambda: gguf.quantize(x, kind), repeat)
    except NotImplementedError:
        pass
    entry["ratio_to_c"] = round(entry["quantize_s"] / entry["quantize_c_s"], 2)
    return entry


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("types", nargs="*", help="such as Q4_K; all if none is named")
    parser.add_argument("--size", type=int, default=4096)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--write", action="store_true", help="record the result")
    options = parser.parse_args()
    x = (np.random.default_rng(0).standard_normal((options.size, options.size)) * 0.02).astype(np.float32)
    rows = []
    for name in options.types or [n for n in ggml.WRITTEN if not ggml.TYPES[n].needs_imatrix]:
        rows.append(row(name, x, options.repeat))
        shown = " ".join(f"{key[:-2]} {value}" for key, value in rows[-1].items() if key.endswith("_s"))
        print(f"{name:7} {rows[-1]['ratio_to_c']:5.2f}x C, same bytes: {rows[-1]['same_bytes']}   {shown}", flush=True)
    mean = statistics.geometric_mean(entry["ratio_to_c"] for entry in rows)
    print(f"geometric mean of the ratios to C: {mean:.2f}")
    if options.write:
        record("ggml_speed", rows, geometric_mean_ratio_to_c=round(mean, 2))


if __name__ == "__main__":
    main()
