"""A plan's figures with their formulas, and what it has to assume."""

from __future__ import annotations

from dataclasses import dataclass

from course_lib.capacity.bytes import GB, GIB
from course_lib.kvcache.sizing import count


@dataclass(frozen=True)
class Assumptions:
    """What a plan cannot know, with the values of a server that nobody tuned.

    reserve      share of the memory that the engine does not touch: vLLM's gpu_memory_utilization of 0.9
    context_gib  a GPU's own part: CUDA context, libraries, and what the driver hides (0.35 + 0.42 GiB of an RTX 3090 in
                 the log of vLLM issue 10517)
    chunk        prompt tokens in one step: vLLM's max_num_batched_tokens
    page         tokens of a cache block: vLLM's block_size
    """

    reserve: float = 0.1
    context_gib: float = 0.75
    chunk: int = 2048
    page: int = 16

    def __post_init__(self) -> None:
        if not 0 <= self.reserve < 1:
            raise ValueError(f"reserve must be a share from 0 up to, but not including, 1, got {self.reserve!r}")
        if not 0 <= self.context_gib < 1024:
            raise ValueError(f"context_gib must be GiB from 0 up, got {self.context_gib!r}")
        count(self.chunk, "chunk")
        count(self.page, "page")


@dataclass(frozen=True)
class Figure:
    """A number and how it came about. unit: bytes, tokens, tokens/s, sequences."""

    key: str
    title: str
    value: float
    unit: str
    formula: str
    source: str

    def shown(self, gb: bool = False) -> str:
        """The number as people write it; bytes in GiB, or in GB of 10^9 with gb.

        >>> cache = Figure("kv", "KV cache", 2**35, "bytes", "", "")
        >>> cache.shown(), cache.shown(gb=True)
        ('32.00 GiB', '34.36 GB')
        """
        if self.unit == "bytes":
            return size(self.value, gb)
        return f"{self.value:,.0f} {self.unit}" if self.value >= 100 else f"{self.value:.3g} {self.unit}"


def size(n_bytes: float, gb: bool = False) -> str:
    """Bytes as "14.96 GiB", or as "16.06 GB" with gb."""
    return f"{n_bytes / (GB if gb else GIB):,.2f} {'GB' if gb else 'GiB'}"
