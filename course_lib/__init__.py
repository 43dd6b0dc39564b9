"""The library behind the course: how a language model's weights become a few bits each.

>>> from course_lib import Scheme, quantize, dequantize

Every public name is loaded on first use, so `import course_lib` itself costs next to nothing and
`from course_lib import quantize` costs little more than `import torch`.
"""

import importlib

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

__all__ = ["Scheme", "QTensor", "quantize", "dequantize", "models", "check", "predict", "warmup", "mine"]


def __getattr__(name):
    """Load a public name of the library on its first use."""
    if name not in _NAMES:
        raise AttributeError(f"course_lib has no public name {name!r}; it has {', '.join(__all__)}")
    home = _NAMES[name]
    module = importlib.import_module("." + (home or name), __name__)
    value = getattr(module, name) if home else module
    globals()[name] = value
    return value


def __dir__():
    """List what is loaded and what can be."""
    return sorted({*globals(), *_NAMES})
