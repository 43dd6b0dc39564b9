"""Plot of chapter 07: methods that round the same weights, side by side."""

from course_lib.viz.look import new_figure, styled
from course_lib.viz.palette import light

_LOOK = {"rtn": ("nearest", "muted", "D"), "awq": ("AWQ", "orange", "o"), "gptq": ("GPTQ", "blue", "s")}


@styled
def methods(kls, title="AWQ and GPTQ both beat the nearest mark"):
    """A few lines a setting, one a method: `kls` is {"3 bits": {"rtn": 0.30, "awq": 0.19, "gptq": 0.18}, …}."""
    figure, axes = new_figure(1.3 + 0.9 * len(kls))
    for row, found in enumerate(kls.values()):
        for k, (method, kl) in enumerate(found.items()):
            name, color, marker = _LOOK[method]
            y = row + 0.26 * (k - (len(found) - 1) / 2)
            axes.plot([0, kl], [y, y], color=light(color), linewidth=2, zorder=1)
            axes.scatter(kl, y, s=70, marker=marker, color=light(color), zorder=2)
            axes.annotate(f"{name} {kl:.3f}", (kl, y), (9, -4), textcoords="offset points")
    axes.set_xlim(0, 1.25 * max(max(found.values()) for found in kls.values()))
    axes.set_ylim(len(kls) - 0.5, -0.5)
    axes.set_yticks(range(len(kls)), list(kls))
    axes.set_xlabel("KL to the 16-bit model (nats)")
    axes.set_title(title)
    return figure


@styled
def spent(ways, start, title="What more bits buy: a few directions, or smaller groups"):
    """Output error against stored bits, one line a way of spending more: {way: [(name, bits, error), …]}.

    All begin at `start` = (name, bits, error). Names stand above the first line, below the last, and at every end.
    """
    figure, axes = new_figure(3.6)
    looks = [("muted", "D"), ("blue", "s"), ("orange", "o")]
    for k, ((way, points), (color, marker)) in enumerate(zip(ways.items(), looks, strict=False)):
        names, bits, errors = zip(start, *points, strict=True)
        axes.plot(bits, errors, color=light(color), marker=marker, markersize=7, linewidth=2)
        for name, x, y in points[:-1] if k in (0, len(ways) - 1) else ():
            axes.annotate(name, (x, y), (0, -17 if k else 9), textcoords="offset points", ha="center", fontsize=10)
        axes.annotate(f"{way}, {names[-1]}", (bits[-1], errors[-1]), (9, -4), textcoords="offset points")
    axes.annotate(start[0], start[1:], (-6, 19), textcoords="offset points")
    ends = [points[-1] for points in ways.values()]
    last, least = max(bits for _, bits, _ in ends), min(error for _, _, error in ends)
    axes.set_xlim(start[1] - 0.05, start[1] + 1.45 * (last - start[1]))
    axes.set_ylim(least - 0.25 * (start[2] - least), start[2] + 0.25 * (start[2] - least))
    axes.set_xlabel("stored bits a weight")
    axes.set_ylabel("error of the layer's output")
    axes.set_title(title)
    return figure
