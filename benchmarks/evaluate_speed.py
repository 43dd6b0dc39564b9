"""How long the metrics take on the bundled model: perplexity + KL, decoding, the task, quantize_model.

    python benchmarks/evaluate_speed.py [--repeat 5] [--messages 100] [--random]

Wanted: perplexity + KL of the bundled model on its held-out prose in at most 5 s on two cores.
"""

from __future__ import annotations

import argparse

from record import record, seconds

from course_lib import Scheme, evaluate, models
from course_lib.calibrate import model_bytes, quantize_model


def subject(random: bool):
    """The bundled model, or one of the same shape with random weights."""
    if not random:
        return models.load("bundled")
    import torch
    from transformers import LlamaForCausalLM

    from course_lib.models import tokenizer, train

    torch.manual_seed(0)
    tok = tokenizer.train_tokenizer()
    return LlamaForCausalLM(train.config(len(tok))).eval(), tok


def measure(model, tok, repeat: int, messages: int) -> dict:
    """Every timing, by name."""
    texts = models.texts.heldout("prose")
    quantized = quantize_model(model, Scheme.int(4))
    reference = evaluate.Reference(model, tok, texts, progress=False)
    examples = models.task.generate(messages, seed="speed")
    prompt = examples[0].prompt
    results = {
        "perplexity and KL": seconds(lambda: evaluate.compare(model, quantized, tok, texts, progress=False), repeat),
        "perplexity": seconds(lambda: evaluate.perplexity(model, tok, texts, progress=False), repeat),
        "KL with a Reference": seconds(lambda: reference.compare(quantized, progress=False), repeat),
        "generate 60 tokens, one thread": seconds(lambda: evaluate.generate(model, tok, prompt, 60, stop=None), repeat),
        "generate 60 tokens, all threads": seconds(
            lambda: evaluate.generate_many(model, tok, [prompt], 60, stop=None, progress=False), repeat
        ),
        f"task, {messages} messages": seconds(
            lambda: evaluate.task_accuracy(model, tok, examples, progress=False), max(1, repeat // 2), 0
        ),
        "quantize_model int4 per-channel": seconds(lambda: quantize_model(model, Scheme.int(4)), repeat),
    }
    results["tokens"], results["text_bytes"] = reference.corpus.tokens, reference.corpus.bytes
    results["model_bytes"] = {"16 bits": model_bytes(model), "int4 per-channel": model_bytes(quantized)}
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--messages", type=int, default=100)
    parser.add_argument("--random", action="store_true", help="random weights instead of the bundled model")
    args = parser.parse_args()
    model, tok = subject(args.random)
    results = measure(model, tok, args.repeat, args.messages)
    for name, value in results.items():
        print(f"{name:36}", f"{value['median_s']:.3f} s" if isinstance(value, dict) and "median_s" in value else value)
    record("evaluate_speed", results, model="random weights, bundled shape" if args.random else "bundled")


if __name__ == "__main__":
    main()
