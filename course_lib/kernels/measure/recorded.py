"""What machine code says of kernels, as it was recorded, and what a GPU has time for; `measured` has the times."""

from __future__ import annotations

import json

from course_lib.files import repository

PROCESSORS, LANES, CLOCK_HZ = 132, 128, 1.755e9  # an H200: multiprocessors, instructions of each in a cycle, under load
COPY = 4.3e12  # bytes a second that an H200 copies, read and written, about: 4.24e12 recorded, 4.8e12 on its data sheet
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


def loops() -> dict[str, dict]:
    """{name: {"weights" of a lane in a turn, "loop" as text}}, compiled for sm_90; empty where nothing is recorded."""
    return (results("kernels-loops") or {"results": {}})["results"]
