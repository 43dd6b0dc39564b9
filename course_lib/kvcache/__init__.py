"""The keys and values that a model keeps of what it has read: how many bytes, and how to keep them in fewer."""

from course_lib.kvcache.layers import Layer, layers
from course_lib.kvcache.paging import block_bytes, blocks_in, paged_bytes, reconcile, sequences_in
from course_lib.kvcache.published import MODELS
from course_lib.kvcache.sizing import bytes_per_token, crossover_tokens, kv_bytes
from course_lib.kvcache.state import state_bytes
from course_lib.kvcache.stored import KVFormat, stored_bytes

__all__ = [
    "MODELS",
    "KVFormat",
    "Layer",
    "QuantizedKVCache",
    "block_bytes",
    "blocks_in",
    "bytes_per_token",
    "crossover_tokens",
    "kv_bytes",
    "layers",
    "paged_bytes",
    "reconcile",
    "sequences_in",
    "state_bytes",
    "stored_bytes",
]


def __getattr__(name):
    """Load QuantizedKVCache on first use: it needs transformers."""
    if name != "QuantizedKVCache":
        raise AttributeError(f"course_lib.kvcache has no public name {name!r}; it has {', '.join(__all__)}")
    from course_lib.kvcache.cache import QuantizedKVCache

    return QuantizedKVCache
