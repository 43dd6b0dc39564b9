"""Figures of GPUs that are not here, as they were recorded: instructions counted, times measured, where they come from.

They lie in benchmarks/results of the repository; a figure that nobody has measured yet is None, and said to be so.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from course_lib.files import repository

SPEED = ("kernels-h200", "kernels-h100")  # the first one that is there
PROCESSORS, LANES, CLOCK_HZ = 132, 128, 1.755e9  # an H200: multiprocessors, instructions of each in a cycle, under load
COPY = 4.3e12  # bytes a second that an H200 copies, read and written (4.8e12 on its data sheet)
ISSUE = PROCESSORS * LANES * CLOCK_HZ


def budget(bits: float = 4.25, copy: float = COPY, issue: float = ISSUE) -> float:
    """Instructions that may be spent on a weight of so many bits while its bytes arrive at copy speed.

    >>> round(budget(), 1), round(budget(16.0), 1)
    (3.7, 13.8)
    """
    return issue / (copy / (bits / 8))


def results(name: str):
    """The recorded file of that name, or None."""
    path = repository() / "benchmarks" / "results" / f"{name}.json"
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def instructions(arch: str = "sm_90") -> dict[str, dict]:
    """{name of a build: its row}, as compiled ahead of time for `arch`; empty where nothing is recorded."""
    entry = results("kernels-sass") or {"results": {"codes": []}}
    return {row["name"]: row for row in entry["results"]["codes"] if row["arch"] == arch}


@dataclass(frozen=True)
class Speed:
    """What one run of `course bench kernels` measured; `rows` as they stand in `file`."""

    file: str
    gpu: str
    provenance: str
    copy_tb_per_s: float
    rows: tuple

    def curve(self, kernel: str, n: int = 8192, k: int = 28672) -> list[dict]:
        """The rows of the first kernel whose name begins so, at one shape, by their number of tokens."""
        names = [row["kernel"] for row in self.rows if row["kernel"].startswith(kernel)]
        found = [r for r in self.rows if names and r["kernel"] == names[0] and (r["n"], r["k"]) == (n, k)]
        return sorted(found, key=lambda row: row["m"])


def speed() -> Speed | None:
    """The recorded speed, or None where nobody has measured it."""
    for name in SPEED:
        entry = results(name)
        if entry:
            machine = entry["machine"]
            said = (f"{machine['gpu']}, torch {machine['torch']}, triton {machine['triton']}, {entry['date'][:10]}, "
                    f"copy {entry['copy_tb_per_s']:.2f} TB/s, {name}.json")  # fmt: skip
            return Speed(f"{name}.json", machine["gpu"], said, entry["copy_tb_per_s"], tuple(entry["rows"]))
    return None


UNMEASURED = (
    "No GPU's times are recorded in benchmarks/results: speed is unmeasured here. `course bench kernels` measures it."
)
