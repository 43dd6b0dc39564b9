"""What learning the roundings is worth: the bundled model at 2 and 3 bits, beside AWQ; the rows of `qat.py` go with it.

    python benchmarks/autoround.py [--messages 48]

Text, judges and messages are those of `qat.py`, so that the rows stand beside RTN's, GPTQ's and training's. GPTQ, AWQ
and this read the same 256 windows of 128 tokens, here 8 an iteration. CPU seconds of one thread.
"""

from __future__ import annotations

import argparse

import torch
from qat import GPTQ_WINDOWS, SCHEMES, Judge, measured, windows
from record import record

ITERATIONS, ROWS = (40, 200), 8


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
    results: dict = {}
    for name, (bits, group) in SCHEMES.items():
        scheme = Scheme.int(bits, symmetric=False, group=group, scale_dtype=torch.float16)
        rows = results[name] = {"awq": measured(judge, model, scheme, "awq", rows_of([text], 32))}
        for iters in ITERATIONS:
            batches = rows_of([text], ROWS)
            rows[f"autoround, {iters} iterations"] = measured(judge, model, scheme, "autoround", batches, iters=iters)
    record("autoround", results, windows=len(text), rows_an_iteration=ROWS)


if __name__ == "__main__":
    main()
