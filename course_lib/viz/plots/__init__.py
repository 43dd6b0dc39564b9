"""Static plots: one message each, numbers in, a figure out; `viz.show(plots.histogram(w), alt="…")` displays it.

Most return a matplotlib figure, `ruler` and `pipeline` a Scene, which also follows a dark theme; `show` takes either.
"""

import importlib

_HOMES = {
    "ruler": ".numbers",
    "histogram": ".numbers",
    "compare_histograms": ".numbers",
    "sqnr_by_bits": ".numbers",
    "footprints": ".sizes",
    "roofline": ".sizes",
    "granularity": ".sizes",
    "ladder": ".quality",
    "my_curve": ".quality",
    "pipeline": ".pipeline",
    "gpu_speedup": ".gpu",
    "gpu_attention": ".gpu",
}
__all__ = list(_HOMES)


def __getattr__(name):
    if name not in _HOMES:
        raise AttributeError(f"course_lib.viz.plots has no {name!r}; it has {', '.join(_HOMES)}")
    value = getattr(importlib.import_module(_HOMES[name], __name__), name)
    globals()[name] = value  # a function, not the module that the import has just put here
    return value


def __dir__():
    return sorted({*globals(), *_HOMES})
