"""Plots of numbers: where they lie, which marks they fall on, and what rounding costs in decibels."""

import numpy as np

from course_lib.viz.look import new_figure, styled
from course_lib.viz.palette import light


@styled
def compare_histograms(sets, title="", xlabel="value", share_axis=False):
    """Several spreads, one above the other: `sets` maps a name to its values; each keeps its own axis unless shared."""
    sets = {name: _flat(name, values) for name, values in sets.items()}
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.6, 0.5 + 1.25 * len(sets)))
    bins = 80
    rows = figure.subplots(len(sets), 1, sharex=share_axis, squeeze=False)[:, 0]
    if share_axis:  # bars of one width: a set that lies close together shows as one tall bar
        bins = np.histogram_bin_edges(np.concatenate(list(sets.values())), bins)
    for axes, (name, values) in zip(rows, sets.items(), strict=True):
        _bars(axes, values, bins)
        axes.set(yticks=[], ylim=(0, 1.3 * axes.get_ylim()[1]))
        axes.spines["left"].set_visible(False)
        axes.text(0.0, 0.92, name, transform=axes.transAxes, weight="bold", va="top")
        _tell_extremes(axes, values)
    rows[0].set_title(title)
    rows[-1].set_xlabel(xlabel)
    return figure


@styled
def sqnr_by_bits(bits, measured, title="Each bit is worth about 6 dB"):
    """Signal-to-noise ratio in dB against bits, with the line of 6.02 dB a bit through the first point.

    `measured` is one list (as long as `bits`), or a dict of lists by name.
    """
    series = measured if isinstance(measured, dict) else {"measured": measured}
    figure, axes = new_figure(3.4)
    first = next(iter(series.values()))
    axes.plot(bits, [first[0] + 6.02 * (b - bits[0]) for b in bits], "--", color=light("muted"), linewidth=1.6)
    axes.annotate("6.02 dB a bit", (bits[-2], first[0] + 6.02 * (bits[-2] - bits[0])), (6, -14), ha="left",
                  textcoords="offset points", color=light("muted"))  # fmt: skip
    heights = _apart([values[-1] for values in series.values()], 0.08 * max(map(max, series.values())))
    for (name, values), marker, height in zip(series.items(), "osD^v", heights, strict=False):
        hollow = {"markerfacecolor": "none", "markersize": 10} if name != next(iter(series)) else {}
        (line,) = axes.plot(bits, values, marker=marker, **hollow)
        if len(series) > 1:
            axes.annotate(name, (bits[-1], height), (9, -4), textcoords="offset points", color=line.get_color(),
                          weight="bold", annotation_clip=False)  # fmt: skip
    if len(series) == 1:
        for b, value in zip(bits, first, strict=True):
            axes.annotate(f"{value:.1f}", (b, value), (6, -13), textcoords="offset points", color=light("blue"))
    axes.set(title=title, xlabel="bits", ylabel="SQNR (dB)", xticks=list(bits))
    axes.grid(axis="y")
    return figure


def _apart(heights, gap):
    """`heights` moved up where needed, so that labels at them are at least `gap` apart."""
    moved, last = list(heights), None
    for index in sorted(range(len(heights)), key=heights.__getitem__):
        moved[index] = heights[index] if last is None else max(heights[index], last + gap)
        last = moved[index]
    return moved


def _flat(name, values):
    values = np.asarray(values.detach().float().cpu() if hasattr(values, "detach") else values, dtype=float).ravel()
    if values.size == 0 or not np.isfinite(values).all():
        raise ValueError(f"{name} must hold finite numbers to be plotted, got {values.size} values")
    return values


def _bars(axes, values, bins):
    counts, edges = np.histogram(values, bins)
    floor = 0.012 * counts.max()  # a single value far out still shows
    heights = np.where(counts > 0, np.maximum(counts, floor), 0)
    axes.bar(edges[:-1], heights, width=np.diff(edges) * 0.92, align="edge", color=light("muted"), alpha=0.85)


def _tell_extremes(axes, values):
    text = f"{values.size:,} values, {values.min():.3g} to {values.max():.3g}".replace("-", "−")
    axes.text(1.0, 0.92, text, transform=axes.transAxes, ha="right", va="top", color=light("muted"))
