"""An adapter trained beside rounded weights, and where it may be merged: the bundled bot learns a till's new words.

    python benchmarks/adapter.py [--messages 100] [--write]

For each format a LoRA of rank 8 learns beside the decoded weights (QLoRA), 60 steps of 8 requests. Then it is kept
beside, merged into the 16-bit original, merged into the decoded weights and rounded again, or merged into the original
and rounded for the first time. The control: the same training beside the 16-bit weights. --write also stores NF4's
adapter in course_lib/models/lora.
"""

from __future__ import annotations

import argparse
from functools import partial

import torch
from record import record

from course_lib import Scheme, evaluate, models, quantize
from course_lib.calibrate import adapter, map_weights
from course_lib.formats import nf4
from course_lib.models import till


def schemes() -> dict[str, Scheme]:
    return {
        "nf4": nf4.scheme(),
        "int4 g64": Scheme.int(4, False, 64, scale_dtype=torch.float16),
        "int3 g64": Scheme.int(3, False, 64, scale_dtype=torch.float16),
    }


def rows(tokenizer, n: int = 480) -> list[tuple[list[int], int]]:
    """Training requests as tokens, with where the answer begins."""
    found = []
    for example in till.examples(n, "adapter"):
        prompt = [tokenizer.bos_token_id, *tokenizer(example.prompt)["input_ids"]]
        found.append((prompt + tokenizer(example.answer)["input_ids"], len(prompt)))
    return found


def figures(model, tokenizer, messages: int) -> dict:
    found = evaluate.task_accuracy(model, tokenizer, till.examples(messages, "adapter, judged"), progress=False)
    return {"right_tokens": round(found.token_accuracy, 4), "exact": sum(found.correct), "messages": found.n}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--messages", type=int, default=100)
    parser.add_argument("--write", action="store_true")
    args = parser.parse_args()
    model, tokenizer = models.load("bundled")
    text = rows(tokenizer)
    trained16 = adapter.train(model, text)
    result = {
        "16 bits": {
            "none": figures(model, tokenizer, args.messages),
            "beside": figures(adapter.added(model, trained16), tokenizer, args.messages),
        }
    }
    print(result, flush=True)
    for name, scheme in schemes().items():
        rounded = partial(map_weights, function=lambda w, scheme=scheme: quantize(w, scheme).dequantize())
        decoded = rounded(model)
        factors = adapter.train(decoded, text)
        if args.write and name == "nf4":
            adapter.save(till.LORA, factors)
            factors = adapter.load(till.LORA)
        beside, original = adapter.added(decoded, factors), adapter.added(model, factors)
        ways = {
            "none": decoded,
            "beside": beside,
            "into the original, 16 bits": original,
            "into the decoded, rounded again": rounded(beside),
            "into the original, then rounded": rounded(original),
            "trained beside 16 bits, merged, then rounded": rounded(adapter.added(model, trained16)),
        }
        result[name] = {way: figures(bot, tokenizer, args.messages) for way, bot in ways.items()}
        print(name, result[name], flush=True)
    record("adapter", result, rank=8, steps=60, requests_a_step=8)


if __name__ == "__main__":
    main()
