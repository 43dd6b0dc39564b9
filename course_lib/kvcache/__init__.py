"""The keys and values that a model keeps of what it has read: how many bytes, and how to keep them in fewer."""

from course_lib.kvcache.format import KVFormat, stored_bytes
from course_lib.kvcache.layers import Layer, layers
from course_lib.kvcache.paging import block_bytes, paged_bytes, sequences_in
from course_lib.kvcache.pool import PagePool
from course_lib.kvcache.published import MODELS
from course_lib.kvcache.sizing import bytes_per_token, crossover_tokens, kv_bytes
from course_lib.kvcache.state import state_bytes
from course_lib.lazy import names

__all__ = [
    "MODELS",
    "KVFormat",
    "Layer",
    "PagePool",
    "QuantizedKVCache",
    "block_bytes",
    "bytes_per_token",
    "crossover_tokens",
    "kv_bytes",
    "layers",
    "paged_bytes",
    "sequences_in",
    "state_bytes",
    "stored_bytes",
]
__getattr__, __dir__ = names(__name__, {"QuantizedKVCache": "cache"})  # which needs transformers
