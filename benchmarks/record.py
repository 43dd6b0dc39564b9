"""Write what a benchmark measured, with the machine, the versions, the date and the command that repeats it."""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

from course_lib.files import write_atomic

RESULTS = Path(__file__).parent / "results"
PACKAGES = ("torch", "transformers", "numpy", "triton", "gguf")


def record(name: str, results: dict, **about) -> Path:
    """Write `results` to benchmarks/results/<name>.json and say where; `about` holds what else one must know."""
    entry = {
        "benchmark": name,
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": command(),
        "machine": machine(),
        "versions": versions(),
        **about,
        "results": results,
    }
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    write_atomic(path, json.dumps(entry, indent=2, ensure_ascii=False) + "\n")
    print(f"wrote {path.relative_to(RESULTS.parent.parent)}")
    return path


def command() -> str:
    """The command line, relative to the repository."""
    script = Path(sys.argv[0]).resolve()
    root = RESULTS.parent.parent
    return " ".join(
        ["python", str(script.relative_to(root) if script.is_relative_to(root) else script.name), *sys.argv[1:]]
    )


def machine() -> dict:
    """Processor, cores, memory and GPU; nothing that names the owner."""
    import psutil
    import torch

    cpu = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        cpu = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), cpu)
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "cpu": cpu,
        "cores": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "torch_threads": torch.get_num_threads(),
        "load_average_1min": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
    }


def versions() -> dict:
    """Python and the packages that the figures depend on."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = None
    return found


def seconds(work: Callable[[], object], repeat: int = 5, warm_up: int = 1) -> dict:
    """Wall-clock seconds of `work`: median, best, and all of them."""
    for _ in range(warm_up):
        work()
    times = []
    for _ in range(repeat):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return {
        "median_s": round(statistics.median(times), 4),
        "best_s": round(min(times), 4),
        "all_s": [round(t, 4) for t in times],
    }
