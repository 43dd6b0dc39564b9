"""What a few bits can hold: number formats, registered by name, and how their codes are packed.

integer, nf4 and microscaling are codecs of the registry, and minifloat has the elements of microscaling. ggml's whole
blocks stand for themselves; packing lays codes side by side in bytes.
"""

from course_lib.lazy import names

_NAMES = dict.fromkeys(("registry", "integer", "nf4", "minifloat", "microscaling", "ggml", "packing"))
__all__ = list(_NAMES)
__getattr__, __dir__ = names(__name__, _NAMES)
