"""What learning the roundings is worth: the bundled model at 2 and 3 bits, beside AWQ; the rows of `qat.py` go with it.

    python benchmarks/autoround.py [--messages 48]

Every row is written when it is done, and a run that was broken off goes on with the rows that are missing. Text, judges
and messages are those of `qat.py`, so that the rows stand beside RTN's, GPTQ's and training's. GPTQ, AWQ and this read
the same 256 windows of 128 tokens, here 8 an iteration. CPU seconds of one thread.
"""

from __future__ import annotations

import argparse
import json

import torch
from qat import GPTQ_WINDOWS, SCHEMES, Judge, measured, windows
from record import RESULTS, record

WAYS, ROWS = {"autoround, 40 iterations": 40, "autoround, 200 iterations": 200, "awq": 0}, 8


def main() -> None:
    """Measure everything and write the results."""
    from course_lib import Scheme, models
    from course_lib.calibrate.qat import rows_of

    parser = argparse.ArgumentParser()
    parser.add_argument("--messages", type=int, default=48)
    options = parser.parse_args()
    torch.set_num_threads(1)
    model, tokenizer = models.load("bundled")
    judge, text = Judge(model, tokenizer, options.messages), windows(tokenizer)[:GPTQ_WINDOWS]
    results = {name: found(name) for name in SCHEMES}
    for way, iters in WAYS.items():
        for name, (bits, group) in SCHEMES.items():
            if way in results[name]:
                continue
            scheme = Scheme.int(bits, symmetric=False, group=group, scale_dtype=torch.float16)
            batches, more = rows_of([text], ROWS if iters else 32), {"iters": iters} if iters else {}
            results[name][way] = measured(judge, model, scheme, "autoround" if iters else way, batches, **more)
            record("autoround", results, windows=len(text), rows_an_iteration=ROWS)


def found(scheme: str) -> dict:
    """The rows of a scheme that are recorded already."""
    path = RESULTS / "autoround.json"
    return json.loads(path.read_text(encoding="utf-8"))["results"].get(scheme, {}) if path.exists() else {}


if __name__ == "__main__":
    main()
