"""ggml's blocks byte for byte, and its mixes to four decimals: two tables against what we did not write.

    python benchmarks/ggml_identity.py [--write]

Blocks: each type on each kind of data, plain and with an importance matrix, ours beside ggml's C code (the xllamacpp
wheel); and the numbers that random bytes stand for. Mixes: bits per weight of Llama-3.1-8B's shapes beside the table
in llama.cpp's tools/quantize/README.md.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from record import record

sys.path.insert(0, str(Path(__file__).parent.parent))
from course_lib.artifacts.gguf import mixes
from course_lib.formats import ggml
from tests import ggml_oracle
from tests.test_ggml_blocks import COLS, DATA, IMPORTANCE, different_blocks
from tests.test_gguf_llama import PUBLISHED, llama_31_8b


def blocks(name: str) -> dict:
    """Equal blocks and all blocks of one type, by kind of data."""
    row = {"type": name}
    for kind, x in DATA.items():
        for how, importance in (("plain", None), ("imatrix", IMPORTANCE)):
            want = ggml_oracle.quantize(x, name, importance)
            wrong = different_blocks(name, ggml.quantize(x, name, importance), want)
            total = want.size // ggml.TYPES[name].block_bytes
            row[f"{kind}, {how}"] = [total - wrong, total]
    data = np.random.default_rng(1).integers(0, 256, (64, ggml.TYPES[name].row_bytes(COLS)), dtype=np.uint8)
    ours, theirs = ggml.dequantize(data, name), ggml_oracle.dequantize(data, name, COLS)
    same = (ours.view(np.uint32) == theirs.view(np.uint32)) | (np.isnan(ours) & np.isnan(theirs))
    row["decoded, random bytes"] = [int(same.sum()), same.size]
    return row


def mix(name: str) -> dict:
    """Bits per weight, ours and published."""
    ours = mixes.bits_per_weight(llama_31_8b(), name, mixes.Model(32, 4, False))
    return {"mix": name, "ours": round(ours, 4), "published": PUBLISHED[name]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="record the result")
    options = parser.parse_args()
    rows = [blocks(name) for name in ggml.WRITTEN if not ggml.TYPES[name].needs_imatrix]
    for row in rows:
        decoded, kinds = row["decoded, random bytes"], [value for key, value in row.items() if ", " in key]
        equal, total = (sum(value[k] for value in kinds) - decoded[k] for k in (0, 1))
        off = [key for key, value in row.items() if ", " in key and value[0] < value[1]]
        print(
            f"{row['type']:7} blocks {equal:>6,} of {total:>6,}, decoded numbers {decoded[0]:,} of {decoded[1]:,}", *off
        )
    table = [mix(name) for name in PUBLISHED]
    print("\nbits per weight of Llama-3.1-8B     ours   published")
    for row in table:
        print(f"{row['mix']:33} {row['ours']:7.4f}   {row['published']:7.4f}")
    if options.write:
        record("ggml_identity", {"blocks, [equal, all]": rows, "bits per weight": table})


if __name__ == "__main__":
    main()
