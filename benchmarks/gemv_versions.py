"""The GEMV versions of chapter 12 on the GPU that is here: a time predicted from bytes and instructions, then measured.

    python benchmarks/gemv_versions.py [FILE]          about half a minute; writes FILE, or results/gemv-versions.json

Predicted is max(bytes / copy bandwidth, weights · instructions a weight / issue rate): instructions as counted in
results/kernels-sass.json for sm_90, the issue rate from the number of processors and their clock under load.
"""

import datetime
import json
import subprocess
import sys
from pathlib import Path

import torch

from course_lib.kernels import gemv, w4a16
from course_lib.kernels.measure import clock, families

N, K, GROUP = 8192, 28672, 128
TILES = {v: [(32, 4)] for v in (1, 2, 3, 5)} | {4: [(8, 4), (16, 4), (32, 4), (64, 4)]}  # rows, blocks of a tile
TILES[6] = [(64, 1)]  # the kernel on the matrix units has its own
HERE = Path(__file__).parent / "results"


def launch(version, x, packed, tile):
    """One call of a version with (BN, BB), its arguments found by name."""
    if version == 6:
        return w4a16.linear(x[None], packed, "gemm")[0]
    kernel = gemv.VERSIONS[version]
    parts = 4 if version == 5 else 1
    y = x.new_empty((parts, N), dtype=torch.float32 if version == 5 else x.dtype)
    known = {"x": x, "words": packed.words, "scale": packed.scale, "zero": packed.scale, "y": y, "n": N, "k": K,
             "one": gemv.ONE, "W": GROUP // 8, "GB": 1, "BN": tile[0], "BB": tile[1], "HAS_ZERO": False,
             "EVEN": True}  # fmt: skip
    kernel[(N // tile[0], parts)](**{name: known[name] for name in kernel.arg_names})
    return y.sum(0)


def clock_hz() -> float:
    """The processors' clock a moment after work, in Hz, as the driver says it."""
    words = ["nvidia-smi", "--query-gpu=clocks.sm", "--format=csv,noheader,nounits"]
    return 1e6 * float(subprocess.run(words, capture_output=True, text=True, check=True).stdout.split()[0])


def main():
    """Measure, print, write."""
    codes = json.loads((HERE / "kernels-sass.json").read_text(encoding="utf-8"))["results"]["codes"]
    each = {c["name"]: c["per_weight"] for c in codes if c["arch"] == "sm_90"}
    copy = clock.copy_bandwidth()
    about = torch.cuda.get_device_properties(0)
    x = torch.randn(K, dtype=torch.float16, device="cuda")
    rows, drawn = [], {run: families.draw_int4(N, K, GROUP, dtype=torch.float16, run=run) for run in (32, None)}
    for version in TILES:
        weights = families.in_rotation(drawn[None if version == 6 else 32])  # 6 likes longer runs
        want = families.product(x[None], families.packing.unpack(weights[0]))[0]
        name = "gemm-1" if version == 6 else f"gemv-{version}"
        if name not in each:
            print(f"{name} is not in kernels-sass.json: record that first")
            continue
        for tile in TILES[version]:
            error = families.close(launch(version, x, weights[0], tile), want)
            us = clock.microseconds([lambda w=w, v=version, t=tile: launch(v, x, w, t) for w in weights])
            issue = about.multi_processor_count * 128 * clock_hz()
            moved = families.nbytes(weights[0]) + 2 * (N + K)
            memory, work = 1e6 * moved / copy, 1e6 * N * K * each[name] / issue
            rows.append({"version": version, "rows": tile[0], "blocks": tile[1], "us": round(us, 2),
                         "predicted_us": round(max(memory, work), 2), "memory_us": round(memory, 2),
                         "issue_us": round(work, 2), "issue_per_s": issue, "error": error})  # fmt: skip
            print(rows[-1], flush=True)
    entry = {"benchmark": "gemv-versions", "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
             "command": "python benchmarks/gemv_versions.py", "machine": {"gpu": about.name,
             "multiprocessors": about.multi_processor_count, "torch": torch.__version__},
             "copy_tb_per_s": round(copy / 1e12, 3), "n": N, "k": K, "group": GROUP, "rows": rows}  # fmt: skip
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "gemv-versions.json"
    path.write_text(json.dumps(entry, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
