"""The library behind the course: how a language model's weights become a few bits each.

>>> from course_lib import Scheme, quantize, dequantize

Every public name is loaded on first use, so `import course_lib` itself costs next to nothing and
`from course_lib import quantize` costs little more than `import torch`.
"""

from course_lib.lazy import names

__version__ = "0.1.0"

# public name -> module that holds it; a name that is itself a module of the library maps to None
_NAMES = {
    "Scheme": "scheme",
    "QTensor": "qtensor",
    "quantize": "qtensor",
    "dequantize": "qtensor",
    "check": "checks",
    "predict": "checks",
    "warmup": "checks",
    "mine": "checks",
    "review": "checks",
    "observers": None,
    "formats": None,
    "kernels": None,
    "models": None,
    "calibrate": None,
    "artifacts": None,
    "kvcache": None,
    "capacity": None,
    "evaluate": None,
    "deploy": None,
    "viz": None,
    "checks": None,
}

__all__ = ["Scheme", "QTensor", "quantize", "dequantize", "models", "check", "predict", "warmup", "mine", "review"]
__getattr__, __dir__ = names(__name__, _NAMES)
