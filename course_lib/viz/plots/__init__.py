"""Static plots: one message each, numbers in, a figure out; `viz.show(plots.footprints(sizes), alt="…")` displays it.

Most return a matplotlib figure, `pipeline` a Scene, which also follows a dark theme; `show` takes either.
"""

from course_lib.lazy import names

_NAMES = {
    "compare_histograms": "numbers",
    "sqnr_by_bits": "numbers",
    "footprints": "sizes",
    "roofline": "sizes",
    "ladder": "quality",
    "my_curve": "quality",
    "kl_by_way": "quality",
    "pipeline": "pipeline",
    "gpu_speedup": "gpu",
    "gpu_attention": "gpu",
}
__all__ = list(_NAMES)
__getattr__, __dir__ = names(__name__, _NAMES)
