"""The most tokens a second: what a decode step must read, and from how many tokens on the cache outweighs the weights.

A step reads every matrix once for the whole batch, and each sequence's own cache. Of the embedding table it reads one
row a token, so the table is not counted, unless it is the output head as well. Of a mixture's experts it reads those
that some token of the batch has chosen; chosen evenly, that is 1 - (1 - used/experts)^batch of them.
"""

from __future__ import annotations

import math

from course_lib.capacity.plan.figures import Figure
from course_lib.capacity.plan.memory import Plan
from course_lib.capacity.plan.tensors import tied
from course_lib.capacity.roofline import roofline


def read_bytes(p: Plan, batch: int | None = None) -> float:
    """Bytes of the matrices that one decode step reads; vectors (norms, biases) are not counted, 0.004 % in Llama 3."""
    batch, total = p.batch if batch is None else batch, 0.0
    for part, bits in p.parts:
        if part.role == "small" or (part.role == "embed" and not tied(p.config)):
            continue
        share = 1 - (1 - part.used / part.experts) ** batch if part.experts > 1 else 1
        total += float(bits) / 8 * share
    return total


def figures(p: Plan) -> tuple[Figure, ...]:
    """Read a step, the ceiling in tokens a second, the crossover of weights and cache, and the room that is left."""
    weights, kv = read_bytes(p), float(p.kv_of(p.context, p.batch))
    step = _step(p, weights, kv)
    embedding = "the head is the embedding table" if tied(p.config) else "without the embedding table"
    return (
        Figure("read", "read in one decode step", weights + kv, "bytes",
               f"matrices {weights:,.0f} ({embedding}) + cache {kv:,.0f}", "weights once a step, each cache once"),
        Figure("speed", "ceiling, all sequences together", p.batch / step.seconds, "tokens/s",
               f"{p.batch:,} / max(bytes / {p.gpus} x {p.on.bandwidth_gb_s:g} GB/s, "
               f"2 x {_multiplied(p):,} x {p.batch:,} / {p.gpus} x {p.on.fp16_tflops:g} TFLOPS)",
               f"roofline (Williams 2009), FP16 rate; {p.on.title}: {p.on.source}"),
        Figure("crossover", "cache traffic equals weight traffic from", crossover(p), "tokens",
               f"least n with cache of n tokens >= {read_bytes(p, 1):,.0f} bytes of matrices",
               "tokens of all sequences together, one sequence where windows limit a layer"),
    )  # fmt: skip


def bound(p: Plan) -> str:
    """What sets the pace: "weights", "cache" or "arithmetic"."""
    weights, kv = read_bytes(p), float(p.kv_of(p.context, p.batch))
    if _step(p, weights, kv).bound == "compute":
        return "arithmetic"
    return "weights" if weights > kv else "cache"


def crossover(p: Plan) -> float:
    """Tokens from which a step reads at least as many bytes of cache as of weights; inf if windows keep it below.

    Without windows tokens of all sequences add up; with them this is the length of a single sequence.
    """
    weights = read_bytes(p, 1)
    return first_tokens(lambda n: p.kv_of(n, 1) >= weights)


def first_tokens(enough, most: int = 2**50) -> float:
    """The least n from 1 to `most` with enough(n), which must never turn false again; inf if there is none.

    >>> first_tokens(lambda n: n * n >= 50)
    8
    """
    if not enough(most):
        return math.inf
    low, high = 1, most
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle + 1, high)
    return low


def _multiplied(p: Plan) -> int:
    """Weights that one token is multiplied with."""
    return sum(part.params if part.role == "embed" and tied(p.config) else part.active
               for part, _ in p.parts if part.role != "small")  # fmt: skip


def _step(p: Plan, weights: float, kv: float):
    return roofline(p.on, (weights + kv) / p.gpus, 2.0 * _multiplied(p) * p.batch / p.gpus)
