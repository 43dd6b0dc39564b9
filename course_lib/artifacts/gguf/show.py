"""`course gguf FILE`: header, keys, tensors, types and bits per weight of a GGUF file."""

from __future__ import annotations

import argparse
import sys
from collections import Counter

from course_lib.artifacts.gguf.reader import GGUFError, GGUFFile, read

SHOWN_ITEMS = 4  # of a list
SHOWN_CHARACTERS = 60


def summary(file: GGUFFile) -> str:
    """The file in lines: what it is, its keys, its tensors in their order, and what each type takes."""
    size = sum(info.nbytes for info in file.tensors.values())
    weights = sum(_numel(info) for info in file.tensors.values())
    lines = [
        f"GGUF version {file.version}, {len(file.fields)} keys, {len(file.tensors)} tensors, aligned to "
        f"{file.alignment} bytes, data from byte {file.data_start:,}",
        "",
        *(f"  {_plain(key):42} {field.type_name:9} {_short(field.plain)}" for key, field in file.fields.items()),
        "",
        *(f"  {_plain(name):42} {info.type:7} {' × '.join(map(str, info.shape)):>16} {info.nbytes:>14,} bytes at "
          f"{info.offset:,}" for name, info in file.tensors.items()),
        "",
    ]  # fmt: skip
    count, taken = Counter(), Counter()
    for info in file.tensors.values():
        count[info.type] += 1
        taken[info.type] += info.nbytes
    for kind, nbytes in taken.most_common():
        bits = next(info.bits_per_weight for info in file.tensors.values() if info.type == kind)
        lines.append(f"  {kind:7} {count[kind]:4} tensors {nbytes:>14,} bytes   {bits:.4g} bits a weight")
    if weights:
        lines.append(
            f"  in all  {len(file.tensors):4} tensors {size:>14,} bytes   {8 * size / weights:.4f} bits a weight"
        )
    return "\n".join(lines)


def _numel(info) -> int:
    n = 1
    for axis in info.shape:
        n *= axis
    return n


def _plain(text: str) -> str:
    """text, with everything that a terminal would not print as a character written out."""
    return text if text.isprintable() else ascii(text)[1:-1]


def _short(value) -> str:
    """A value on one line, made of printable characters only: the file may come from anybody."""
    if isinstance(value, list):
        shown = ", ".join(_short(item) for item in value[:SHOWN_ITEMS])
        more = f", … {len(value):,} in all" if len(value) > SHOWN_ITEMS else ""
        return f"[{shown}{more}]"
    if not isinstance(value, str):
        return repr(value)
    text = repr(_plain(value[: SHOWN_CHARACTERS + 1]))
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}… {len(value):,} characters"


def main(argv=None) -> int:
    """Print the summary of a file; exit status 1 and one sentence for a file that is no readable GGUF file."""
    parser = argparse.ArgumentParser(prog="course gguf", description="Show what a GGUF file holds.")
    parser.add_argument("file", help="a .gguf file")
    try:
        said = summary(read(parser.parse_args(argv).file))
    except (GGUFError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    print(said)
    return 0
