"""The keys and values that a model keeps of what it has read: how many bytes, and how to keep them in fewer."""

from course_lib.kvcache.layers import Layer, layers
from course_lib.kvcache.sizing import bytes_per_token, crossover_tokens, kv_bytes

__all__ = ["Layer", "bytes_per_token", "crossover_tokens", "kv_bytes", "layers"]
