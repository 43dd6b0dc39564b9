"""What a quantized cache costs on the bundled model: CPU time of generation up to 1,024 tokens, beside the plain cache.

    python benchmarks/kvcache_speed.py [--tokens 1024] [--prompt 64] [--repeat 3] [--write]

Both run in turn in one process, on one thread; the ratio is that of CPU times, which a busy machine changes little.
Wanted: at most 1.5 for every format. The last column is the memory that the cache holds at the end; on a CPU the plain
one keeps 32 bits a number.
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch


def generated(model, cache, prompt: int, tokens: int) -> tuple[float, int]:
    """CPU seconds of reading `prompt` tokens and generating up to `tokens`, and the bytes that the cache then holds."""
    ids = torch.randint(1, model.config.vocab_size, (1, prompt), generator=torch.Generator().manual_seed(0))
    began = time.process_time()
    model.generate(ids, attention_mask=torch.ones_like(ids), past_key_values=cache, max_length=tokens,
                   min_length=tokens, do_sample=False, pad_token_id=0)  # fmt: skip
    spent = time.process_time() - began
    held = sum(t.nbytes for layer in cache.layers for t in (layer.keys, layer.values))
    return spent, getattr(cache, "nbytes", held)


def main() -> None:
    """Time all formats in turn and print the ratios."""
    from transformers import DynamicCache, logging

    from course_lib import models
    from course_lib.kvcache import QuantizedKVCache
    from course_lib.kvcache.format import FORMATS

    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (("tokens", 1024), ("prompt", 64), ("repeat", 3)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--write", action="store_true", help="record in benchmarks/results/kvcache_speed.json")
    options = parser.parse_args()
    torch.set_num_threads(1)
    logging.set_verbosity_error()  # 1,024 tokens are more than the model was trained on; only its time counts
    model, _ = models.load("bundled")
    make = {"plain": lambda: DynamicCache(config=model.config)}
    make |= {name: lambda name=name: QuantizedKVCache(model.config, name) for name in FORMATS}
    times, held = {name: [] for name in make}, {}
    for _ in range(options.repeat):
        for name, cache in make.items():
            spent, held[name] = generated(model, cache(), options.prompt, options.tokens)
            times[name].append(spent)
    results = {}
    for name in make:
        ratio = statistics.median(a / b for a, b in zip(times[name], times["plain"], strict=True))
        results[name] = {"cpu_s": [round(t, 3) for t in times[name]], "against_plain": round(ratio, 3),
                         "cache_bytes": held[name]}  # fmt: skip
        print(f"{name:6} {min(times[name]):6.2f} s CPU   {ratio:5.2f} times the plain cache   {held[name]:,} bytes")
    if options.write:
        from record import record

        record("kvcache_speed", results, tokens=options.tokens, prompt=options.prompt, torch_threads=1)


if __name__ == "__main__":
    main()
