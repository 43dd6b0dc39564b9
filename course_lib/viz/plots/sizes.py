"""Plots of bytes and speed: what fits, what a scale costs, what bounds a step."""

import numpy as np

from course_lib.viz.axis import number
from course_lib.viz.look import new_figure, styled
from course_lib.viz.palette import light


@styled
def footprints(sizes, unit="GB", limit=None, limit_name="memory", title=""):
    """Horizontal bars, the largest on top: `sizes` maps a name to its size in `unit`; `limit` draws a dashed line.

    `footprints({"FP16": 140, "INT8": 70, "packed Q4": 43, "INT4": 35}, limit=80, limit_name="one 80 GB card")`
    """
    names, values = list(sizes), [float(v) for v in sizes.values()]
    figure, axes = new_figure(0.9 + 0.46 * len(names))
    fits = [limit is None or value <= limit for value in values]
    bars = axes.barh(names, values, height=0.66, color=[light("blue") if ok else light("paper") for ok in fits])
    for bar, value, ok in zip(bars, values, fits, strict=True):
        if not ok:
            bar.set(hatch="///", edgecolor=light("blue"), linewidth=1.5)
        words = f"{number(value)} {unit}" + ("" if ok else ", does not fit")
        at, weight = (value, bar.get_y() + bar.get_height() / 2), "bold" if ok else "normal"
        axes.annotate(words, at, (7, 0), textcoords="offset points", va="center", weight=weight, bbox=_paper())
    if limit is not None:
        axes.axvline(limit, color=light("ink"), linestyle=(0, (5, 4)), linewidth=1.6)
        axes.annotate(f"{limit_name}: {number(limit)} {unit}", (limit, 1), (6, 4), xycoords=("data", "axes fraction"),
                      textcoords="offset points", color=light("ink"), bbox=_paper())  # fmt: skip
    axes.invert_yaxis()
    axes.set(title=title, xticks=[], xlim=(0, max(values + [limit or 0]) * 1.28))
    axes.title.set_y(1.06 if limit is not None else 1.0)
    axes.spines[["bottom"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    return figure


@styled
def roofline(device, points=(), title=""):
    """Operations a second against operations a byte on one device (name or capacity.Device), log-log.

    `points` is a list of (name, operations a byte): where a step with that intensity stands under the roof.
    """
    from course_lib.capacity import device as find
    from course_lib.capacity import ridge_point

    on = find(device)
    ridge, peak = ridge_point(on), on.flops_per_s
    figure, axes = new_figure(3.6)
    low, high = min([0.5, *(p[1] for p in points)]) / 1.5, max([ridge * 8, *(2 * p[1] for p in points)])
    x = np.array([low, ridge, high])
    axes.loglog(x, np.minimum(x * on.bytes_per_s, peak) / 1e12, color=light("ink"), linewidth=2.6)
    axes.fill_between([low, ridge], [low * on.bytes_per_s / 1e12, peak / 1e12], 1e-9, color=light("sky"), alpha=0.35)
    for k, (name, intensity) in enumerate(points):
        y = min(intensity * on.bytes_per_s, peak) / 1e12
        axes.plot(intensity, y, "oDs^v"[k % 5], color=light("red"), markeredgecolor=light("paper"), markersize=10)
        axes.annotate(f"{name}: {number(y)} TFLOP/s", (intensity, y), (12, -13), textcoords="offset points",
                      weight="bold", color=light("red"), bbox=_paper())  # fmt: skip
    axes.set_ylim(low * on.bytes_per_s / 1e12, peak / 1e12 * 3)
    axes.annotate("the bytes set the pace", (ridge / 12, peak / 1e12 * 1.25), ha="center", color=light("muted"))
    axes.annotate("the arithmetic sets the pace", (ridge * 1.1, peak / 1e12 * 1.25), color=light("muted"))
    axes.annotate(f"{number(ridge)} operations a byte", (ridge, axes.get_ylim()[0]), (5, 6), textcoords="offset points",
                  color=light("muted"))  # fmt: skip
    axes.axvline(ridge, color=light("faint"), linestyle=(0, (4, 4)), zorder=0)
    axes.set(title=title or on.title, xlabel="operations per byte moved", ylabel="TFLOP/s")
    return figure


def _paper():
    return {"facecolor": light("paper"), "edgecolor": "none", "alpha": 0.85, "pad": 1.2}
