"""`course quantize MODEL OUT`: a checkpoint in, a quantized checkpoint out that other programs load."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from course_lib import artifacts, models
from course_lib.artifacts import LAYOUTS
from course_lib.calibrate.calibration import LENGTH, SAMPLES, calibration_batches
from course_lib.calibrate.pipeline import model_bytes, quantize_model
from course_lib.scheme import Scheme


def parser() -> argparse.ArgumentParser:
    """The options of the command."""
    result = argparse.ArgumentParser(prog="course quantize", description="Quantize a causal language model.")
    result.add_argument("model", help='"bundled", a checkpoint directory or a hub id')
    result.add_argument("out", help="directory to write, which must not hold files yet")
    result.add_argument("--method", choices=("gptq", "awq", "rtn"), default="gptq")
    result.add_argument("--bits", type=int, default=4)
    result.add_argument("--group", type=int, default=64, help="weights that share a scale; -1 is a whole row")
    result.add_argument("--layout", choices=tuple(LAYOUTS), default="gptq", help="how the files are laid out")
    result.add_argument("--asymmetric", action="store_true", help="grids with a zero point of their own")
    result.add_argument("--calibration", default="prose", metavar="TEXT", help="prose, code, task or a text file")
    result.add_argument("--samples", type=int, default=SAMPLES, help="windows of calibration text")
    result.add_argument("--length", type=int, default=LENGTH, help="tokens in a window")
    result.add_argument("--act-order", action="store_true", help="gptq: the most active columns first")
    result.add_argument("--duo", action="store_true", help="awq: scale by weights too")
    return result


def scheme_of(args) -> Scheme:
    """The scheme that the options and the layout ask for; ValueError where the layout cannot hold it."""
    layout = LAYOUTS[args.layout]
    if args.bits not in layout.bits:
        raise ValueError(f"--bits must be one of {', '.join(map(str, layout.bits))} for --layout {layout.name},"
                         f" got {args.bits}")  # fmt: skip
    symmetric = False if args.asymmetric or "full" not in layout.symmetric else "full"
    group = None if args.group == -1 else args.group
    return Scheme.int(args.bits, symmetric, group, scale_dtype=layout.scale_dtypes[0])


def quantize(args) -> str:
    """Do what the options say, and sum it up in a line."""
    began, out = time.perf_counter(), Path(args.out)
    scheme = scheme_of(args)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise FileExistsError(f"OUT must be a new or empty directory, got {args.out!r}, which holds files")
    model, tokenizer = models.load(args.model)
    chosen = {"gptq": {"act_order": args.act_order}, "awq": {"duo": args.duo}}.get(args.method, {})
    batches = None
    if args.method != "rtn":
        length = min(args.length, getattr(model.config, "max_position_embeddings", args.length))
        batches = calibration_batches(tokenizer, args.calibration, args.samples, length)
    result = quantize_model(model, scheme, args.method, batches, **chosen)
    out.parent.mkdir(parents=True, exist_ok=True)
    artifacts.save(result, out, args.layout, tokenizer)
    before, after = model_bytes(model), model_bytes(result)
    return (f"{out}: {args.method} {scheme.name}, layout {args.layout}, {before / 1e6:.2f} MB -> {after / 1e6:.2f} MB"
            f" in {time.perf_counter() - began:.0f} s")  # fmt: skip


def main(argv=None) -> int:
    args = parser().parse_args(argv)
    try:
        print(quantize(args))
    except (ValueError, OSError) as error:
        print(f"course quantize: {error}", file=sys.stderr)
        return 1
    return 0
