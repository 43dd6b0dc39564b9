"""Plots of chapter 11: caches that grow, and formats that shrink them, with and without loud keys."""

from course_lib.viz.axis import number
from course_lib.viz.look import new_figure, styled
from course_lib.viz.palette import CYCLE, light

_DASHES = ("-", "--", ":", "-.", (0, (4, 1, 1, 1)))


@styled
def growth(curves, weights=None, title="A cache grows with the text, the weights do not"):
    """GiB over tokens: `curves` is {"Llama 3 8B": [(tokens, gib), …], …}; `weights` is (label, gib) of a level line."""
    figure, axes = new_figure(4.2)
    for k, (name, points) in enumerate(curves.items()):
        x, y = zip(*points, strict=True)
        color = light(CYCLE[k % len(CYCLE)])
        axes.plot(x, y, color=color, linewidth=2, linestyle=_DASHES[k % len(_DASHES)])
        axes.annotate(f"{name}, {number(y[-1], 3)}", (x[-1], y[-1]), (8, -4), textcoords="offset points", color=color)
    last = max(points[-1][0] for points in curves.values())
    if weights is not None:
        axes.plot([0, last], [weights[1]] * 2, color=light("muted"), linewidth=1.2)
        axes.annotate(weights[0], (last / 3, weights[1]), (0, 5), textcoords="offset points", color=light("muted"))
    axes.set_xlim(0, 1.42 * last)
    axes.set_ylim(0, None)
    ticks = range(0, last + 1, 32768)
    axes.set_xticks(list(ticks), [f"{t:,}" for t in ticks])
    axes.set_xlabel("tokens, over the whole batch")
    axes.set_ylabel("GiB of cache")
    axes.set_title(title)
    return figure


@styled
def axes_of_keys(found, title="Loud keys: a range for each channel does not notice them"):
    """KL of both axes on two models: `found` is {"as trained": {"channel": 0.01, "token": 0.02}, "loud keys": …}."""
    figure, axes = new_figure(1.4 + 0.8 * len(found))
    looks = {"channel": ("per channel", "blue", "s"), "token": ("per token", "red", "o")}
    for row, kls in enumerate(found.values()):
        for k, (axis, kl) in enumerate(kls.items()):
            name, color, marker = looks[axis]
            y = row + 0.28 * (k - 0.5)
            axes.scatter(kl, y, s=80, marker=marker, color=light(color), zorder=2)
            axes.annotate(f"{name} {number(kl, 2)}", (kl, y), (10, -4), textcoords="offset points")
    values = [kl for kls in found.values() for kl in kls.values()]
    axes.set_xscale("log")
    axes.set_xlim(min(values) / 2, max(values) * 8)
    axes.set_ylim(len(found) - 0.5, -0.5)
    axes.set_yticks(range(len(found)), list(found))
    axes.set_xlabel("KL to reading without a cache (nats, logarithmic)")
    axes.set_title(title)
    return figure
