"""Plots of quality: the ladder of bit widths, the learner's own curve, and ways side by side with their errors."""

from course_lib.viz.axis import number
from course_lib.viz.look import label_points, new_figure, styled
from course_lib.viz.palette import light

_METRICS = {
    "kl": ("KL to the 16-bit model (nats)", "log"),
    "top1": ("same likeliest token", "share"),
    "task": ("replies exactly right", "share"),
    "tokens": ("tokens right", "share"),
    "bpb": ("bits per byte", "plain"),
}


@styled
def ladder(rungs, metrics=("kl", "top1", "task"), title="As bits fall, the metrics do not fall together"):
    """One panel a metric over the same rungs: `rungs` is a list of {"name": "int4", "kl": …, "top1": …, "task": …}.

    Known metrics: kl (log axis), top1, task, tokens (shares of 1), bpb; any other key is plotted as it is.
    """
    names = [str(rung["name"]) for rung in rungs]
    figure, panels = new_figure(3.3, columns=len(metrics), squeeze=False)
    for axes, metric, color, marker in zip(
        panels[0], metrics, ("blue", "green", "red", "purple", "ink"), "osD^v", strict=False
    ):
        label, kind = _METRICS.get(metric, (metric, "plain"))
        values = [rung[metric] for rung in rungs]
        axes.plot(range(len(names)), values, marker=marker, color=light(color))
        _scale(axes, kind, values)
        axes.set_xticks(range(len(names)), names, rotation=0 if len(names) * max(map(len, names)) < 30 else 60)
        axes.set_title(label, fontsize=10.5, color=light(color))
        axes.set_xlim(-0.4, len(names) - 0.6)
        axes.grid(axis="y")
        _tell_ends(axes, values, kind, color)
    figure.suptitle(title, x=0.01, ha="left", weight="bold", fontsize=12)
    return figure


def _scale(axes, kind, values):
    """A share runs from 0 to 100 %; a log axis leaves room for the figures at both ends."""
    if kind == "share":
        axes.set_ylim(-0.04, 1.06)
        axes.yaxis.set_major_formatter(lambda v, _: f"{v:.0%}")
    elif kind == "log":
        positive = [v for v in values if v and v > 0]
        axes.set_yscale("log")
        room = min(4, max(1.5, max(positive) / min(positive)))
        axes.set_ylim(min(positive) / room, max(positive) * room)


def _tell_ends(axes, values, kind, color):
    """Write the first and the last figure beside their points."""
    text = (lambda v: f"{v:.1%}") if kind == "share" else number
    first, last = (3, -16), (3 if kind == "log" else -6, 9)
    if kind == "log" and None not in values and len(values) > 1:  # a line that falls leaves room above its beginning
        first = (6, 6) if values[0] > values[1] else first
        last = (3, -18) if values[-2] > values[-1] else last  # and below its end
    elif kind == "share" and None not in values[-2:] and len(values) > 1 and values[-2] - values[-1] > 0.2:
        last = (-10, -5)  # under a steep fall
    for at, shift, ha in ((0, first, "left"), (len(values) - 1, last, "right")):
        if values[at] is not None:
            axes.annotate(
                text(values[at]), (at, values[at]), shift, textcoords="offset points", ha=ha, color=light(color)
            )


@styled
def my_curve(points, budget_bytes=None, metric="task", title="My curve: bytes against replies exactly right"):
    """Every *mine* run as a point: `points` is a list of {"name": "ch04", "bytes": …, "task": …}.

    A point with `"own": False` (the course's piece stood in) is hollow, one with `"own": None` (nobody's quantizer: the
    16-bit model) a grey square; `"kl"` is another metric to plot.
    """
    label, kind = _METRICS.get(metric, (metric, "plain"))
    figure, axes = new_figure(3.6)
    ordered = sorted(points, key=lambda p: p["bytes"])
    for point in ordered:
        x, y, own = point["bytes"] / 1e6, point[metric], point.get("own", True)
        marker, color = {True: ("o", "blue"), False: ("D", "blue"), None: ("s", "muted")}[own]
        axes.plot(x, y, marker, color=light(color), markersize=9, markeredgewidth=2,
                  markerfacecolor=light("paper") if own is False else light(color))  # fmt: skip
    if budget_bytes is not None:
        axes.axvline(budget_bytes / 1e6, color=light("ink"), linestyle=(0, (5, 4)), linewidth=1.6)
        words, at = f"budget {budget_bytes / 1e6:.1f} MB", (budget_bytes / 1e6, 1)
        axes.annotate(words, at, (6, -10), xycoords=("data", "axes fraction"), textcoords="offset points")
        axes.axvspan(0, budget_bytes / 1e6, color=light("sky"), alpha=0.18, zorder=0)
    _scale(axes, kind, [p[metric] for p in points])
    hollow = any(p.get("own", True) is False for p in points)
    note = "\nhollow: the course's piece stood in for one of yours" if hollow else ""
    axes.set_xlim(0, max([p["bytes"] / 1e6 for p in points] + [(budget_bytes or 0) / 1e6], default=1) * 1.18)
    axes.set(title=title, xlabel=f"megabytes as stored{note}", ylabel=label)
    axes.grid(axis="y")
    label_points(axes, [(str(p["name"]), p["bytes"] / 1e6, p[metric]) for p in ordered])
    return figure


_WAYS = (("blue", "s"), ("red", "o"), ("green", "^"), ("purple", "v"), ("ink", "D"), ("muted", "P"))


@styled
def kl_by_way(found, title, base):
    """KL to `base`, with its standard error: found {"3 bits": {"KIVI": (0.03, 0.005), …}, …}, a mark for each way."""
    names = list(dict.fromkeys(name for ways in found.values() for name in ways))
    figure, axes = new_figure(1.0 + 0.34 * (sum(map(len, found.values())) + len(found)))
    low, high, y, ticks = float("inf"), 0.0, 0, {}
    for group, ways in found.items():
        ticks[y] = group
        y += 1
        for name, (kl, stderr) in ways.items():
            color, marker = _WAYS[names.index(name) % len(_WAYS)]
            shown = light(color)
            axes.errorbar(kl, y, xerr=[[min(stderr, 0.9 * kl)], [stderr]], marker=marker, color=shown, capsize=3)
            axes.annotate(f"{number(kl, 2)}", (kl + stderr, y), (8, -4), textcoords="offset points")
            ticks[y] = name
            low, high, y = min(low, kl - min(stderr, 0.6 * kl)), max(high, kl + stderr), y + 1
    axes.set_xscale("log")
    axes.set_xlim(low / 1.3, high * 2.5)
    axes.set_ylim(y - 0.4, -0.6)
    labels = axes.set_yticks(list(ticks), list(ticks.values())) and axes.get_yticklabels()
    for label in labels:
        label.set_fontweight("bold" if label.get_text() in found else "normal")
    axes.grid(axis="x")
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel(f"KL to {base} (nats, logarithmic; bars: one standard error)")
    axes.set_title(title)
    return figure


@styled
def over_size(families, full, title, band=None):
    """Perplexity over gigabytes, a line a model: one or two families {"7B": {"Q6_K": (gib, perplexity), …}, …}.

    full    {"7B": perplexity at 16 bits, …}, dotted
    band    (low, high) in GiB, shaded: the sizes to compare
    """
    figure, axes = new_figure(3.6)
    for (name, points), (color, marker), at in zip(families.items(), _WAYS, (1, 0), strict=False):
        ordered = sorted(points.items(), key=lambda item: item[1])
        axes.plot(*zip(*(point for _, point in ordered), strict=True), marker=marker, color=light(color))
        axes.axhline(full[name], color=light(color), linestyle=":", linewidth=1.4)
        says = {"textcoords": "offset points", "color": light(color)}
        axes.annotate(f"{name}, 16 bits", (at, full[name]), (0, 4), xycoords=("axes fraction", "data"),
                      ha=("left", "right")[at], **says)  # fmt: skip
        for label, point in ordered[1 - at :]:
            axes.annotate(label, point, (5, 6), fontsize=9, **says)
        for label, point in ordered[: 1 - at]:  # of the second family, where the first one's names are near
            axes.annotate(label, point, (-6, -11), ha="right", fontsize=9, **says)
    if band:
        axes.axvspan(*band, color=light("sky"), alpha=0.3, zorder=0)
    axes.set(title=title, xlabel="file, GiB", ylabel="perplexity, WikiText-2")
    axes.margins(x=0.12, y=0.14)
    return figure
