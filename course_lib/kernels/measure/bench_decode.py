"""`course bench decode`: tokens a second of a Llama-3-8B-shaped random model, beside the roofline's prediction.

    course bench decode [--json FILE] [--quick]

A whole decode step, from token ids to the next token ids, is one CUDA graph. Predicted is

    time = max(bytes / copy bandwidth, 2 · sequences · weights / bf16 matmul rate),   bytes = weights + keys and values

with both ceilings measured in the same run. fp8 is W8A8, and W8A16 for one sequence. Weights are random, so that
replies are noise; times do not know it.
"""

from __future__ import annotations

import argparse
import datetime
import gc
import json
import os
import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
import torch.nn.functional as F

from course_lib.files import write_atomic
from course_lib.kernels import ON_GPU, fused, glue, lanes
from course_lib.kernels.decoder import Decoder, Dense, Shape
from course_lib.kernels.measure.decode_models import DEVICE, PAGE, cache_bytes, choose_tiles, fill, model

VARIANTS = ("bf16", "w4a16", "fp8", "w4a16+kv_fp8")
BATCHES, CONTEXTS = (1, 4, 16, 64), (1024, 4096, 16384, 65536)
QUICK = ((1, 1024), (1, 65536), (16, 4096))


def milliseconds(decoder: Decoder, tokens: torch.Tensor, budget_ms: float = 150.0) -> float:
    """Median time of a step as one CUDA graph that feeds itself."""
    from course_lib.kernels.measure import clock

    def step():
        glue.likeliest(decoder.step(tokens), tokens)

    graph = clock.captured([step])
    times = []
    while len(times) < 5 or (sum(times) < budget_ms and len(times) < 50):
        start, stop = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        graph.replay()
        stop.record()
        stop.synchronize()
        times.append(start.elapsed_time(stop))
    return statistics.median(times)


def point(decoder: Decoder, weights: int, variant: str, batch: int, context: int, ceilings: tuple) -> dict:
    """One row: measured and predicted."""
    shape, paged = decoder.shape, "kv" in variant
    way = fill(decoder, batch, context, paged)
    ms = milliseconds(decoder, torch.randint(0, shape.vocabulary, (batch,), device=DEVICE))
    decoder.hold([], decoder.positions, 1)
    moved = weights + cache_bytes(shape, batch, context, paged)
    sizes = shape.layers * sum(n * k for n, k in shape.linears.values()) + shape.vocabulary * shape.hidden
    predicted = 1e3 * max(moved / ceilings[0], 2 * batch * sizes / ceilings[1])
    return {"variant": variant, "batch": batch, "context": context, "attention": way, "ms": round(ms, 3),
            "tokens_per_s": round(1e3 * batch / ms, 1), "bytes": moved, "roofline_ms": round(predicted, 3),
            "roofline_tokens_per_s": round(1e3 * batch / predicted, 1),
            "percent_of_roofline": round(100 * predicted / ms, 1)}  # fmt: skip


def row_text(row: dict) -> str:
    return (f"{row['variant']:13} batch {row['batch']:3} context {row['context']:6} {row['ms']:8.2f} ms  "
            f"{row['tokens_per_s']:8.0f} tokens/s, roofline {row['roofline_tokens_per_s']:8.0f} "
            f"({row['percent_of_roofline']:.0f} %)  {row['attention']}")  # fmt: skip


def clear() -> None:
    gc.collect()
    torch.cuda.empty_cache()


@torch.no_grad()
def measure_variant(variant: str, points, shape: Shape, ceilings: tuple) -> list[dict]:
    """Rows of a variant; where memory does not suffice, a row with only "missing"."""
    decoder, weights = model(variant.split("+")[0], shape)
    if ON_GPU:
        choose_tiles(decoder)
    rows = []
    for batch, context in points:
        clear()
        need = cache_bytes(shape, batch, context, "kv" in variant) * 1.1 + 1.5e9
        free = torch.cuda.mem_get_info()[0]
        if need > free:
            reason = f"needs {need / 2**30:.0f} GiB beside the weights, {free / 2**30:.0f} are free"
            rows.append({"variant": variant, "batch": batch, "context": context, "missing": reason})
            continue
        try:
            rows.append(point(decoder, weights, variant, batch, context, ceilings))
        except torch.OutOfMemoryError as error:
            decoder.caches = []
            rows.append({"variant": variant, "batch": batch, "context": context, "missing": str(error).split(".")[0]})
            continue
        print(row_text(rows[-1]), flush=True)
    return rows


def compile_all(variants, points, jobs: int) -> list[str]:
    """Compile and check every variant and batch, side by side, each in its process; what went wrong, in words.

    Compiled kernels stay on disk. A tile that went wrong is no candidate any more.
    """

    def one(what: tuple[str, int, int]) -> str:
        words = [sys.executable, "-m", "course_lib.kernels.measure.bench_decode", "--compile", *map(str, what)]
        done = subprocess.run(words, capture_output=True, text=True)
        last = (done.stderr.strip().splitlines() or ["no output"])[-1]
        return f"{what[0]} at batch {what[1]}, tile {what[2]}: {last}" if done.returncode else ""

    wanted = [(variant, batch, 0) for variant in variants for batch in sorted({b for b, _ in points})]
    tiles = {"bf16": fused.CANDIDATES, "w4a16": lanes.CANDIDATES, "fp8": lanes.CANDIDATES}
    wanted += [(v, 1, i) for v in tiles for i in range(1, len(tiles[v])) if (v, 1, 0) in wanted]
    with ThreadPoolExecutor(jobs) as pool:
        found = dict(zip(wanted, pool.map(one, wanted), strict=True))
    for kernels, names in ((fused, ("bf16",)), (lanes, ("w4a16", "fp8"))):
        wrong = {i for (v, _, i), words in found.items() if words and i and v in names}
        kernels.CANDIDATES = tuple(tile for i, tile in enumerate(kernels.CANDIDATES) if i not in wrong)
    return [words for words in found.values() if words]


@torch.no_grad()
def compile_one(variant: str, batch: int, tile: int) -> None:
    """Run a step of two layers of full size; one sequence's is held to the step that fuses nothing, in graphs, too.

    tile: which of the fused products' candidates.
    """
    from course_lib.kernels.measure import clock

    fused.TILE, narrow = fused.tiles()[min(tile, len(fused.CANDIDATES) - 1)], lanes.tiles()
    lanes.TILE = narrow[min(tile, len(narrow) - 1)]
    decoder, _ = model(variant.split("+")[0], Shape(layers=2, vocabulary=1024))
    fill(decoder, batch, 1024, "kv" in variant)
    tokens = torch.zeros(batch, dtype=torch.long, device=DEVICE)
    if not decoder.step(tokens).isfinite().all():
        raise ValueError("the logits are not finite")
    if batch > 1:
        return
    way = None if "kv" in variant else F.scaled_dot_product_attention
    before = decoder.caches
    decoder.caches = before if way is None else [Dense(c.keys, c.values, way) for c in before]
    wanted = decoder.step(tokens, alone=False).float()
    decoder.caches = before if way is None else [Dense(c.keys, c.values) for c in before]
    got = torch.empty_like(wanted)
    graph = clock.captured([lambda: got.copy_(decoder.step(tokens))])
    for _ in range(10):
        got.zero_()
        graph.replay()
        worst = float((got - wanted).abs().max() / wanted.abs().max())
        if not worst < (0.1 if variant == "fp8" else 0.05):  # bf16 keeps 8 bits, some twenty roundings; E4M3 tokens 4
            raise ValueError(f"fused kernels and those apart differ by {worst:.3f} of the largest logit")


def measure(args) -> dict:
    """Compile and check, measure the ceilings, then every variant; the entry that is written."""
    from course_lib.kernels.measure import clock, contest

    began = time.perf_counter()
    points = args.points or (QUICK if args.quick else [(b, c) for c in CONTEXTS for b in BATCHES])
    failed = compile_all(args.variant, points, args.jobs)
    print(*failed, f"compiled and checked after {time.perf_counter() - began:.0f} s", sep="\n", flush=True)
    ceilings = clock.copy_bandwidth(), clock.matmul_flops()
    print(f"copy {ceilings[0] / 1e12:.2f} TB/s, bf16 matmul {ceilings[1] / 1e12:.0f} TFLOP/s", flush=True)
    entry = {
        "benchmark": "decode",
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": command(args),
        "machine": contest.machine(),
        "model": "random weights in Llama-3-8B's shape; embedding and head in bf16; W4A16 symmetric, groups of 128",
        "copy_tb_per_s": round(ceilings[0] / 1e12, 3),
        "matmul_tflops": round(ceilings[1] / 1e12, 1),
        "failed": failed,
        "seconds": 0.0,
        "rows": [],
    }
    for variant in args.variant:
        clear()
        entry["rows"] += measure_variant(variant, points, Shape(), ceilings)
        entry["seconds"] = round(time.perf_counter() - began, 1)
        if args.json:  # after each: what comes later may run out of time
            write_atomic(args.json, json.dumps(entry, indent=1) + "\n")
    return entry


def command(args) -> str:
    """The command line that repeats the run."""
    words = ["course bench decode"] + ["--quick"] * args.quick
    words += ["--points", *(f"{b}x{c}" for b, c in args.points)] if args.points else []
    return " ".join(words + (["--variant", *args.variant] if tuple(args.variant) != VARIANTS else []))


def size(text: str) -> tuple[int, int]:
    """(16, 4096) of "16x4096"; a context must be whole pages."""
    batch, _, context = text.partition("x")
    if not (batch.isdigit() and context.isdigit() and int(batch) and int(context) and int(context) % PAGE == 0):
        raise argparse.ArgumentTypeError(f"expected BATCHxCONTEXT, a context of whole pages of {PAGE}, got {text!r}")
    return int(batch), int(context)


def decode_main(argv=None) -> int:
    parser = argparse.ArgumentParser(prog="course bench decode", description="Time whole decode steps on a GPU.")
    parser.add_argument("--json", type=Path, help="write the rows here")
    parser.add_argument("--quick", action="store_true", help="three sizes only")
    parser.add_argument("--points", nargs="+", type=size, metavar="BATCHxCONTEXT", help="these sizes only")
    parser.add_argument("--variant", nargs="+", choices=VARIANTS, default=VARIANTS, help="not all of them")
    parser.add_argument("--jobs", type=int, default=min(12, os.cpu_count() or 1), help="compilers side by side")
    parser.add_argument("--compile", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if not torch.cuda.is_available():
        print("course bench decode measures a GPU and finds none here; `course bench sass` needs none.")
        return 2
    if args.compile:
        compile_one(args.compile[0], *map(int, args.compile[1:]))
        return 0
    return 1 if measure(args)["failed"] else 0


main = decode_main

if __name__ == "__main__":
    raise SystemExit(main())
