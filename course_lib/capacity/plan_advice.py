"""What a plan's reader wants next: what still fits, by how much it is too large, and which change would be enough."""

from __future__ import annotations

import math
from dataclasses import replace

from course_lib.capacity.devices import DEVICES
from course_lib.capacity.plan import Plan, plan, size
from course_lib.capacity.plan_formats import Format, title
from course_lib.capacity.plan_speed import bound, first_tokens

SMALLER = ("fp8", "Q6_K", "Q5_K_M", "awq", "mxfp4", "Q3_K_M", "Q2_K")  # tried from the widest to the narrowest
CACHES = (8, 4.5)  # FP8, and 4 bits with a 16-bit scale for 32 numbers
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
        more = f"; {batch:,} such sequences would" if batch > p.batch else ""
        return f"It fits, with {size(p.free, gb)} to spare{more}. Decoding is limited by {what}."
    biggest = max(p.pieces[:3], key=lambda figure: figure.value)
    return (f"It does not fit: {size(p.total, gb)} are needed, {size(p.memory, gb)} are there, {size(-p.free, gb)} too"
            f" little. The largest part is {biggest.title} ({biggest.shown(gb)}).")  # fmt: skip


def remedies(p: Plan, gb: bool = False) -> list[str]:
    """For a plan that does not fit: single changes, each of which is enough by itself; tried, not estimated.

    When none is, what four bits for both weights and cache would bring.
    """
    if p.fits:
        return []
    found = [*_shorter(p), *_narrower_cache(p), *_narrower_weights(p, gb), *_more_hardware(p, gb)]
    if found:
        return found
    small = plan(p.config, p.on, p.context, p.batch, "mxfp4", 4.5, p.gpus, p.assume, p.name)
    if small.fits:
        return ["MXFP4 weights and a cache of 4.5 bits together"]
    return [f"nothing on this list by itself: with MXFP4 weights and a cache of 4.5 bits {size(-small.free, gb)} would"
            " still be missing"]  # fmt: skip


def _shorter(p: Plan) -> list[str]:
    context, batch, found = max_context(p), max_batch(p), []
    if 0 < context < p.context:
        found.append(f"a context of {int(context):,} tokens instead of {p.context:,}")
    if 0 < batch < p.batch:
        found.append(f"{batch:,} sequences at once instead of {p.batch:,}")
    return found


def _narrower_cache(p: Plan) -> list[str]:
    fits = [b for b in CACHES if b < p.kv_bits and replace(p, kv_bits=b).fits]
    return [f"a cache of {fits[0]:g} bits instead of {p.kv_bits:g}"] if fits else []


def _narrower_weights(p: Plan, gb: bool) -> list[str]:
    for name in SMALLER:
        try:
            other = plan(p.config, p.on, p.context, p.batch, name, p.kv_bits, p.gpus, p.assume, p.name)
        except ValueError:  # a GGUF mix of a mixture of experts
            continue
        if other.weights.value < p.weights.value and other.fits:
            return [f"weights as {title(other.fmt)} ({other.weights.shown(gb)}) instead of {title(p.fmt)}"]
    return []


def _more_hardware(p: Plan, gb: bool) -> list[str]:
    found = []
    count = next((n for n in range(p.gpus + 1, 17) if replace(p, gpus=n).fits), None)
    if count:
        found.append(f"{count} x {p.on.title} instead of {p.gpus}")
    larger = sorted(DEVICES.values(), key=lambda d: d.memory_gib)
    other = next((d for d in larger if d.memory_gib > p.on.memory_gib and replace(p, on=d, gpus=1).fits), None)
    if other:
        found.append(f"one {other.title} ({size(other.memory_bytes, gb)})")
    return found


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
