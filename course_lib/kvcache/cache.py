"""QuantizedKVCache: a cache for transformers' `generate` that keeps most keys and values in a few bits.

    attention reads     sinks | decoded blocks | recent tokens | the tokens of this step, all as they came
    afterwards          blocks of `group` tokens leave the recent window and are packed

What is stored depends on the tokens alone, not on how many came at a time. On a GPU a step of one token reads the codes
themselves: the layer keeps them in pages, and `attend` has a kernel go over those. Importing this module loads
transformers.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache, CacheLayerMixin

from course_lib.kernels import dispatch
from course_lib.kvcache import attend
from course_lib.kvcache.format import KVFormat, stored_bytes
from course_lib.kvcache.layers import layers
from course_lib.kvcache.page_store import PageStore, joined, why_not
from course_lib.kvcache.store import store


class QuantizedKVLayer(CacheLayerMixin):
    """One layer: `keys` and `values` are the recent window (batch, kv_heads, tokens, dim), the rest lies in stores.

    crop gives back whole blocks; a block that is cut in two is decoded, and its first tokens go to the window as
    they then are. So cropping as far as the window reaches leaves no trace, and farther it cannot undo rounding.
    """

    is_croppable = True
    is_sliding = False

    def __init__(self, format: KVFormat, config: Any = None):
        super().__init__()
        self.format, self.config = format, config
        self.reset()

    def reset(self) -> None:
        self.keys = self.values = self.sinks = None
        self.stores = (store(self.format, self.format.key_axis), store(self.format, self.format.value_axis))
        self.is_initialized, self.length, self.ran = False, 0, "nothing yet"

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        self.dtype, self.device = key_states.dtype, key_states.device
        self.keys, self.values = (t[:, :, :0].clone() for t in (key_states, value_states))
        self.sinks = (self.keys.clone(), self.values.clone())
        self.is_initialized = True
        self.why = self._why_not(key_states, value_states)
        if not self.why:
            self.stores = (PageStore(self.format, "keys"), PageStore(self.format, "values"))

    def _why_not(self, keys: Tensor, values: Tensor) -> str:
        """Why no kernel is to attend over this layer."""
        if why := dispatch.unavailable(keys):
            return why
        if getattr(self.config, "_attn_implementation", None) != attend.NAME:
            return "the cache was not made with the config of a model that attends by torch's sdpa"
        if keys.shape[-1] != values.shape[-1]:
            return f"keys have {keys.shape[-1]} channels and values {values.shape[-1]}"
        return why_not(self.format, keys.shape[-1])

    def update(self, key_states: Tensor, value_states: Tensor, *args, **kwargs) -> tuple[Tensor, Tensor]:
        """Add tokens (batch, kv_heads, new, dim); return all keys and values that attention is to read now."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        self.keys, self.values = torch.cat([self.keys, key_states], 2), torch.cat([self.values, value_states], 2)
        self.length += key_states.shape[2]
        if not self.why and key_states.shape[2] == 1 and self.stores[0].tokens:
            recent = self.keys.view_as(self.keys)
            recent.kept = self
            return recent, self.values
        more = "several tokens came at a time" if key_states.shape[2] > 1 else "no token is quantized yet"
        self.ran = f"reference, because {self.why or more}"
        return self.finish()

    def finish(self, decode: bool = True) -> tuple[Tensor, Tensor] | None:
        """End a step: keys and values of all tokens as attention reads them, then tokens move into the stores."""
        seen = self.decoded() if decode else None
        self._settle()
        return seen

    def plain(self) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """Keys, and values, of the sinks and of the recent tokens."""
        return (self.sinks[0], self.keys), (self.sinks[1], self.values)

    def pages(self):
        """The quantized tokens as `kernels.kv.Pages`."""
        return joined(*self.stores)

    def decoded(self) -> tuple[Tensor, Tensor]:
        """Keys and values of all tokens as attention reads them, in the model's dtype."""
        return tuple(
            _join([sink, kept.decode() if kept.tokens else None, recent])
            for sink, kept, recent in zip(self.sinks, self.stores, (self.keys, self.values), strict=True)
        )

    def _settle(self) -> None:
        """Move tokens from the recent window to the sinks and to the stores, as the format's split has it."""
        sinks, quantized, _ = self.format.split(self.length)
        fill, move = sinks - self.sinks[0].shape[2], max(0, quantized - self.stores[0].tokens)
        if not fill and not move:
            return
        recent = (self.keys, self.values)
        if fill:
            self.sinks = tuple(torch.cat([s, t[:, :, :fill]], 2) for s, t in zip(self.sinks, recent, strict=True))
        if move:
            for kept, t in zip(self.stores, recent, strict=True):
                kept.append(t[:, :, fill : fill + move])
        self.keys, self.values = (t[:, :, fill + move :].clone() for t in recent)  # cloned: a view would hold it all

    def get_seq_length(self) -> int:
        return self.length

    def get_max_length(self) -> int:
        return -1

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.length + query_length, 0

    def crop(self, tokens_to_remove: int) -> None:
        """Forget the last -tokens_to_remove tokens (transformers passes them as a negative number)."""
        if tokens_to_remove > 0:
            raise ValueError(f"tokens_to_remove must be 0 or negative, as in transformers, got {tokens_to_remove}")
        if not tokens_to_remove or not self.is_initialized:
            return
        keep = max(0, self.length + tokens_to_remove)
        sinks, packed = self.sinks[0].shape[2], self.stores[0].tokens
        whole = min(packed, max(0, keep - sinks) // self.format.group * self.format.group)
        recent = self.decoded() if whole < packed else (self.keys, self.values)
        start = sinks + whole if whole < packed else 0
        stop = keep if whole < packed else keep - sinks - packed
        self.keys, self.values = (t[:, :, start : max(start, stop)].clone() for t in recent)
        self.sinks = tuple(t[:, :, :keep].clone() for t in self.sinks)
        if whole < packed:
            for kept in self.stores:
                kept.cut(whole)
        self.length = keep

    def reorder_cache(self, beam_idx: Tensor) -> None:
        self._each(lambda t: t.index_select(0, beam_idx.to(t.device)))

    def batch_repeat_interleave(self, repeats: int) -> None:
        self._each(lambda t: t.repeat_interleave(repeats, dim=0))

    def batch_select_indices(self, indices: Tensor) -> None:
        self._each(lambda t: t[indices])

    def _each(self, change) -> None:
        """Replace every tensor that has a batch axis."""
        if not self.is_initialized:
            return
        self.keys, self.values = change(self.keys), change(self.values)
        self.sinks = tuple(change(t) for t in self.sinks)
        for kept in self.stores:
            if kept.tokens:
                kept.each(change)

    @property
    def nbytes(self) -> int:
        """Bytes of memory behind the tensors that this layer holds on to."""
        if not self.is_initialized:
            return 0
        held = [self.keys, self.values, *self.sinks, *self.stores[0].tensors, *self.stores[1].tensors]
        return sum(t.untyped_storage().nbytes() for t in held)


class QuantizedKVCache(Cache):
    """A cache whose older tokens take a few bits: pass it to generate, or to the model, as past_key_values.

    format is a KVFormat or one of its names; more fields may follow, as in QuantizedKVCache(config, "int2", group=64).
    ValueError for a model with windows, with recurrent layers or with MLA.

    Given the config of a model that attends by torch's sdpa, on a GPU (or inside `kernels.dispatch.prefer("kernels")`),
    it turns that config to `attend`, which is sdpa for every other cache; `.ran` then says what attended. Pages have
    scales of 32 bits and room for more tokens, which nbytes counts.

    >>> cache = QuantizedKVCache(dict(num_hidden_layers=1, num_attention_heads=2, hidden_size=64), "int2", residual=0)
    >>> k, v = cache.update(torch.randn(1, 2, 32, 32), torch.randn(1, 2, 32, 32), 0)
    >>> cache.nbytes, 2 * 2 * 32 * 32 * 3 / 8                       # 2 bits and, a group of 32, a scale and an offset
    (1536, 1536.0)
    """

    def __init__(self, config: Any, format: KVFormat | str = "int4", **fields: Any):
        self.format = format if isinstance(format, KVFormat) else KVFormat(format, **fields)
        if isinstance(format, KVFormat) and fields:
            raise ValueError(f"fields must be inside the KVFormat, got {', '.join(fields)} beside it")
        stored_bytes(config, 0, self.format)  # refuses what it cannot hold, in one sentence
        found = layers(config)
        if any(layer.attention == "none" for layer in found):
            raise ValueError("config must have keys and values in every layer: this cache holds no recurrent state")
        if dispatch.preferred() == "kernels" or (dispatch.preferred() == "auto" and torch.cuda.is_available()):
            attend.install(config)
        super().__init__(layers=[QuantizedKVLayer(self.format, config) for _ in found])

    @property
    def nbytes(self) -> int:
        """Bytes that the cache holds on to between two steps; equal to stored_bytes, but for pages."""
        return sum(layer.nbytes for layer in self.layers)

    @property
    def ran(self) -> list[str]:
        """What attended last, a layer each: a kernel's name, or "reference, because …"."""
        return [layer.ran for layer in self.layers]

    def decoded(self, layer_idx: int) -> tuple[Tensor, Tensor]:
        """Keys and values of a layer as attention would read them now, (batch, kv_heads, tokens, dim)."""
        return self.layers[layer_idx].decoded()


def _join(parts: list[Tensor | None]) -> Tensor:
    """Parts one after the other along the tokens, in the dtype of the last one."""
    last = parts[-1]
    parts = [t.to(last.dtype) for t in parts if t is not None and t.shape[2]]
    return parts[0] if len(parts) == 1 else torch.cat(parts, 2) if parts else last
