"""Our GPTQ and our files beside GPTQModel, llm-compressor and HQQ: the same layers, the same run.

    make peers                        everything, recorded in benchmarks/results/peers.json (minutes on an idle machine)
    make peers ARGS="errors times"    some of the parts errors, times, forth, mixtures, kernels, back;
                                      the others stay as recorded
    make peers ARGS="goldens"         writes tests/golden/artifacts/ again

`make peers` keeps its own environment, .course-peers, with the pins of benchmarks/peers/requirements.txt.
"""

from __future__ import annotations

import datetime
import json
import os
import sys
from importlib.metadata import version
from pathlib import Path

os.environ.setdefault("TORCHDYNAMO_DISABLE", "1")  # gptqmodel would compile each layer, for minutes
os.environ.setdefault("GPTQMODEL_CPU_WORKERS", "2")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import goldens  # noqa: E402
import layers  # noqa: E402
import loading  # noqa: E402
import torch  # noqa: E402
from record import RESULTS, machine, record  # noqa: E402

PEERS = ("gptqmodel", "llmcompressor", "compressed-tensors", "hqq", "optimum")
NAMES = tuple(layers.QUANTIZERS)


def errors() -> dict:
    """Layer and bits -> case -> quantizer -> held-out error."""
    tables = {}
    for name, (w, x, held) in {
        "synthetic 512x512, 2048 tokens, g128": layers.synthetic(512, 512, 2048),
        "bundled layers.2.mlp.down_proj, g64": layers.bundled(),
    }.items():
        for bits in (4, 3):
            table = layers.errors(w, x, held, bits, int(name.rpartition("g")[2]))
            tables[f"{name}, {bits} bits"] = table
            show(f"{name}, {bits} bits", table)
    return tables


def show(title: str, table: dict[str, dict[str, float]]) -> None:
    """One table: a row a case, a column a quantizer, and how far ours lies above the best of the others."""
    print(f"\n{title}\n{'':28}" + "".join(f"{name:>16}" for name in NAMES) + f"{'ours/GPTQModel':>18}")
    for case, row in table.items():
        cells = "".join(f"{row[name]:16.6f}" if name in row else f"{'':16}" for name in NAMES)
        ratio = f"{row['ours'] / row['GPTQModel']:18.4f}" if "GPTQModel" in row else ""
        print(f"{case:28}{cells}{ratio}", flush=True)


def times() -> dict:
    """Quantizer -> seconds, at 2048 x 2048 with 4096 tokens."""
    found = layers.times()
    print("\n2048x2048, 4096 tokens, 4 bits g128, Hessian included: best of", len(found["ours"]["cpu_s"]))
    for name, row in found.items():
        print(f"{name:16} {min(row['wall_s']):8.2f} s wall {min(row['cpu_s']):8.2f} s CPU", flush=True)
    return found


PARTS = {
    "errors": errors,
    "times": times,
    "forth": loading.forth,
    "mixtures": loading.mixtures,
    "kernels": loading.kernels,
    "back": loading.back,
}


def main() -> None:
    torch.manual_seed(0)
    wanted = sys.argv[1:]
    unknown = sorted(set(wanted) - {*PARTS, "goldens"})
    if unknown:
        sys.exit(f"unknown part {unknown[0]!r}: known are goldens, {', '.join(PARTS)}")
    if "goldens" in wanted:
        goldens.main()
    for name in [name for name in PARTS if not wanted or name in wanted]:
        keep(name, PARTS[name]())


def keep(part: str, table: dict) -> None:
    """Put one part into peers.json, with its own date, load and threads; the others stay as they were recorded."""
    path = RESULTS / "peers.json"
    found = json.loads(path.read_text(encoding="utf-8"))["results"] if path.exists() else {}
    now = {"date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")}
    now |= {name: machine()[name] for name in ("load_average_1min", "torch_threads")}
    found[part] = now | {"table": table}
    record("peers", found, command="make peers", peers={peer: version(peer) for peer in PEERS})


if __name__ == "__main__":
    main()
