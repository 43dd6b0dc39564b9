"""Ten ways to ship the returns bot: made with `course quantize`, measured as `course gate` does, written down.

    python benchmarks/gate_candidates.py [--items 300] [--runs 3] [--keep FOLDER]

Writes course_lib/evaluate/data/returns-bot.json, which chapter 13's dashboard shows: figures and each reply's
verdict. GGUF files ran in llama.cpp, checkpoints in transformers, one thread each.
"""

import argparse
import contextlib
import io
import json
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.record import command, datetime, machine, versions  # noqa: E402
from course_lib import models  # noqa: E402
from course_lib.artifacts import quantize  # noqa: E402
from course_lib.evaluate import examine, recorded  # noqa: E402
from course_lib.files import write_atomic  # noqa: E402

RECORDED = recorded.PATH
GPTQ = "--method gptq --samples 64"
CANDIDATES = {  # name: options of `course quantize`; "" is the model itself
    "BF16": "",
    "GPTQ 8 bits": f"{GPTQ} --bits 8 --group 64 --calibration prose",
    "GPTQ 4 bits, task": f"{GPTQ} --bits 4 --group 64 --asymmetric --calibration task",
    "GPTQ 4 bits, code": f"{GPTQ} --bits 4 --group 64 --calibration code",
    "AWQ 4 bits, task": "--method awq --layout awq --bits 4 --group 64 --asymmetric --calibration task --samples 32",
    "GPTQ 3 bits, prose": f"{GPTQ} --bits 3 --group 32 --asymmetric --calibration prose --act-order",
    "GPTQ 3 bits, task": f"{GPTQ} --bits 3 --group 32 --asymmetric --calibration task --act-order",
    "Q5_K_M": "--gguf Q5_K_M",
    "Q4_K_M": "--gguf Q4_K_M",
    "Q3_K_M": "--gguf Q3_K_M",
}


def made(folder: Path, name: str, options: str) -> str:
    """The path of a candidate, made now unless it is there."""
    if not options:
        return "bundled"
    path = folder / (f"{name}.gguf" if "--gguf" in options else name)
    if path.exists():
        return str(path)
    with contextlib.redirect_stdout(io.StringIO()):
        if quantize.main(["bundled", str(path), *options.split()]):
            raise SystemExit(f"{name} could not be made")
    return str(path)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=300)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--keep", metavar="FOLDER", help="where the artifacts are, or shall be")
    options = parser.parse_args()
    examples = models.task.generate(options.items, seed=13)
    base = examine.Base(*models.load("bundled"), models.texts.heldout("prose"), examples, progress=False)
    found = []
    with tempfile.TemporaryDirectory() as temporary:
        for name, how in CANDIDATES.items():
            report = base.examine(made(Path(options.keep or temporary), name, how), options.runs, name)
            found.append({"how": how} | asdict(report))
            print(name, {key: round(value, 4) for key, value in report.figures.items()}, flush=True)
    entry = {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": command(),
        "machine": machine(),
        "versions": versions(),
        "base": examine.item_by_item(base.task),
        "reports": found,
    }
    RECORDED.parent.mkdir(exist_ok=True)
    write_atomic(RECORDED, json.dumps(entry, indent=1) + "\n")


if __name__ == "__main__":
    main()
