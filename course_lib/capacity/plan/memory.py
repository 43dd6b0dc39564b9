"""Does this model fit on that machine, and how fast can it decode? Every figure with its formula and its source.

    memory = weights + KV cache + activations + reserve        time of a step = bytes read / bandwidth

Weights and cache are exact, from the released config. Activations and reserve are assumptions, stated as such and held
against engine logs; the speed is a ceiling.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

from course_lib.capacity.bytes import GIB
from course_lib.capacity.devices import Device, device
from course_lib.capacity.plan.figures import Assumptions, Figure
from course_lib.capacity.plan.formats import Format, stored, title, weight_format
from course_lib.capacity.plan.tensors import Part, tied
from course_lib.kvcache import Layer, layers
from course_lib.kvcache.config import HEADS, KV_HEADS, WIDTH, optional, released, whole
from course_lib.kvcache.sizing import bits, count


@dataclass(frozen=True)
class Plan:
    """One model in one format on one machine for one load; built by `plan`, which checks it all."""

    name: str
    config: Mapping[str, Any]
    on: Device
    gpus: int
    context: int
    batch: int
    fmt: Format | str
    kv_bits: float
    assume: Assumptions
    parts: tuple[tuple[Part, Fraction], ...] = field(repr=False)
    weight_bytes: int
    kv_layers: tuple[Layer, ...] = field(repr=False)

    @property
    def memory(self) -> float:
        """Bytes of memory of all GPUs."""
        return self.gpus * self.on.memory_bytes

    @functools.cached_property
    def weights(self) -> Figure:
        bits_of = {}
        for part, stored_bits in self.parts:
            role = {"small": "norms and biases", "embed": "embedding"}.get(part.role, part.role)
            params, total = bits_of.get(role, (0, 0))
            bits_of[role] = params + part.params, total + stored_bits
        formula = " + ".join(f"{role} {n:,} x {float(b / n):.4g} bits" for role, (n, b) in bits_of.items())
        source = "shapes of config.json; " + (
            "llama.cpp's rules for this mix (llama-quant.cpp)" if isinstance(self.fmt, str) else self.fmt.source
        )
        return Figure("weights", f"weights, {title(self.fmt)}", self.weight_bytes, "bytes", formula, source)

    @property
    def params(self) -> int:
        """All parameters."""
        return sum(part.params for part, _ in self.parts)

    @property
    def active(self) -> int:
        """Parameters that one token meets: the chosen experts only, and the embedding table only if it is the head."""
        head = tied(self.config)
        return sum(part.params if head and part.role == "embed" else part.active for part, _ in self.parts)

    @property
    def kv(self) -> Figure:
        tokens, copies, value = self.paged(self.context), self.kv_copies, self.cache_bytes(self.context, self.batch)
        groups = {}
        for layer in self.kv_layers:
            if layer.elements:
                groups.setdefault((layer.attention, layer.elements, layer.tokens(tokens)), []).append(layer)
        inner = " + ".join(f"{len(found)} layers {kind} x {n:,} numbers x {kept:,} tokens"
                           for (kind, n, kept), found in groups.items())  # fmt: skip
        formula = f"{self.batch:,} x ({inner}) x {self.kv_bits:g} / 8" + (f" x {copies:g} copies" if copies > 1 else "")
        source = f"config.json, layer by layer (course_lib.kvcache); context rounded up to blocks of {self.assume.page}"
        return Figure("kv", f"KV cache, {self.kv_bits:g} bits", value, "bytes", formula, source)

    @property
    def activations(self) -> Figure:
        (hidden, wide, vocab), rows = self.widths, self._rows(self.context, self.batch)
        value = self.activation_bytes(self.context, self.batch)
        formula = f"{rows:,} tokens x 3 x (hidden {hidden:,} + widest layer {wide:,}) x 2 bytes"
        formula += f" + logits {self.batch:,} x {vocab:,} x 4 bytes"
        formula += f", on each of {self.gpus} GPUs" if self.gpus > 1 else ""
        source = (
            f"assumption: chunks of {self.assume.chunk:,} tokens; three vectors of each width alive at once, as"
            " fits vLLM's logged 2.07 and 2.99 GiB for Llama-3.1-8B at 20,000 and 29,000 tokens (issue 10517)"
        )
        return Figure("activations", "activations", value, "bytes", formula, source)

    @property
    def reserve(self) -> Figure:
        a, value = self.assume, self.reserve_bytes
        formula = f"{a.reserve:.0%} of {self.memory / GIB:g} GiB + {self.gpus} x {a.context_gib:g} GiB"
        source = "assumption: vLLM's gpu_memory_utilization 0.9; context and hidden memory of an RTX 3090 (issue 10517)"
        return Figure("reserve", "reserve: driver, context, graphs", value, "bytes", formula, source)

    @property
    def pieces(self) -> tuple[Figure, ...]:
        """What lies in memory."""
        return self.weights, self.kv, self.activations, self.reserve

    @property
    def total(self) -> float:
        """The sum of the pieces, without their formulas."""
        return self.weight_bytes + self.load_bytes(self.context, self.batch) + self.reserve_bytes

    @property
    def free(self) -> float:
        """Bytes left over; below 0, by how much the plan exceeds the memory."""
        return self.memory - self.total

    @property
    def fits(self) -> bool:
        return self.free >= 0

    @functools.cached_property
    def kv_copies(self) -> float:
        """Copies of the cache under tensor parallelism: more GPUs than key-value heads hold the same heads."""
        kind = next((layer.attention for layer in self.kv_layers if layer.elements), "none")
        heads = 1 if kind in ("MLA", "MQA") else optional(self.config, KV_HEADS) or whole(self.config, HEADS)
        return max(1.0, self.gpus / heads)

    @property
    def reserve_bytes(self) -> int:
        """Bytes that the engine leaves alone, on all GPUs."""
        return int(self.memory * self.assume.reserve + self.gpus * self.assume.context_gib * GIB)

    def load_fits(self, context: int, batch: int) -> bool:
        """Whether another load, all else equal, would fit."""
        return self.weight_bytes + self.reserve_bytes + self.load_bytes(context, batch) <= self.memory

    def load_bytes(self, context: int, batch: int) -> int:
        """Bytes of cache and activations on all GPUs, for a load."""
        return self.cache_bytes(context, batch) + self.activation_bytes(context, batch)

    def cache_bytes(self, context: int, batch: int) -> int:
        """Bytes of the cache of `batch` sequences, in whole blocks."""
        return int(self.kv_of(self.paged(context), batch))

    def activation_bytes(self, context: int, batch: int) -> int:
        """Bytes of intermediate results on all GPUs, for a load."""
        hidden, wide, vocab = self.widths
        return self.gpus * (self._rows(context, batch) * 3 * (hidden + wide) * 2 + batch * vocab * 4)

    def _rows(self, context: int, batch: int) -> int:
        """Tokens in one step: a chunk of prompts, or one token of every sequence."""
        return max(batch, min(self.assume.chunk, context * batch))

    def paged(self, tokens: int) -> int:
        """Tokens rounded up to whole blocks."""
        return -(-tokens // self.assume.page) * self.assume.page

    def kv_of(self, tokens: int, batch: int) -> Fraction:
        """Bytes of the cache of `batch` sequences of so many tokens, on all GPUs together."""
        numbers = sum(n * (tokens if cap is None else min(tokens, cap)) for cap, n in self._kv_numbers)
        return batch * numbers * bits(self.kv_bits) * Fraction(self.kv_copies) / 8

    @functools.cached_property
    def _kv_numbers(self) -> tuple[tuple[int | None, int], ...]:
        """(most tokens kept, numbers a token in all layers that keep so many)."""
        found: dict[int | None, int] = {}
        for layer in self.kv_layers:
            found[layer.cap] = found.get(layer.cap, 0) + layer.elements
        return tuple(found.items())

    @functools.cached_property
    def widths(self) -> tuple[int, int, int]:
        """hidden, the widest intermediate result (queries, a dense layer, all of a token's experts), vocabulary."""
        c = self.config
        hidden, heads = whole(c, WIDTH), whole(c, HEADS)
        found = [heads * (optional(c, "head_dim") or hidden // heads)]
        found += [part.shape[0] * part.used for part, _ in self.parts if part.name.endswith("up_proj.weight")]
        return hidden, max(found), whole(c, "vocab_size")


def plan(config: Mapping[str, Any] | str | Path | Any, gpu: str | Device, context: int = 8192, batch: int = 1,
         weights: str | float | Format = "bf16", kv_bits: float = 16, gpus: int = 1,
         assume: Assumptions | None = None, name: str = "") -> Plan:  # fmt: skip
    """The plan for a model (its released config) in a weight format, on `gpus` GPUs of a kind, for a load.

    context, batch  tokens a sequence, sequences at once
    kv_bits         stored bits of one cached number, scales included (4.5 for 4 bits with a 16-bit scale per 32)

    ValueError says which argument is wrong; a plan that does not fit is a Plan all the same (advice says more).

    >>> llama = dict(model_type="llama", hidden_size=4096, intermediate_size=14336, num_hidden_layers=32,
    ...              num_attention_heads=32, num_key_value_heads=8, vocab_size=128256)
    >>> found = plan(llama, "rtx-3090", context=8192)
    >>> found.weights.shown(), found.kv.shown(), found.fits
    ('14.96 GiB', '1.00 GiB', True)
    """
    keys, fmt = released(config), weight_format(weights)
    for value, what in ((context, "context"), (batch, "batch"), (gpus, "gpus")):
        count(value, what)
    bits(kv_bits)
    parts, weight_bytes, kv_layers = _sized(json.dumps(keys, sort_keys=True, default=str), fmt)
    return Plan(name or str(keys.get("model_type", "model")), keys, device(gpu), gpus, context, batch, fmt, kv_bits,
                assume or Assumptions(), parts, weight_bytes, kv_layers)  # fmt: skip


@functools.lru_cache(maxsize=256)
def _sized(config: str, fmt: Format | str) -> tuple[tuple[tuple[Part, Fraction], ...], int, tuple[Layer, ...]]:
    """The parts of a config (as JSON) with their bits, the bytes of all weights, and the layers of the cache."""
    keys = json.loads(config)
    parts = tuple(stored(keys, fmt))
    return parts, int(sum(bits for _, bits in parts) / 8), tuple(layers(keys))
