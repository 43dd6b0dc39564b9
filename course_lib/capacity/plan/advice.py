"""What a plan's reader wants next: what still fits, by how much it is too large, and which change would be enough."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

from course_lib.capacity.devices import DEVICES
from course_lib.capacity.plan.figures import size
from course_lib.capacity.plan.formats import Format, title
from course_lib.capacity.plan.memory import Plan, plan
from course_lib.capacity.plan.speed import bound, first_tokens

SMALLER = ("fp8", "Q6_K", "Q5_K_M", "awq", "mxfp4", "Q3_K_M", "Q2_K")  # tried from the widest to the narrowest
CACHES = (8, 4.5)  # FP8, and 4 bits with a 16-bit scale for 32 numbers
SINGLE = ("ddr5-laptop", "m4-max")  # machines that do not come in racks
MOST = 2**40


def max_context(p: Plan) -> float:
    """The longest context that fits at this batch, in whole blocks; 0 if none does, inf if windows bound the cache."""
    first = first_tokens(lambda n: not p.load_fits(n, p.batch), MOST)
    return first if first == math.inf else (first - 1) // p.assume.page * p.assume.page


def max_batch(p: Plan) -> int:
    """The most sequences of this context that fit; 0 if not even one."""
    return int(first_tokens(lambda n: not p.load_fits(p.context, n), MOST)) - 1


def verdict(p: Plan, gb: bool = False) -> str:
    """One sentence or two: what fits or by how much it does not, and what sets the pace."""
    what = {"weights": "reading the weights", "cache": "reading the cache", "arithmetic": "arithmetic"}[bound(p)]
    if p.fits:
        batch = max_batch(p)
        more = f"; there is room for {batch:,} such sequences" if batch > p.batch else ""
        return f"It fits, with {size(p.free, gb)} to spare{more}. Decoding is limited by {what}."
    biggest = max(p.pieces[:3], key=lambda figure: figure.value)
    return (f"It does not fit: {size(p.total, gb)} are needed, {size(p.memory, gb)} are there, {size(-p.free, gb)} too"
            f" little. The largest part is {biggest.title} ({biggest.shown(gb)}).")  # fmt: skip


def remedies(p: Plan, gb: bool = False) -> Iterator[str]:
    """For a plan that does not fit: single changes, each of which is enough by itself; tried, not estimated."""
    if not p.fits:
        yield from _shorter(p)
        yield from _narrower_cache(p)
        yield from _narrower_weights(p, gb)
        yield from _more_hardware(p, gb)


def last_resort(p: Plan, gb: bool = False) -> str:
    """For a plan that no single change saves: what four bits for both weights and cache would bring."""
    small = _with(p, "mxfp4", min(4.5, p.kv_bits))
    both = f"MXFP4 weights and a cache of {small.kv_bits:g} bits"
    if small.fits:
        return f"No single change is enough; {both} together are."
    return f"Not even {both} are enough: {size(-small.free, gb)} would still be missing."


def _with(p: Plan, weights: str, kv_bits: float) -> Plan:
    return plan(p.config, p.on, p.context, p.batch, weights, kv_bits, p.gpus, p.assume, p.name)


def _shorter(p: Plan) -> Iterator[str]:
    context, batch = max_context(p), max_batch(p)
    if 0 < context < p.context:
        yield f"a context of {int(context):,} tokens instead of {p.context:,}"
    if 0 < batch < p.batch:
        yield f"{batch:,} sequence{'s' * (batch != 1)} at once instead of {p.batch:,}"


def _narrower_cache(p: Plan) -> list[str]:
    fits = [b for b in CACHES if b < p.kv_bits and replace(p, kv_bits=b).fits]
    return [f"a cache of {fits[0]:g} bits instead of {p.kv_bits:g}"] if fits else []


def _narrower_weights(p: Plan, gb: bool) -> Iterator[str]:
    for name in SMALLER:
        try:
            other = _with(p, name, p.kv_bits)
        except ValueError:  # a GGUF mix of gpt-oss or DeepSeek
            continue
        if other.weight_bytes < p.weight_bytes and other.fits:
            yield f"weights as {title(other.fmt)} ({other.weights.shown(gb)}) instead of {title(p.fmt)}"
            return


def _more_hardware(p: Plan, gb: bool) -> Iterator[str]:
    count = next((n for n in range(p.gpus + 1, 17) if replace(p, gpus=n).fits), None)
    if count and p.on.name not in SINGLE:
        yield f"{count} x {p.on.title} instead of {p.gpus}"
    larger = sorted(DEVICES.values(), key=lambda d: d.memory_gib)
    other = next((d for d in larger if d.memory_gib > p.on.memory_gib and replace(p, on=d, gpus=1).fits), None)
    if other:
        yield f"one {other.title} ({size(other.memory_bytes, gb)})"


def native(p: Plan) -> str:
    """Whether the machine's matrix units take the format as it is, or expand it first: one sentence."""
    fmt = p.fmt
    if isinstance(fmt, str):
        return (f"{fmt}: llama.cpp reads blocks and multiplies them in 8-bit integers where the machine has these, else"
                " in 16 bits.")  # fmt: skip
    units, where = p.on.native, p.on.title
    if fmt.unit in units or fmt.unit == "fp32":
        return f"{fmt.title}: {where} multiplies it natively." if fmt.bits >= 8 or fmt.unit == "fp4" or not fmt.where \
            else _expanded(fmt)  # fmt: skip
    if fmt.unit == "fp8" and "fp8-fnuz" in units:
        return f"{fmt.title}: {where} multiplies FP8, but in its own E4M3FNUZ codes; the engine converts the weights."
    if not fmt.where:
        return f"{fmt.title}: {where} has no {fmt.title} matrix units; take {'FP16' if 'fp16' in units else 'FP32'}."
    return (f"{fmt.title}: {where} has no matrix units for it; kernels expand the weights to 16 bits on the way, which"
            " saves bytes but no arithmetic.")  # fmt: skip


def _expanded(fmt: Format) -> str:
    return f"{fmt.title}: weight-only; kernels expand it to 16 bits on the way, so it saves bytes but no arithmetic."
