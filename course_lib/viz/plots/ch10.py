"""Plots of chapter 10: how far off a number comes back by its size, and formats side by side before and after."""

from course_lib.viz.axis import number
from course_lib.viz.look import new_figure, styled
from course_lib.viz.palette import CYCLE, light

_DASHES = ("-", "--", ":", "-.")


@styled
def relative_error(sizes, curves, title="Floats err by a share of the number, integers by a share of the largest"):
    """Relative error over |x| / largest, both axes in powers of two: `curves` is {"INT8": errors, …}, one a size."""
    figure, axes = new_figure(3.6)
    for k, (name, errors) in enumerate(curves.items()):
        color = light(CYCLE[k % len(CYCLE)])
        axes.plot(sizes, errors, color=color, linestyle=_DASHES[k % len(_DASHES)], label=name)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log", base=2)
    axes.set_xlabel("size of the number, the largest being 1")
    axes.set_ylabel("relative error")
    axes.grid(True, alpha=0.6)
    axes.legend(loc="upper right")
    axes.set_title(title)
    return figure


@styled
def ranked(rows, title, label="KL to the 16-bit model (nats)"):
    """A dot with its standard error a format, the least on top: `rows` is [(name, bits, kl, stderr), …]."""
    rows = sorted(rows, key=lambda row: row[2])
    figure, axes = new_figure(1.2 + 0.36 * len(rows))
    for y, (name, bits, kl, stderr) in enumerate(rows):
        whole = name.startswith("INT")
        color, marker = (light("blue"), "s") if whole else (light("red"), "o")
        axes.errorbar(kl, y, xerr=stderr, color=color, marker=marker, capsize=3, linewidth=1.6)
        axes.annotate(f"{number(kl, 3)}, {number(bits, 4)} bits", (kl + stderr, y), (9, -4), textcoords="offset points")
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_yticks(range(len(rows)), [row[0] for row in rows])
    axes.set_xlim(0, 1.35 * max(row[2] + row[3] for row in rows))
    axes.set_xlabel(label)
    axes.set_title(title)
    return figure


@styled
def before_after(pairs, title, label="KL to the 16-bit model (nats)", words=("as it is", "rotated")):
    """An arrow a format from its first figure to its second: `pairs` is {"MXFP4": (0.16, 0.12), …}."""
    figure, axes = new_figure(1.3 + 0.6 * len(pairs))
    for y, (before, after) in enumerate(pairs.values()):
        color = light("green" if after < before else "red")
        axes.annotate("", (after, y), (before, y), arrowprops={"arrowstyle": "-|>", "color": color, "linewidth": 2})
        axes.scatter(before, y, s=60, color=light("muted"), zorder=3)
        axes.scatter(after, y, s=70, marker="D", color=color, zorder=3)
        for x, word in ((before, words[0]), (after, words[1])):
            at, side = (9, "left") if x == max(before, after) else (-9, "right")
            said = f"{word}: {number(x, 3)}"
            axes.annotate(said, (x, y), (at, -4), textcoords="offset points", ha=side)
    low, high = min(map(min, pairs.values())), max(map(max, pairs.values()))
    axes.set_xlim(low - 0.55 * (high - low), high + 0.55 * (high - low))
    axes.set_ylim(len(pairs) - 0.5, -0.5)
    axes.set_yticks(range(len(pairs)), list(pairs))
    axes.set_xlabel(label)
    axes.set_title(title)
    return figure


@styled
def words(counts, lengths, title="Frequent exponents get short words"):
    """A bar for each exponent that comes, and over it the bits of its code word; both arrays have one entry a value."""
    shares = [100 * count / sum(counts) for count in counts]
    figure, axes = new_figure(3.4)
    for e, (share, bits) in enumerate(zip(shares, lengths, strict=True)):
        if share > 0:
            axes.bar(e, share, width=0.8, color=light("blue"))
            axes.annotate(str(bits), (e, share), (0, 4), textcoords="offset points", ha="center", fontsize=10)
    axes.set_ylim(0, 1.15 * max(shares))
    axes.set_xlabel("exponent e of a weight of size 2^(e − 127) and more; the figure over it: bits of its word")
    axes.set_ylabel("share of the weights (%)")
    axes.set_title(title)
    return figure
