"""`course offload FILE.gguf --gpu NAME[,NAME]`: what of a GGUF file goes on which GPU, and the options that do it."""

from __future__ import annotations

import argparse
import math
import sys

from course_lib.artifacts.gguf import GGUFError, read
from course_lib.capacity.bytes import GIB
from course_lib.capacity.devices import DEVICES
from course_lib.capacity.offload import MARGIN_BYTES, Plan, advice, plan
from course_lib.capacity.offload_file import CACHE_TYPES, needs_of_file


def table(found: Plan) -> str:
    """One line a GPU and one for RAM: slots, weights, cache, compute buffer, margin, what stays free (GiB or MiB)."""
    layers, left = len(found.needs.layers), len(found.needs.slots) - found.ngl
    unit, name = (GIB, "GiB") if max(share.memory for share in found.shares) >= GIB else (2**20, "MiB")
    kv = sum(found.needs.kv[:left])
    rows = [(name, "slots", "weights", "cache", "compute", "margin", "free")]
    for share in found.shares:
        sizes = (share.weights, share.kv, share.compute, share.margin, share.free)
        rows.append((share.name, _slots(share.first, share.end, layers), *(f"{n / unit:.2f}" for n in sizes)))
    rows.append(("RAM", _slots(0, left, layers), *(f"{n / unit:.2f}" for n in (found.ram_bytes - kv, kv)), "", "", ""))
    wide = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for first, slots, *sizes in rows:
        cells = [
            first.ljust(wide[0]),
            slots.ljust(wide[1]),
            *(n.rjust(w) for n, w in zip(sizes, wide[2:], strict=True)),
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def options(found: Plan, context: int, kv_bits: int) -> str:
    """llama.cpp's options for the plan."""
    said = f"-c {context} -ngl {found.ngl}"
    if min(found.needs.caps) < math.inf:
        said += " -np 1"  # each sequence more has a window of its own
    if len(found.shares) > 1 and found.ngl:
        said += f" --tensor-split {','.join(map(str, found.tensor_split))}"
    cache = CACHE_TYPES[kv_bits][0]
    return said if kv_bits == 16 else f"{said} -fa on -ctk {cache} -ctv {cache}"


def parser() -> argparse.ArgumentParser:
    """The options of the command."""
    result = argparse.ArgumentParser(prog="course offload", description=__doc__)
    result.add_argument("file", help="a .gguf file; only its header is read")
    result.add_argument("--gpu", required=True, metavar="NAME[,NAME]",
                        help=f"GPUs in llama.cpp's order: {', '.join(DEVICES)}, or a number of GiB")  # fmt: skip
    result.add_argument("--context", type=int, default=8192, metavar="N", help="tokens of context; default: 8192")
    result.add_argument(
        "--kv-bits",
        type=int,
        choices=tuple(CACHE_TYPES),
        default=16,
        help="bits of the KV cache: 16 (f16), 8 (q8_0, 8.5 with its scales) or 4 (q4_0, 4.5)",
    )
    result.add_argument("--margin", type=float, default=MARGIN_BYTES / GIB, metavar="GIB",
                        help="GiB left free on every GPU; default: 1, as llama.cpp's --fit-target")  # fmt: skip
    result.add_argument("--compute", type=float, metavar="GIB", help="compute buffer of a GPU; default: an estimate")
    return result


def main(argv=None) -> int:
    """Print the plan; exit status 1 when nothing fits on any GPU, 2 with one sentence for bad input."""
    args = parser().parse_args(argv)
    try:
        gpus = [_gpu(name.strip()) for name in args.gpu.split(",")]
        bits = CACHE_TYPES[args.kv_bits][1]
        needs = needs_of_file(read(args.file), args.context, bits)
        if args.compute is not None:
            needs = type(needs)(needs.layers, needs.kv, needs.output, needs.embedding, args.compute * GIB)
        found = plan(needs, gpus, args.margin * GIB)
    except (GGUFError, ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    print(
        table(found),
        advice(found, args.context, bits),
        f"llama.cpp: {options(found, args.context, args.kv_bits)}",
        sep="\n\n",
    )
    return 0 if found.ngl else 1


def _gpu(name: str) -> str | float:
    try:
        return float(name) * GIB
    except ValueError:
        return name


def _slots(first: int, end: int, layers: int) -> str:
    if first == end:
        return "–"
    last = min(end, layers) - 1
    numbers = f"{first}–{last}" if last > first else f"{first}" if last == first else ""
    return " + ".join(filter(None, [f"layers {numbers}" if numbers else "", "output" if end > layers else ""]))
