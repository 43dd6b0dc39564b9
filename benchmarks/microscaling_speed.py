"""A matrix to MXFP4 and NVFP4: ours beside torchao's and the gguf package's, CPU seconds of one thread, the same run.

    python benchmarks/microscaling_speed.py [--size 4096] [--repeat 5] [--write]

Run it where torchao 0.18 is installed beside the course's packages (it is not one of them). The three take turns, so
that another load on the machine meets them all. Wanted: faster than torchao, and 10 times as fast as gguf at MXFP4.
Ours returns codes and scales; torchao's and gguf's are packed as well, so packing is timed for ours apart.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from importlib.metadata import version
from pathlib import Path

import gguf
import torch
from record import record
from torchao.prototype.mx_formats.mx_tensor import ScaleCalculationMode, to_mx
from torchao.prototype.mx_formats.nvfp4_tensor import nvfp4_quantize, per_tensor_amax_to_scale

sys.path.insert(0, str(Path(__file__).parent.parent))
from course_lib.formats import microscaling, packing


def ways(x: torch.Tensor) -> dict:
    """(format, who) -> work to be timed."""
    codes = microscaling.quantize(x, "mxfp4").codes
    return {
        ("mxfp4", "ours"): lambda: microscaling.quantize(x, "mxfp4"),
        ("mxfp4", "torchao"): lambda: to_mx(x, torch.float4_e2m1fn_x2, 32, ScaleCalculationMode.FLOOR),
        ("mxfp4", "gguf"): lambda: gguf.quantize(x.numpy(), gguf.GGMLQuantizationType.MXFP4),
        ("nvfp4", "ours"): lambda: microscaling.quantize(x, "nvfp4"),
        ("nvfp4", "torchao"): lambda: nvfp4_quantize(x, 16, per_tensor_amax_to_scale(x.abs().amax())),
        ("packing", "ours"): lambda: packing.pack(codes, 4),
    }


def differing_bytes(x: torch.Tensor) -> dict:
    """How many packed bytes differ from torchao's, which multiplies by a reciprocal under two levels of scales."""
    theirs = {
        "mxfp4": to_mx(x, torch.float4_e2m1fn_x2, 32, ScaleCalculationMode.FLOOR)[1],
        "nvfp4": nvfp4_quantize(x, 16, per_tensor_amax_to_scale(x.abs().amax()))[1],
    }
    ours = {name: packing.pack(microscaling.quantize(x, name).codes, 4) for name in theirs}
    return {name: int((ours[name] != theirs[name].view(torch.uint8)).sum()) for name in theirs}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=4096)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--write", action="store_true", help="record the result")
    options = parser.parse_args()
    torch.set_num_threads(1)
    x = torch.randn(options.size, options.size, generator=torch.Generator().manual_seed(0)) * 0.02
    todo = ways(x)
    seconds = {key: [] for key in todo}
    for _ in range(options.repeat):
        for key, work in todo.items():
            began = time.process_time()
            work()
            seconds[key].append(time.process_time() - began)
    found = {name: {} for name, _ in todo}
    for (name, who), times in seconds.items():
        found[name][f"{who}_s"] = round(statistics.median(times), 4)
        found[name][f"{who}_all_s"] = [round(t, 4) for t in times]
        ours = found[name]["ours_s"]
        print(f"{name:8} {who:8} {found[name][f'{who}_s']:.4f} s, {found[name][f'{who}_s'] / ours:.1f} times ours")
    differ = differing_bytes(x)
    print(f"bytes that differ from torchao's, of {x.numel() // 2:,}: {differ}")
    if options.write:
        about = {"size": options.size, "torchao": version("torchao"), "bytes_unlike_torchao": differ}
        record("microscaling_speed", found, **about)


if __name__ == "__main__":
    main()
