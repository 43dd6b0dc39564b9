"""The loop of a GEMV's version as machine code: compiled for an H100 or H200, written down as one line a kernel.

    python -m course_lib.kernels.compiled.loops [NAME …]         TRITON_INTERPRET=0 in the environment

`python benchmarks/kernels_sass.py` records it as benchmarks/results/kernels-loops.json, so that a notebook may show it
where nothing compiles; `purposes` tells what each instruction is for.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass, replace

from course_lib.kernels.compiled.builds import BUILDS

_BUILT = {build.name: build for build in BUILDS}
_MASKED = replace(_BUILT["gemv-4"], name="gemv-4-masked", constants=_BUILT["gemv-4"].constants | {"EVEN": False})
SHOWN = {name: _BUILT[name] for name in ("gemv-1", "gemv-2", "gemv-3", "gemv-4", "gemv-5", "gemm-1")}
SHOWN |= {_MASKED.name: _MASKED}  # what 4 would spend if it guarded its loads as 1 to 3 do
ARCH = "sm_90"


@dataclass(frozen=True)
class Loop:
    """One turn of a kernel's loop: its instructions in the order of the listing, and the weights that a lane makes."""

    name: str
    weights: int  # of one lane
    instructions: tuple[str, ...]

    @property
    def per_weight(self) -> float:
        return len(self.instructions) / self.weights


def table(names=tuple(SHOWN)) -> dict[str, dict]:
    """{name: {"weights", "loop"}}, compiled in a process of its own; RuntimeError with its last words."""
    words = [sys.executable, "-m", "course_lib.kernels.compiled.loops", *names]
    done = subprocess.run(words, env=os.environ | {"TRITON_INTERPRET": "0"}, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"compiling failed: {(done.stderr.strip().splitlines() or ['no reason given'])[-1]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def read(rows: dict[str, dict]) -> dict[str, Loop]:
    """What `table` gave and a file holds, as loops.

    >>> read({"toy": {"weights": 2, "loop": "FFMA R0, R1, R2, R0; BRA 0x10"}})["toy"].per_weight
    1.0
    """
    return {name: Loop(name, row["weights"], tuple(row["loop"].split("; "))) for name, row in rows.items()}


def main(names) -> int:
    import importlib

    from course_lib.kernels.compiled import aot, sass

    rows = {}
    for build in (SHOWN[name] for name in names or SHOWN):
        module, name = build.function.rsplit(".", 1)
        kernel = getattr(importlib.import_module(f"course_lib.kernels.{module}"), name)
        listing = sass.cuobjdump("-sass", aot.assemble(kernel, build, ARCH)["cubin"])
        rows[build.name] = {"weights": build.weights // (32 * build.warps), "loop": "; ".join(sass.loop(listing))}
    print(json.dumps(rows))
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
