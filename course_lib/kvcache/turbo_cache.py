"""TurboKVCache: QuantizedKVCache with keys, values or both in TurboQuant's code. Importing it loads transformers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from course_lib.kvcache.cache import QuantizedKVCache, QuantizedKVLayer
from course_lib.kvcache.format import KVFormat
from course_lib.kvcache.layers import layers
from course_lib.kvcache.turbo import Turbo


class TurboStore:
    """Keys or values (batch, kv_heads, tokens, dim) in a Turbo code; the methods are `store.IntStore`'s."""

    def __init__(self, turbo: Turbo):
        self.turbo, self.held = turbo, []

    @property
    def tokens(self) -> int:
        return self.held[0].shape[2] if self.held else 0

    def append(self, x: Tensor) -> None:
        """Encode more tokens."""
        new = self.turbo.encode(x)
        self.held = [torch.cat(pair, 2) for pair in zip(self.held, new, strict=True)] if self.held else list(new)

    def decode(self) -> Tensor:
        """All tokens, float32."""
        return self.turbo.decode(*self.held)

    def cut(self, tokens: int) -> None:
        """Keep only the first so many tokens."""
        self.held = [t[:, :, :tokens].clone() for t in self.held] if tokens else []

    def each(self, change: Callable[[Tensor], Tensor]) -> None:
        """Replace every tensor with a batch axis by change(tensor)."""
        self.held = [change(t) for t in self.held]

    @property
    def tensors(self) -> list[Tensor]:
        return list(self.held)


class TurboKVLayer(QuantizedKVLayer):
    """One layer; `kinds` are the Turbo of the keys and that of the values, None where the format's own store stays."""

    def __init__(self, format: KVFormat, config: Any, kinds: tuple[Turbo | None, Turbo | None]):
        self.kinds = kinds
        super().__init__(format, config)

    def reset(self) -> None:
        super().reset()
        pairs = zip(self.kinds, self.stores, strict=True)
        self.stores = tuple(kept if turbo is None else TurboStore(turbo) for turbo, kept in pairs)

    def _why_not(self, keys: Tensor, values: Tensor) -> str:
        return "there is no kernel for TurboQuant's codes" if any(self.kinds) else super()._why_not(keys, values)


class TurboKVCache(QuantizedKVCache):
    """A cache whose older keys and values are in TurboQuant's code, or one of the two; None: as `format` has it.

    format and fields as in QuantizedKVCache: they say which tokens stay exact (sinks, residual, whole groups leaving),
    so that two caches may be compared at equal bytes. ValueError where a Turbo is for heads of another size.

    >>> from course_lib.kvcache.turbo import random_rotation
    >>> turbo = Turbo(2.75, random_rotation(64))
    >>> config = dict(num_hidden_layers=1, num_attention_heads=2, hidden_size=128)
    >>> cache = TurboKVCache(config, turbo, turbo, "int2", residual=0)
    >>> k, v = cache.update(torch.randn(1, 2, 32, 64), torch.randn(1, 2, 32, 64), 0)
    >>> cache.nbytes, 2 * 2 * 32 * 64 * 3 / 8
    (3072, 3072.0)
    """

    def __init__(
        self, config: Any, keys: Turbo | None, values: Turbo | None, format: KVFormat | str = "int2", **fields: Any
    ):
        super().__init__(config, format, **fields)
        for layer in layers(config):
            for name, turbo, dim in (("keys", keys, layer.key_dim), ("values", values, layer.value_dim)):
                if turbo is not None and len(turbo.R) != dim:
                    raise ValueError(f"{name} must be a Turbo of {dim} channels, as the heads have, got {len(turbo.R)}")
        self.layers = [TurboKVLayer(self.format, config, (keys, values)) for _ in self.layers]
