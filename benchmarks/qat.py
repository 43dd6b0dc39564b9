"""What training under one's own rounding is worth: the bundled model at 2 and 3 bits, beside RTN and GPTQ.

    python benchmarks/qat.py [--messages 48]

All read windows of 128 tokens of the same training text, prose, code and task alike: GPTQ 256 of them, QAT 4 a step.
All are judged on held-out text and messages. QAT's targets are the 16-bit model's own predictions, so that a model
which is not rounded has nothing to learn from them. The controls: fewer steps, and prose alone. CPU seconds of one
thread.
"""

from __future__ import annotations

import argparse
import time

import torch

SCHEMES = {"int2 g64": (2, 64), "int3 channel": (3, None)}
RUNS = {"int2 g64": (40, 160), "int3 channel": (40, 160)}
RATES = {"int2 g64": 3e-3, "int3 channel": 1e-3}
ROWS, WINDOWS, LENGTH, GPTQ_WINDOWS = 4, 600, 128, 256


def windows(tokenizer, domains=("prose", "code", "task")) -> torch.Tensor:
    """Training windows (n, LENGTH), shuffled once."""
    from course_lib.calibrate import calibration_batches

    found = torch.cat([torch.cat(calibration_batches(tokenizer, d, WINDOWS, LENGTH)) for d in domains])
    return found[torch.randperm(len(found), generator=torch.Generator().manual_seed(0))]


class Judge:
    """KL and top-1 on held-out prose and code, exact replies to fresh messages."""

    def __init__(self, model, tokenizer, messages: int) -> None:
        from course_lib import evaluate, models

        self.tokenizer, self.examples = tokenizer, models.task.generate(messages, "benchmark of qat")
        self.references = {
            d: evaluate.Reference(model, tokenizer, models.texts.heldout(d), 8_000, progress=False)
            for d in ("prose", "code", "task")
        }

    def __call__(self, model) -> dict:
        from course_lib import calibrate, evaluate

        figures = {"bytes": calibrate.model_bytes(model)}
        for domain, reference in self.references.items():
            found = reference.compare(model, progress=False)
            figures |= {f"kl_{domain}": round(found.kl, 4), f"kl_{domain}_stderr": round(found.kl_stderr, 4)}
            figures |= {f"top1_{domain}": round(found.top1, 4)}
        task = evaluate.task_accuracy(model, self.tokenizer, self.examples, progress=False)
        return figures | {"exact": sum(task.correct), "messages": task.n}


def measured(judge: Judge, model, scheme, method, *rest, **options) -> dict:
    """The figures of one way, with the CPU seconds that it took."""
    from course_lib.calibrate import quantize_model

    began = time.process_time()
    quantized = quantize_model(model, scheme, method, *rest, progress=False, **options)
    spent = time.process_time() - began
    figures = {"cpu_s": round(spent, 1)} | judge(quantized)
    print(
        scheme.name,
        method if isinstance(method, str) else "rtn, mse grid",
        options.get("steps", ""),
        figures,
        flush=True,
    )
    return figures


def main() -> None:
    """Measure everything and write the results."""
    from record import record

    from course_lib import Scheme, models
    from course_lib.calibrate.qat import rows_of
    from course_lib.qtensor import quantize

    parser = argparse.ArgumentParser()
    parser.add_argument("--messages", type=int, default=48)
    options = parser.parse_args()
    torch.set_num_threads(1)
    model, tokenizer = models.load("bundled")
    judge, text = Judge(model, tokenizer, options.messages), windows(tokenizer)
    prose = windows(tokenizer, ("prose",))
    results: dict = {"16 bits": judge(model)}
    for name, (bits, group) in SCHEMES.items():
        scheme = Scheme.int(bits, symmetric=False, group=group, scale_dtype=torch.float16)
        rows = results[name] = {
            "rtn": measured(judge, model, scheme, "rtn"),
            "rtn, mse grid": measured(judge, model, scheme, lambda w, s: quantize(w, s, "mse")),
            "gptq": measured(judge, model, scheme, "gptq", rows_of([text[:GPTQ_WINDOWS]], 32)),
        }
        for steps in RUNS[name]:
            batches = rows_of([text], ROWS)
            rows[f"qat, {steps} steps"] = measured(judge, model, scheme, "qat", batches, steps=steps, rate=RATES[name])
        if name == "int2 g64":
            batches = rows_of([prose], ROWS)
            rows["qat, 40 steps, prose only"] = measured(
                judge, model, scheme, "qat", batches, steps=40, rate=RATES[name]
            )
    record("qat", results, rates=RATES, tokens_a_step=ROWS * LENGTH, windows=len(text), loss="KL to the 16-bit model")


if __name__ == "__main__":
    main()
