"""`course bench kernels`: correctness first, then microseconds beside torch and other kernels, on the GPU that is here.

    course bench kernels [--json FILE] [--quick] [--family NAME …] [--peer NAME …] [--seconds S]

Phase 1 checks every family against float64 on random codes with poisoned outputs, each in a process of its own; these
compile the kernels side by side. Phase 2 times, in one process, weights in rotation under CUDA graphs. Phase 3 lets the
peers that are installed run the same products. A family that fails its check is not timed.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch

SHAPES = ((4096, 4096), (4096, 14336), (8192, 8192), (8192, 28672))  # (n, k), torch.nn.Linear's (out, in)
TOKENS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
VARIANTS = ("w4a16-g128-fp16", "w4a16-g128-zeros", "w4a16-g64-zeros", "w4a16-g32-fp16", "w4a16-channel",
            "w4a16-act-order")  # timed at the largest shape only  # fmt: skip
QUICK = (1, 8, 16, 64, 512)
PEERS = ("tinygemm", "scaled_mm", "int_mm", "gemlite", "humming", "torchao", "bitsandbytes")


def points(family, quick: bool):
    """(m, n, k) that a family is timed at."""
    shapes = SHAPES[-1:] if quick or family.name in VARIANTS else SHAPES
    return [(m, n, k) for n, k in shapes for m in (QUICK if quick else TOKENS) if m <= family.most]


def check(name: str, quick: bool) -> dict:
    """The largest relative error of a family over its checks; its kernels are compiled for the timed points, too."""
    from course_lib.kernels.measure import families as known

    family = known.families()[name]
    torch.manual_seed(0)
    worst = 0.0
    with known.poisoned():
        for n, k in family.shapes:
            weight = family.draw(n, k)
            for m in [m for m in (1, 3, 16, 33, 64, 200) if m <= family.most]:
                x = torch.randn(m, k, device="cuda").to(family.dtype)
                error = known.close(family.run(x, weight), family.exact(x, weight))
                worst = max(worst, error)
    for n, k in {point[1:] for point in points(family, quick)}:
        weight = family.draw(n, k)
        for m, *at in points(family, quick):
            if tuple(at) == (n, k):
                family.run(torch.randn(m, k, device="cuda").to(family.dtype), weight)
    torch.cuda.synchronize()
    allowed = known.limit(family.dtype)
    return {"family": name, "relative_error": worst, "allowed": allowed, "passed": worst <= allowed}


def check_all(names: list[str], quick: bool, jobs: int) -> list[dict]:
    """`check` of each family in its own process; one that dies has its last words in "reason"."""

    def one(name: str) -> dict:
        words = [sys.executable, "-m", "course_lib.kernels.measure.contest", "--check", name] + ["--quick"] * quick
        done = subprocess.run(words, capture_output=True, text=True)
        if done.returncode:
            last = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
            return {"family": name, "passed": False, "reason": last}
        return json.loads(done.stdout.strip().splitlines()[-1])

    with ThreadPoolExecutor(jobs) as pool:
        return list(pool.map(one, names))


def time_torch(wanted: set[tuple[int, int, int]]) -> dict[tuple[int, int, int], float]:
    """µs of torch's bf16 product at each (m, n, k)."""
    from course_lib.kernels.measure import clock, families

    found = {}
    for n, k in sorted({point[1:] for point in wanted}):
        weights = families.in_rotation(torch.randn(n, k, dtype=torch.bfloat16, device="cuda"))
        for m in sorted({m for m, *at in wanted if tuple(at) == (n, k)}):
            x = torch.randn(m, k, dtype=torch.bfloat16, device="cuda")
            found[m, n, k] = clock.microseconds([lambda w=w, x=x: torch.nn.functional.linear(x, w) for w in weights])
    return found


def time_family(family, quick: bool, torch_us: dict, bandwidth: float) -> list[dict]:
    """Rows of a family: µs, torch's µs, per cent of the copy bandwidth that its own bytes would need."""
    from course_lib.kernels.measure import clock, families

    rows = []
    for n, k in sorted({point[1:] for point in points(family, quick)}):
        weights = families.in_rotation(family.draw(n, k))
        for m in sorted({m for m, *at in points(family, quick) if tuple(at) == (n, k)}):
            x = torch.randn(m, k, device="cuda").to(family.dtype)
            us = clock.microseconds([lambda w=w, x=x: family.run(x, w) for w in weights])
            moved = families.nbytes(weights[0]) + (m * k + m * n) * x.element_size()
            rows.append({"kernel": family.name, "m": m, "n": n, "k": k, "us": round(us, 2),
                         "torch_bf16_us": round(torch_us[m, n, k], 2), "bytes": moved,
                         "percent_of_copy": round(100 * moved / (us * 1e-6) / bandwidth, 1), "peers": {}})  # fmt: skip
            print(row_text(rows[-1]), flush=True)
        del weights
        torch.cuda.empty_cache()
    return rows


def row_text(row: dict) -> str:
    peers = " ".join(f"{name} {us:.1f}" for name, us in row["peers"].items())
    return (f"{row['kernel']:18} {row['m']:4} x {row['n']:5} x {row['k']:6} {row['us']:9.1f} us  "
            f"torch {row['torch_bf16_us']:8.1f} ({row['torch_bf16_us'] / row['us']:.2f}x)  "
            f"{row['percent_of_copy']:5.1f} % of copy  {peers}")  # fmt: skip


def join_peers(rows: list[dict], measured: list[dict]) -> None:
    """Write peers' times into the rows whose kernel begins with what the peer competes with."""
    for peer in measured:
        for row in rows:
            if row["kernel"].startswith(peer["against"]) and all(row[a] == peer[a] for a in "mnk"):
                row["peers"][peer["peer"]] = peer["us"]


def run_peers(names: list[str], quick: bool, seconds: float) -> tuple[list[dict], dict[str, str]]:
    """Each peer in a process with a time limit; what it measured until then, and why the others are missing."""
    measured, missing = [], {}
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder, "rows.jsonl")
            words = [sys.executable, "-m", "course_lib.kernels.measure.rivals", name, str(out)] + ["--quick"] * quick
            try:
                done = subprocess.run(words, capture_output=True, text=True, timeout=seconds)
                reason = (done.stderr.strip().splitlines() or ["no output"])[-1] if done.returncode else None
            except subprocess.TimeoutExpired:
                reason = f"stopped after {seconds:.0f} s"
            if reason:
                missing[name] = reason
            if out.exists():
                measured += [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    return measured, missing


def machine() -> dict:
    import triton

    properties = torch.cuda.get_device_properties(0)
    return {
        "gpu": properties.name,
        "multiprocessors": properties.multi_processor_count,
        "memory_gib": round(properties.total_memory / 2**30, 1),
        "l2_mb": round(properties.L2_cache_size / 1e6, 1),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "triton": triton.__version__,
    }


def command(args) -> str:
    """The words that measure this again, without the file's name."""
    family = ["--family", *args.family] if args.family else []
    words = ["course bench kernels", *["--quick"] * args.quick, *family, "--peer", *args.peer]
    return " ".join([*words, f"--seconds {args.seconds:g}"])


def entry(args, checks: list[dict], bandwidth: float, flops: float) -> dict:
    """What is written, with no rows yet."""
    return {
        "benchmark": "kernels",
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": command(args),
        "machine": machine(),
        "copy_tb_per_s": round(bandwidth / 1e12, 3),
        "matmul_tflops": round(flops / 1e12, 1),
        "checks": checks,
        "peers_missing": {},
        "rows": [],
    }


def measure(args, save: Callable[[dict], object]) -> dict:
    """All phases; the entry is saved after each, so that a run that is stopped leaves what it had."""
    from course_lib.kernels.measure import clock, families, kv_contest, tune

    began = time.perf_counter()
    known = families.families()
    names = [name for name in known if not args.family or name.startswith(tuple(args.family))]
    checks = check_all(names, args.quick, args.jobs)
    print(*checks, f"checked after {time.perf_counter() - began:.0f} s", sep="\n", flush=True)
    bandwidth, flops = clock.copy_bandwidth(), clock.matmul_flops()
    print(f"copy {bandwidth / 1e12:.2f} TB/s, bf16 matmul {flops / 1e12:.0f} TFLOP/s", flush=True)
    found = entry(args, checks, bandwidth, flops)

    def done(phase: str) -> None:
        found["tuned"] = {" ".join(map(str, key)): str(choice) for key, choice in tune.FOUND.items()}
        found["seconds"] = round(time.perf_counter() - began, 1)
        save(found)
        print(f"{phase} after {found['seconds']:.0f} s", flush=True)

    passed = [known[one["family"]] for one in checks if one["passed"]]
    torch_us = time_torch({point for family in passed for point in points(family, args.quick)})
    for family in passed:
        found["rows"] += time_family(family, args.quick, torch_us, bandwidth)
    done("products")
    if "kv_" in args.family or not args.family:
        attention, about = kv_contest.measure(args.quick, bandwidth)
        found["rows"] += attention
        checks += about
        done("attention")
    for name in args.peer:
        measured, missing = run_peers([name], args.quick, args.seconds)
        join_peers(found["rows"], measured)
        found["peers_missing"] |= missing
        done(name)
    print(*(row_text(row) for row in found["rows"] if row["peers"]), sep="\n")
    return found


def main(argv=None) -> int:
    parser = argparse.ArgumentParser(prog="course bench kernels", description="Check and time the kernels on a GPU.")
    parser.add_argument("--json", type=Path, help="write the rows here")
    parser.add_argument("--quick", action="store_true", help="the largest shape and five numbers of tokens only")
    parser.add_argument("--family", nargs="+", default=[], help="names to begin with, such as w4a16 q4_k kv_")
    parser.add_argument("--peer", nargs="*", default=list(PEERS))
    parser.add_argument("--seconds", type=float, default=120, help="a peer's time limit")
    parser.add_argument("--jobs", type=int, default=min(14, os.cpu_count() or 1), help="families checked side by side")
    parser.add_argument("--check", help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if not torch.cuda.is_available():
        print("course bench kernels measures a GPU and finds none here; `course bench sass` needs none.")
        return 2
    if args.check:
        print(json.dumps(check(args.check, args.quick)))
        return 0
    from course_lib.files import write_atomic

    found = measure(args, lambda found: args.json and write_atomic(args.json, json.dumps(found, indent=1) + "\n"))
    return 0 if all(one["passed"] for one in found["checks"]) else 1


if __name__ == "__main__":
    raise SystemExit(main())
