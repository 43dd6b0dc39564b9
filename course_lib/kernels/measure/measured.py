"""GPU times that were recorded by `course bench kernels`, for chapters that speak of speed."""

from __future__ import annotations

import json
from pathlib import Path

from course_lib.files import repository

RECORD = repository() / "benchmarks/results/kernels-h200.json"


def record(path: Path | None = None) -> dict:
    """What the command wrote: machine, date, copy_tb_per_s, checks, rows; FileNotFoundError says how to make one.

    A row has kernel, m, n, k, us, torch_bf16_us, percent_of_copy and peers {name: µs}; peers_torch_us
    {name: torch's µs beside a peer that ran on another machine}, which the record's peers_apart names.
    """
    path = RECORD if path is None else Path(path)
    if not path.exists():
        raise FileNotFoundError(f"no GPU times at {path.name}: `course bench kernels --json {path.name}` makes them")
    return json.loads(path.read_text(encoding="utf-8"))


def rows(kernel: str, n: int | None = None, k: int | None = None, path: Path | None = None) -> list[dict]:
    """The rows of one kernel by m, at one shape if n and k are given; ValueError names the kernels that there are."""
    known = record(path)["rows"]
    found = [row for row in known if row["kernel"] == kernel and n in (None, row["n"]) and k in (None, row["k"])]
    if not found:
        raise ValueError(f"kernel must be one of {', '.join(sorted({r['kernel'] for r in known}))}"
                         f" at a shape that was measured, got {kernel!r} at n={n}, k={k}")  # fmt: skip
    return sorted(found, key=lambda row: (row["n"] * row["k"], row["m"]))


def provenance(path: Path | None = None) -> str:
    """One line under a picture: GPU, versions, date, command."""
    entry = record(path)
    on = entry["machine"]
    words = entry["command"].split(" --")[0]
    return f"{on['gpu']}, torch {on['torch']}, triton {on['triton']}, {entry['date'][:10]}; {words}"
