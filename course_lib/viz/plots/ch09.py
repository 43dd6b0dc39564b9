"""Plots of chapter 09: what a bit of each block type buys, and the scales that a search tries."""

from course_lib.viz.axis import number
from course_lib.viz.look import new_figure, styled
from course_lib.viz.palette import light

FAMILIES = {  # name: (colour, marker, the types in it)
    "legacy": ("muted", "D", ("Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0")),
    "K-quants": ("blue", "o", ("Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K")),
    "tables": ("green", "s", ("IQ4_NL", "IQ4_XS")),
    "microscaling": ("orange", "^", ("MXFP4",)),
    "codebooks": ("purple", "P", ("IQ3_S", "IQ3_XXS", "IQ2_S", "IQ2_XS", "IQ2_XXS", "IQ1_M", "IQ1_S")),
    "−d, 0, d": ("red", "X", ("TQ2_0", "TQ1_0")),
}

_PLACES = {  # where a name does not stand above its mark, to the right: alignment and distance in points
    "Q4_K": ("right", (-7, -12)), "Q5_K": ("right", (-7, -12)), "Q6_K": ("right", (-7, -12)),
    "IQ4_XS": ("right", (-8, -4)), "IQ4_NL": ("left", (5, -20)), "IQ3_S": ("right", (-8, -10)),
    "TQ2_0": ("left", (9, -3)), "IQ1_M": ("right", (-8, -10)),
    **dict.fromkeys(("IQ3_XXS", "IQ2_S", "IQ2_XS", "IQ2_XXS"), ("right", (-8, -10))),
}  # fmt: skip


@styled
def types(points, title="What a bit buys depends on the block"):
    """KL over bits a weight, both as measured: `points` is {"Q4_K": (4.5, 0.021), …}."""
    figure, axes = new_figure(4.4)
    _families(axes, points)
    axes.set_title(title)
    return figure


@styled
def low_bits(points, blind, title="2.06 bits twice: a codebook still knows something, −d, 0, d nothing"):
    """The same for few bits; `blind` is the KL of a model that gives every token the same chance."""
    figure, axes = new_figure(4.4)
    _families(axes, points)
    axes.axhline(blind, color=light("muted"), linestyle="--", linewidth=1.2, zorder=0)
    axes.annotate("a blind guess: every token alike", (1, blind), (0, -5), xycoords=("axes fraction", "data"),
                  textcoords="offset points", ha="right", va="top", color=light("muted"), fontsize=9)  # fmt: skip
    axes.set_title(title)
    return figure


def _families(axes, points):
    """Marks and names of block types, a line through each family, KL on a logarithmic axis."""
    from matplotlib.patheffects import withStroke

    for family, (color, marker, names) in FAMILIES.items():
        found = sorted((points[name], name) for name in names if name in points)
        if not found:
            continue
        x, y = zip(*(point for point, _ in found), strict=True)
        axes.plot(x, y, color=light(color), linewidth=1.2, alpha=0.6, zorder=1)
        axes.scatter(x, y, s=60, marker=marker, color=light(color), zorder=2, label=family)
    axes.set_yscale("log")
    axes.set_xlabel("stored bits a weight")
    axes.set_ylabel("KL to the 16-bit model (nats)")
    axes.legend(frameon=False)
    axes.margins(x=0.08, y=0.12)
    for name, point in points.items():
        side, away = _PLACES.get(name, ("left", (7, 5)))
        label = axes.annotate(name, point, away, textcoords="offset points", ha=side, fontsize=9, zorder=1.5)
        label.set_path_effects([withStroke(linewidth=2.5, foreground=light("paper"))])  # on lines, not on marks


@styled
def tries(scales, errors, title="The scale that fits the largest weight is not the best"):
    """Squared error of one block over the scale: `scales` and `errors` as lists, the first entry is the obvious one."""
    figure, axes = new_figure(3.0)
    ordered = sorted(zip(scales, errors, strict=True))
    axes.plot(*zip(*ordered, strict=True), color=light("muted"), linewidth=1.2, zorder=1)
    axes.scatter(*zip(*ordered, strict=True), s=26, color=light("blue"), zorder=2)
    best = min(range(len(errors)), key=errors.__getitem__)
    obvious, better = (0, "red", "D", "largest weight / −8", -17), (best, "green", "s", "the best try", -22)
    for at, color, marker, word, above in (obvious, better):
        axes.scatter(scales[at], errors[at], s=80, marker=marker, color=light(color), zorder=3)
        place = (scales[at] - min(scales)) / ((max(scales) - min(scales)) or 1)
        side, away = ("left", 9) if place < 0.6 else ("right", -9)  # the words stay inside
        axes.annotate(f"{word}: {number(errors[at], 3)}", (scales[at], errors[at]), (away, above), ha=side,
                      textcoords="offset points", color=light(color))  # fmt: skip
    axes.set_ylim(0, 1.25 * max(errors))
    axes.margins(x=0.1)
    axes.set_xlabel("scale d")
    axes.set_ylabel("Σ (w − d q)²")
    axes.set_title(title)
    return figure
