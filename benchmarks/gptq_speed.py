"""What GPTQ costs: CPU seconds by rows, columns and tokens, beside GPTQModel, and the bundled model end to end.

    python benchmarks/gptq_speed.py [--peer PEERS/bin/python] [--repeat 3] [--skip-model]

PEERS is a virtual environment with gptqmodel. CPU time of one thread is measured, which a busy machine changes little.
Wanted: at 2048 x 2048, 4096 tokens, int4 g128 at most GPTQModel's time; the bundled model in 10 s with GPTQ, 15 s
with AWQ, wall-clock on two quiet cores.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import time

import torch

SIZES = [  # rows, columns, tokens
    (512, 512, 4096), (1024, 1024, 4096), (2048, 2048, 4096), (4096, 1024, 4096), (1024, 4096, 4096),
    (1024, 1024, 16384), (2048, 1024, 4096), (1024, 2048, 8192),
]  # fmt: skip
PEER = """
import json, sys, time, torch
from gptqmodel.quantization import QuantizeConfig
from gptqmodel.quantization.gptq import GPTQ
torch.set_num_threads(1)
rows, columns, tokens, repeat = map(int, sys.argv[1:])
g = torch.Generator().manual_seed(0)
x, w = torch.randn(tokens, columns, generator=g), torch.randn(rows, columns, generator=g) * 0.02
config = dict(bits=4, group_size=128, sym=True, desc_act=False, damp_percent=0.01, act_group_aware=False)
times = []
for _ in range(repeat):
    linear = torch.nn.Linear(columns, rows, bias=False)
    linear.weight.data = w.clone()
    began = time.process_time()
    task = GPTQ(linear, QuantizeConfig(**config))
    task.quantizer.configure(perchannel=True)
    task.add_batch(x[None], None)
    task.quantize()
    times.append(time.process_time() - began)
print("RESULT", json.dumps(times))
"""


def ours(rows: int, columns: int, tokens: int, repeat: int) -> dict:
    """Best CPU seconds of H and of everything behind it."""
    from course_lib import Scheme
    from course_lib.calibrate import gptq, hessian

    g = torch.Generator().manual_seed(0)
    x, w = torch.randn(tokens, columns, generator=g), torch.randn(rows, columns, generator=g) * 0.02
    times = []
    for _ in range(repeat):
        began = time.process_time()
        H = hessian(x)
        between = time.process_time()
        gptq(w, H, Scheme.int(4, "full", 128))
        times.append((between - began, time.process_time() - between))
    h, solve = (min(part) for part in zip(*times, strict=True))
    return {"hessian_cpu_s": round(h, 4), "gptq_cpu_s": round(solve, 4)}


def peer(python: str, size: tuple[int, int, int], repeat: int) -> dict:
    """CPU seconds of GPTQModel for the same layer, H included."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "GPTQMODEL_CPU_WORKERS": "1"}
    done = subprocess.run([python, "-c", PEER, *map(str, size), str(repeat)], capture_output=True, text=True,
                          env=environment, check=True)  # fmt: skip
    times = json.loads(done.stdout.split("RESULT ")[-1].splitlines()[0])
    return {"cpu_s": round(min(times), 4), "all_cpu_s": [round(t, 4) for t in times]}


def work(rows: int, columns: int, tokens: int) -> list[float]:
    """The terms of the cost: 10⁹ multiply-adds of H, U and the updates; 10⁶ numbers passed over; 10³ columns."""
    return [tokens * columns**2 / 2 / 1e9, (2 / 3 * columns**3 + rows * columns**2 / 2) / 1e9, rows * columns / 1e6,
            columns / 1e3]  # fmt: skip


def fit(results: dict) -> dict:
    """Seconds a unit of each term, by least squares on relative errors, and how far each size is from the formula."""
    terms = torch.tensor([work(*map(int, name.split(" x "))) for name in results], dtype=torch.float64)
    seconds = torch.tensor([r["hessian_cpu_s"] + r["gptq_cpu_s"] for r in results.values()], dtype=torch.float64)
    relative = terms / seconds[:, None]
    chosen = list(range(terms.shape[1]))
    while True:  # a cost is not negative: drop what comes out so
        found = torch.linalg.lstsq(relative[:, chosen], torch.ones(len(terms), 1, dtype=torch.float64)).solution[:, 0]
        if (found >= 0).all():
            break
        chosen.pop(int(found.argmin()))
    units = dict.fromkeys(["1e9 multiply-adds of H", "1e9 of U and updates", "1e6 numbers passed", "1e3 columns"], 0.0)
    units |= {list(units)[i]: round(value, 5) for i, value in zip(chosen, found.tolist(), strict=True)}
    off = (relative[:, chosen] @ found - 1).tolist()
    return {
        "seconds_per": units,
        "formula_over_measured_minus_1": {n: round(e, 3) for n, e in zip(results, off, strict=True)},
    }


def model_seconds() -> dict:
    """The bundled model end to end: CPU seconds of one thread, and wall-clock, which other work stretches."""
    from course_lib import Scheme, models
    from course_lib.calibrate import quantize_model

    model, _ = models.load("bundled")
    found = {}
    for method in ("gptq", "awq"):
        wall, cpu = time.perf_counter(), time.process_time()
        quantize_model(model, Scheme.int(4, "full", 64), method, "prose", progress=False)
        found[method] = {"wall_s": round(time.perf_counter() - wall, 2), "cpu_s": round(time.process_time() - cpu, 2)}
    return found


def main() -> None:
    from record import record

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peer", help="a Python with gptqmodel")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--skip-model", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(1)
    sizes = {" x ".join(map(str, size)): size for size in SIZES}
    results = {name: ours(*size, args.repeat) for name, size in sizes.items()}
    found = {"rows x columns x tokens": results, "cost": fit(results)}
    if args.peer:
        found["gptqmodel"] = {"2048 x 2048 x 4096": peer(args.peer, (2048, 2048, 4096), args.repeat)}
    if not args.skip_model:
        found["bundled model, one thread"] = model_seconds()
    print(json.dumps(found, indent=1))
    record("gptq_speed", found, scheme="int4 g128, symmetric", measured="CPU seconds of one thread, best of repeats")


if __name__ == "__main__":
    main()
