"""`course plan MODEL --gpu NAME[xN]`: does it fit, how fast can it be, and what does an engine's log say to that."""

from __future__ import annotations

import argparse
import json
import re
import sys
from dataclasses import asdict
from pathlib import Path

from course_lib.capacity import offload
from course_lib.capacity.devices import DEVICES, Device, device
from course_lib.capacity.offload_file import needs_of_config
from course_lib.capacity.plan.advice import last_resort, max_batch, max_context, native, remedies, verdict
from course_lib.capacity.plan.figures import Assumptions, size
from course_lib.capacity.plan.formats import FORMATS, of_files, title
from course_lib.capacity.plan.log import LONGEST, Finding, reconcile
from course_lib.capacity.plan.memory import Plan, plan
from course_lib.capacity.plan.models import config_of, known
from course_lib.capacity.plan.speed import figures


def gpus_of(text: str) -> tuple[Device, int]:
    """A GPU and how many: "h100", "h100x2", "RTX 4090 x 2".

    >>> gpus_of("h100x2")[0].name, gpus_of("h100x2")[1]
    ('h100-sxm', 2)
    """
    try:
        return device(text), 1
    except ValueError:
        split = re.fullmatch(r"(.+?)\s*[xX]\s*(\d{1,3})", text.strip())
        if split is None:
            raise
        return device(split[1]), int(split[2])


def table(p: Plan, gb: bool = False, explain: bool = False) -> str:
    """The plan as lines: what lies in memory, what is left, the speed; with `explain` each with formula and source."""
    machine = f"{p.gpus} x {p.on.title}" if p.gpus > 1 else p.on.title
    lines = [f"{p.name}, {p.params:,} parameters ({p.active:,} met by a token), {title(p.fmt)}, on {machine}",
             f"{p.batch:,} sequences of {p.context:,} tokens" if p.batch > 1 else f"1 sequence of {p.context:,} tokens",
             ""]  # fmt: skip
    rows = [*p.pieces, None, *figures(p)]
    wide = max(len(figure.title) for figure in rows if figure)
    shown = max(len(figure.shown(gb)) for figure in rows if figure)
    for figure in rows:
        if figure is None:
            lines += ["", *_totals(p, gb, wide, shown), ""]
            continue
        lines.append(f"{figure.title:{wide}}  {figure.shown(gb):>{shown}}")
        if explain:
            lines += [f"    = {figure.formula}", f"    {figure.source}"]
    lines += ["", verdict(p, gb), native(p)]
    if not p.fits:
        changes = [f"  - {change}" for change in remedies(p, gb)]
        lines += ["Enough would be:", *changes] if changes else [last_resort(p, gb)]
        lines += _offloaded(p)
    return "\n".join(lines)


def _totals(p: Plan, gb: bool, wide: int, shown: int) -> list[str]:
    left = "left over" if p.fits else "too much by"
    rows = [("all together", p.total), ("memory", p.memory), (left, abs(p.free))]
    return [f"{name:{wide}}  {size(n, gb):>{shown}}" for name, n in rows]


def _offloaded(p: Plan) -> list[str]:
    """For a GGUF mix that does not fit: llama.cpp's own way out, part of the layers in RAM."""
    if not isinstance(p.fmt, str):
        return []
    try:
        needs = needs_of_config(dict(p.config), p.fmt, p.context * p.batch, p.kv_bits, p.batch)
    except ValueError:
        return []
    found = offload.plan(needs, [p.on] * p.gpus)
    if found.whole or not found.ngl:
        return []
    return [f"Or llama.cpp with -ngl {found.ngl}: {found.layers_on_gpu} of {len(needs.layers)} layers and the output"
            f" layer on the GPU, {found.ram_bytes / 2**30:.2f} GiB in RAM, read at RAM's pace."]  # fmt: skip


def as_json(p: Plan, findings: list[Finding]) -> str:
    """The plan with every figure, formula and source; sizes in bytes."""
    said = {
        "model": p.name, "parameters": p.params, "active": p.active, "weights": title(p.fmt), "kv_bits": p.kv_bits,
        "gpu": p.on.name, "gpus": p.gpus, "context": p.context, "batch": p.batch, "memory_bytes": p.memory,
        "total_bytes": p.total, "free_bytes": p.free, "fits": p.fits, "max_batch": max_batch(p),
        "max_context": _finite(max_context(p)), "assumptions": asdict(p.assume),
        "figures": [asdict(figure) | {"value": _finite(figure.value)} for figure in (*p.pieces, *figures(p))],
        "verdict": verdict(p), "native": native(p), "remedies": list(remedies(p)),
        "log": [asdict(f) | {"difference": f.difference, "agrees": f.agrees} for f in findings],
    }  # fmt: skip
    return json.dumps(said, indent=2, ensure_ascii=False)


def _finite(value: float) -> float | None:
    return None if value == float("inf") else value


def parser() -> argparse.ArgumentParser:
    """The options of the command."""
    result = argparse.ArgumentParser(prog="course plan", description=__doc__)
    result.add_argument("model", help=f"a config.json or its folder, or one of {', '.join(known())}")
    result.add_argument("--gpu", required=True, metavar="NAME[xN]", help=f"one of {', '.join(DEVICES)}; a part will do")
    result.add_argument("--context", type=int, default=8192, metavar="N", help="tokens a sequence; default: 8192")
    result.add_argument("--batch", type=int, default=1, metavar="N", help="sequences at once; default: 1")
    formats = f"{', '.join(FORMATS)}, gptq-g64 and so on for other groups, a GGUF mix (Q4_K_M), or bits (4.5)"
    result.add_argument("--weights", metavar="FORMAT", help=f"one of {formats}; default: what config.json says of"
                        " quantized files, else bf16")  # fmt: skip
    result.add_argument("--kv-bits", type=float, default=16, metavar="B", help="stored bits of a cached number")
    result.add_argument("--reserve", type=float, default=Assumptions.reserve, metavar="SHARE",
                        help="share of the memory that the engine leaves alone; default: 0.1")  # fmt: skip
    result.add_argument("--chunk", type=int, default=Assumptions.chunk, metavar="N", help="prompt tokens in one step")
    result.add_argument("--log", metavar="FILE", help="an engine's log (vLLM, llama.cpp); - reads standard input")
    result.add_argument("--gb", action="store_true", help="sizes in GB of 10^9 bytes instead of GiB of 2^30")
    result.add_argument("--explain", action="store_true", help="each figure with its formula and source")
    result.add_argument("--json", action="store_true", help="everything as JSON, sizes in bytes")
    return result


def main(argv=None) -> int:
    """Print the plan; exit status 1 when it does not fit, 2 with one sentence for bad input."""
    args = parser().parse_args(argv)
    try:
        name, config = config_of(args.model)
        on, gpus = gpus_of(args.gpu)
        assume = Assumptions(reserve=args.reserve, chunk=args.chunk)
        weights = args.weights or of_files(config) or "bf16"
        p = plan(config, on, args.context, args.batch, weights, args.kv_bits, gpus, assume, name)
        findings = reconcile(p, _text(args.log)) if args.log else []
    except (ValueError, TypeError) as error:
        print(f"course plan: {error}", file=sys.stderr)
        return 2
    if args.json:
        print(as_json(p, findings))
        return 0 if p.fits else 1
    print(table(p, args.gb, args.explain))
    if findings:
        print("\nThe log beside the plan:", *(f"  {finding.sentence(args.gb)}" for finding in findings), sep="\n")
    return 0 if p.fits else 1


def _text(path: str) -> str:
    if path == "-":
        return sys.stdin.read(LONGEST)
    try:
        with Path(path).open(encoding="utf-8", errors="replace") as file:
            return file.read(LONGEST)
    except OSError as error:
        raise ValueError(f"log must be a file that can be read, got {path!r}: {error.strerror}") from None
