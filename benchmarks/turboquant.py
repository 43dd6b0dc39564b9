"""TurboQuant beside the KIVI-like cache at equal bytes: scores, prose, replies; keys, values, sketch, first tokens.

    python benchmarks/turboquant.py

Heads of 64, 4 layers, 2 key-value heads. Bits count codes, lengths, scales and offsets. `kl` is the mean over texts,
`stderr` its standard error, `less` the mean of KIVI's KL minus this one's text by text, at the same bits, with its
standard error. `scores` is the error of q · k / √d over the spread of q · k / √d, a shift that a query's scores share
taken out of both. "loud": four key channels eight times as large (`attention.with_loud_keys`).
"""

from __future__ import annotations

import math

import torch

from course_lib import evaluate, models
from course_lib.calibrate.rotation import hadamard
from course_lib.evaluate.decode import prompt_tokens
from course_lib.kvcache import KVFormat, QuantizedKVCache, attention
from course_lib.kvcache.store import round_trip
from course_lib.kvcache.turbo import Turbo, random_rotation
from course_lib.kvcache.turbo_cache import TurboKVCache

DIM, TEXTS, LETTERS, PREFIX, STEPS = 64, 16, 8, 256, 32
SKETCH = torch.randn(DIM, DIM, generator=torch.Generator().manual_seed(1))


class PerText(evaluate.CacheReference):
    """A reference that remembers the KL of each text."""

    def _compared(self, log_q):
        self.kls = (self.log_p.exp() * (self.log_p - log_q)).sum(-1).double().mean(1).tolist()
        return super()._compared(log_q)


def turbo(bits, seed=0, make=random_rotation, **more) -> Turbo:
    return Turbo(bits, make(DIM, seed), **more)


def kivi(name, group=32, **fields):
    return lambda config: QuantizedKVCache(config, name, **{"group": group, "residual": 0, **fields})


def turned(keys, values, name="int2", **fields):
    return lambda config: TurboKVCache(config, keys, values, name, **{"residual": 0, **fields})


def caches() -> dict:
    """name → (bits, cache of a config); the KIVI-like one of each number of bits comes first."""
    t3, t5, q3 = turbo(2.75), turbo(4.75), turbo(1.5, sketch=SKETCH)
    return {
        "kivi 3": (3, kivi("int2")), "token 3": (3, kivi("int2", key_axis="token")), "turbo 3": (3, turned(t3, t3)),
        "turbo 3 keys": (3, turned(t3, None)), "turbo 3 values": (3, turned(None, t3)),
        "turbo 3 sketch": (3, turned(q3, q3)), "kivi 5": (5, kivi("int4")), "turbo 5": (5, turned(t5, t5)),
        "turbo 5 keys": (5, turned(t5, None, "int4")), "turbo 5 values": (5, turned(None, t5, "int4")),
    }  # fmt: skip


def exact_tokens() -> dict:
    """The same bytes for the first tokens or for more of the last ones: name → cache of a config."""
    t3, found = turbo(2.75), {}
    for n in (8,):
        found |= {f"kivi 3 first {n}": kivi("int2", sinks=n), f"kivi 3 last {n}": kivi("int2", residual=n)}
        found |= {f"turbo 3 first {n}": turned(t3, t3, sinks=n), f"turbo 3 last {n}": turned(t3, t3, residual=n)}
    return found


def measured(references, config, make, base=None) -> dict:
    """KL and standard error over all texts of some references, and how much less than `base`'s."""
    for reference in references:
        reference.compare(lambda: make(config))
    kls = torch.tensor([kl for reference in references for kl in reference.kls], dtype=torch.float64)
    found = {"kl": summary(kls)[0], "stderr": summary(kls)[1], "kls": [round(k, 5) for k in kls.tolist()]}
    if base is not None:
        found["less"] = summary(torch.tensor(base, dtype=torch.float64) - kls)
    print(found["kl"], found["stderr"], found.get("less"), flush=True)
    return found


def summary(x) -> list[float]:
    return [float(f"{x.mean():.4g}"), float(f"{x.std() / math.sqrt(len(x)):.3g}")]


def rows(references, config, names) -> dict:
    found, base = {}, {}
    for name, (bits, make) in names.items():
        print(name, end=" ")
        found[name] = {"bits": bits, **measured(references, config, make, base.get(bits))}
        base.setdefault(bits, found[name]["kls"])
    return found


def scores(model, tokenizer, texts) -> dict:
    """Error of the scores of the real queries and keys, every layer and head: mean over texts, standard error."""
    q3, q5 = turbo(1.5, sketch=SKETCH), turbo(3.5, sketch=SKETCH)
    codes = {"turbo 3": turbo(2.75), "turbo 3 unbiased": turbo(2.75, length="unbiased"), "turbo 3 sketch": q3,
             "turbo 5": turbo(4.75), "turbo 5 sketch": q5, "turbo 3 hadamard": turbo(2.75, 0, hadamard)}  # fmt: skip
    ways = {name: lambda k, c=c: c.decode(*c.encode(k)) for name, c in codes.items()}
    for name, bits, axis in (("kivi 3", 2, "channel"), ("token 3", 2, "token"), ("kivi 5", 4, "channel")):
        ways[name] = lambda k, b=bits, a=axis: round_trip(k[None, None], KVFormat(f"int{b}"), a)[0, 0]
    found = {name: torch.zeros(len(texts), dtype=torch.float64) for name in ways}
    heads = [(i, h) for i in range(4) for h in range(2)]
    for t, text in enumerate(texts):
        for layer, head in heads:
            sample = attention.captured(model, tokenizer, text, layer, head)
            q, k = sample.queries[:288], sample.keys[:288]
            exact = centred(q @ k.T)
            for name, way in ways.items():
                found[name][t] += (centred(q @ way(k).T) - exact).norm() / exact.norm() / len(heads)
    return {name: summary(x) for name, x in found.items()}


def centred(s):
    return (s - s.mean(-1, keepdim=True)).double()


def answers(model, tokenizer) -> list:
    """One reference a letter: the letter is read at once, the right action token by token."""
    found = []
    for example in models.task.generate(LETTERS, seed=11):
        n, whole = (len(prompt_tokens(tokenizer, t)) for t in (example.prompt, example.prompt + example.answer))
        found.append(PerText(model, tokenizer, [example.prompt + example.answer], n, whole - n))
    return found


def main() -> None:
    torch.set_num_threads(1)
    model, tokenizer = models.load("bundled")
    texts = [text[:3000] for text in models.texts.heldout("prose") if len(text) > 2500][:TEXTS]
    loud, named = attention.with_loud_keys(model, channels=4, factor=8), caches()
    results = {"scores": scores(model, tokenizer, texts[:2]), "scores loud": scores(loud, tokenizer, texts[:2])}
    for what, bot in (("prose", model), ("prose loud", loud)):
        references = [PerText(bot, tokenizer, texts, PREFIX, STEPS)]
        some = named if bot is model else {n: named[n] for n in ("kivi 3", "token 3", "turbo 3")}
        results[what] = rows(references, bot.config, some)
        if bot is model:
            same = {"kivi 3": named["kivi 3"]} | {n: (3, make) for n, make in exact_tokens().items()}
            results["exact tokens"] = rows(references, bot.config, same)
    some = {n: named[n] for n in ("kivi 3", "turbo 3", "turbo 3 sketch", "kivi 5", "turbo 5")}
    results["replies"] = rows(answers(model, tokenizer), model.config, some)
    from record import record

    record("turboquant", results, texts=TEXTS, letters=LETTERS, prefix=PREFIX, steps=STEPS)


if __name__ == "__main__":
    main()
