"""Which part of a model lies on which GPU when it does not fit on one: llama.cpp's rule, and the best plan under it.

llama.cpp sees a row of slots: the layers from first to last, then the output layer (norm and head). `-ngl k` puts the
*last* k slots on the GPUs, so the output layer goes first; what is left, and always the input embedding, stays in RAM.
Several GPUs take neighbouring slots in their order, as many as `--tensor-split` says in proportion. A layer's KV cache
lies with the layer. Source: load_tensors in llama.cpp's src/llama-model.cpp, as it is since its pull request 18148 of
December 2025; before that the output layer went last, with -ngl at layers + 1.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from course_lib.capacity.bytes import GIB
from course_lib.capacity.devices import Device, device

MARGIN_BYTES = GIB  # left free on every GPU for driver, desktop and fragments, as llama.cpp's own --fit-target does


@dataclass(frozen=True)
class Needs:
    """What a model asks for, in bytes, before it is anywhere.

    layers     of each layer's weights, from the first to the last
    kv         of each layer's cache; 0 for all where left out
    output     of the output norm and head; a tied model keeps a second copy of its embedding here
    embedding  of the input embedding, which stays in RAM
    compute    of a GPU's buffer for intermediate results
    caps       tokens from which each layer's cache no longer grows; inf for all where left out
    """

    layers: tuple[float, ...]
    kv: tuple[float, ...] = ()
    output: float = 0
    embedding: float = 0
    compute: float = 0
    caps: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        layers = tuple(self.layers)
        kv = tuple(self.kv) or (0,) * len(layers)
        caps = tuple(self.caps) or (math.inf,) * len(layers)
        for name, found in (("kv", kv), ("caps", caps)):
            if not layers or len(found) != len(layers):
                raise ValueError(f"layers must be one or more sizes, and {name} as many; got {len(layers)} and"
                                 f" {len(found)}")  # fmt: skip
        if wrong := [cap for cap in caps if not cap > 0]:
            raise ValueError(f"caps must be tokens above 0, got {wrong[0]!r}")
        for name, sizes in (("layers", layers), ("kv", kv), ("output", [self.output]), ("embedding", [self.embedding]),
                            ("compute", [self.compute])):  # fmt: skip
            wrong = [size for size in sizes if not 0 <= size < math.inf]
            if wrong:
                raise ValueError(f"{name} must be bytes from 0 up, got {wrong[0]!r}")
        object.__setattr__(self, "layers", layers)
        object.__setattr__(self, "kv", kv)
        object.__setattr__(self, "caps", caps)

    @property
    def slots(self) -> tuple[float, ...]:
        """Bytes of each slot on a GPU: every layer with its cache, then the output layer."""
        return (*(w + c for w, c in zip(self.layers, self.kv, strict=True)), self.output)


@dataclass(frozen=True)
class Share:
    """One GPU's part: slots first … end - 1 of the model, and what its memory then holds, in bytes."""

    name: str
    memory: float
    first: int
    end: int
    weights: float
    kv: float
    compute: float
    margin: float

    @property
    def free(self) -> float:
        """What is left over; never negative in a plan."""
        return self.memory - self.margin - self.compute - self.weights - self.kv


@dataclass(frozen=True)
class Plan:
    """Where everything lies: one Share a GPU, the rest in RAM."""

    needs: Needs
    shares: tuple[Share, ...]

    @property
    def ngl(self) -> int:
        """What to pass as -ngl: slots on GPUs, the output layer counted."""
        return sum(share.end - share.first for share in self.shares)

    @property
    def layers_on_gpu(self) -> int:
        """Layers on GPUs, the output layer not counted."""
        return max(0, self.ngl - 1)

    @property
    def whole(self) -> bool:
        """Whether every slot is on a GPU."""
        return self.ngl == len(self.needs.layers) + 1

    @property
    def tensor_split(self) -> tuple[int, ...]:
        """What to pass as --tensor-split: slots of each GPU."""
        return tuple(share.end - share.first for share in self.shares)

    @property
    def ram_bytes(self) -> float:
        """What stays in RAM: the embedding, the layers that found no place, and their cache."""
        return self.needs.embedding + sum(self.needs.slots[: len(self.needs.slots) - self.ngl])

    @property
    def short_bytes(self) -> float:
        """By how much the slots in RAM exceed all that is left free on the GPUs; 0 when the plan is whole."""
        left = sum(self.needs.slots[: len(self.needs.slots) - self.ngl])
        return max(0.0, left - sum(max(0.0, share.free) for share in self.shares))


def plan(needs: Needs, gpus: Sequence[str | Device | float], margin: float = MARGIN_BYTES) -> Plan:
    """The plan with the most slots on the GPUs: they are filled from the last slot down, the last GPU first.

    gpus    names of capacity.DEVICES, Devices, or plain bytes of memory, in the order in which llama.cpp lists them
    margin  bytes left free on every GPU

    >>> even = Needs(layers=[5 * GIB / 32] * 32, compute=0.5 * GIB)        # a file of 5 GiB, 32 layers alike
    >>> found = plan(even, [4 * GIB], margin=0)                            # 4 GiB usable, 0.5 reserved
    >>> found.layers_on_gpu, found.ngl
    (22, 23)
    """
    named = [_named(gpu) for gpu in gpus]
    if not named:
        raise ValueError("gpus must name at least one GPU")
    if not 0 <= margin < math.inf:
        raise ValueError(f"margin must be bytes from 0 up, got {margin!r}")
    end, shares = len(needs.slots), []
    for name, memory in reversed(named):
        room, first = memory - margin - needs.compute, end
        while first > 0 and needs.slots[first - 1] <= room:
            first -= 1
            room -= needs.slots[first]
        shares.append(_share(needs, name, memory, first, end, margin))
        end = first
    return Plan(needs, tuple(reversed(shares)))


def advice(found: Plan, context: int = 0, kv_bits: float = 16) -> str:
    """Two sentences: what fits, and if not all does, how much is missing and which single change would be enough.

    context, kv_bits  as planned; shorter contexts and caches are proposed where they are known and would do
    """
    layers = len(found.needs.layers)
    if found.whole:
        least = min(share.free for share in found.shares)
        free = f"{_size(least)} stay free" if len(found.shares) == 1 else f"at least {_size(least)} stay free on each"
        return f"All {layers} layers and the output layer are on the GPUs; {free}."
    if found.ngl == 0:
        most = max(0.0, *(share.free for share in found.shares)) if found.shares else 0.0
        told = (
            f"Nothing fits: the output layer needs {_size(found.needs.output)}, and no GPU has more than "
            f"{_size(most)} left after margin and compute buffer."
        )
    else:
        told = f"{found.layers_on_gpu} of {layers} layers and the output layer are on the GPUs; for all of them "
        told += f"{_size(found.short_bytes)} are missing." if found.short_bytes else "there is room, but in pieces."
    enough = _remedies(found, context, kv_bits)
    return f"{told} Enough would be {', or '.join(enough)}." if enough else f"{told} It needs more memory."


def _remedies(found: Plan, context: int, kv_bits: float) -> list[str]:
    """What to change so that everything lies on the GPUs, each enough by itself; tried, not estimated."""
    steps, caps = context // 256, found.needs.caps

    def kept(n: int) -> list[float]:
        """The share of its cache that each layer has at n steps of context: all of it once that no longer grows."""
        return [min(n * 256, cap) / min(steps * 256, cap) for cap in caps]

    tokens = 256 * (bisect.bisect_left(range(1, steps), True, key=lambda n: not _whole(found, kept(n))))
    enough = [f"a context of {tokens:,}"] if 0 < tokens < context else []
    if any(found.needs.kv):
        types = [(b, name) for b, name in ((8.5, "q8_0"), (4.5, "q4_0")) if b < kv_bits]
        fit = [(b, name) for b, name in types if _whole(found, [b / kv_bits] * len(caps))]
        enough += [f"a cache of {b:g} bits ({name})" for b, name in fit][:1]
    less = next((percent for percent in range(1, 76) if _whole(found, weights=1 - percent / 100)), None)
    return enough + ([f"weights {less} % smaller"] if less else [])


def _whole(found: Plan, kv: Sequence[float] = (), weights: float = 1.0) -> bool:
    """Whether all slots would find a place if each layer's cache, and all weights, were so many times as large."""
    needs = replace(
        found.needs,
        layers=tuple(weights * n for n in found.needs.layers),
        kv=tuple(share * n for share, n in zip(kv or [1.0] * len(found.needs.kv), found.needs.kv, strict=True)),
        output=weights * found.needs.output,
    )
    return plan(needs, [share.memory for share in found.shares], found.shares[0].margin).whole


def _share(needs: Needs, name: str, memory: float, first: int, end: int, margin: float) -> Share:
    layers = slice(first, min(end, len(needs.layers)))
    output = needs.output if first < end == len(needs.layers) + 1 else 0
    return Share(name, memory, first, end, sum(needs.layers[layers]) + output, sum(needs.kv[layers]), needs.compute,
                 margin)  # fmt: skip


def _named(gpu: str | Device | float) -> tuple[str, float]:
    if isinstance(gpu, (str, Device)):
        found = device(gpu)
        return found.name, found.memory_bytes
    if isinstance(gpu, bool) or not isinstance(gpu, (int, float)) or not 0 < gpu < math.inf:
        raise ValueError(f"gpus must be names, Devices or bytes of memory above 0, got {gpu!r}")
    return _size(gpu), float(gpu)


def _size(n_bytes: float) -> str:
    return f"{n_bytes / GIB:.2f} GiB" if n_bytes >= GIB / 10 else f"{n_bytes / 2**20:.1f} MiB"
