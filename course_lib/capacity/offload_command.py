"""`course offload FILE.gguf --gpu NAME[,NAME]`: what of a GGUF file goes on which GPU, and the options that do it."""

from __future__ import annotations

import argparse
import sys

from course_lib.artifacts.gguf import GGUFError, read
from course_lib.capacity.bytes import GIB
from course_lib.capacity.devices import DEVICES
from course_lib.capacity.offload import MARGIN_BYTES, Plan, advice, plan
from course_lib.capacity.offload_file import CACHE_TYPES, needs_of_file


def table(found: Plan) -> str:
    """One line a GPU and one for RAM: slots, weights, cache, compute buffer, margin, what stays free (GiB)."""
    head = ("", "slots", "weights", "cache", "compute", "margin", "free")
    rows = [head]
    for share in found.shares:
        rows.append((share.name, _slots(share.first, share.end, len(found.needs.layers)), *map(
            _gib, (share.weights, share.kv, share.compute, share.margin, share.free))))  # fmt: skip
    left = len(found.needs.slots) - found.ngl
    kv = sum(found.needs.kv[:left])
    rows.append(("RAM", _slots(0, left, len(found.needs.layers)), _gib(found.ram_bytes - kv), _gib(kv), "", "", ""))
    wide = [max(len(row[k]) for row in rows) for k in range(len(head))]
    lines = []
    for row in rows:
        cells = [
            row[0].ljust(wide[0]),
            row[1].ljust(wide[1]),
            *(c.rjust(w) for c, w in zip(row[2:], wide[2:], strict=True)),
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def options(found: Plan, context: int, kv_bits: int) -> str:
    """llama.cpp's options for the plan."""
    said = f"-c {context} -ngl {found.ngl}"
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
    result.add_argument("--kv-bits", type=int, choices=tuple(CACHE_TYPES), default=16, help="bits of the KV cache")
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


def _gib(n_bytes: float) -> str:
    return f"{n_bytes / GIB:.2f}"
