"""Plots of chapter 13: what was lost, with its interval, against the margin that was fixed beforehand."""

import numpy as np

from course_lib.viz.axis import number
from course_lib.viz.look import new_figure, styled
from course_lib.viz.palette import light


@styled
def drops(pairs, margin, title="Lost, with its interval: safe is what ends before the margin"):
    """`pairs` is {"Q4_K_M": Paired, …}; margin is a share; the bars are two-sided 90 % intervals, in points."""
    figure, axes = new_figure(1.2 + 0.34 * len(pairs))
    for row, pair in enumerate(pairs.values()):
        low, high = 100 * pair.interval(0.90)[0], 100 * pair.drop_high()
        safe = high <= 100 * margin
        color = light("green" if safe else "red")
        axes.plot([low, high], [row, row], color=color, linewidth=3)
        axes.scatter(100 * pair.drop, row, s=60, color=color, marker="o" if safe else "D", zorder=2)
        beside = max(high, 100 * margin)  # no number lies on the dashed line
        axes.annotate(f"{number(100 * pair.drop, 2)}", (beside, row), (8, -4), textcoords="offset points")
    axes.axvline(100 * margin, color=light("ink"), linewidth=1.2, linestyle="--")
    axes.set_ylim(len(pairs) - 0.4, -0.6)
    axes.set_yticks(range(len(pairs)), list(pairs))
    axes.set_xlabel(f"drop in accuracy, points; the dashed line is the margin, {number(100 * margin, 2)}")
    axes.set_title(title)
    return figure


@styled
def chains(flips, lengths, title="Flips: too rare to see in one token, certain in a long answer"):
    """Share of answers that no flip has touched, (1 − f)ⁿ, over their length n, with what was counted as marks.

    flips     {"3 bits": (share of flips f, tokens n of a reply, counted share without a flip), …}
    lengths   {"a letter": 1, …}, tokens; the ticks
    """
    figure, axes = new_figure(3.5)
    n = np.logspace(0, np.log10(max(lengths.values())), 200)
    for (name, (f, tokens, kept)), color, marker in zip(flips.items(), ("blue", "red", "green"), "osD", strict=False):
        axes.plot(n, (1 - f) ** n, color=light(color))
        axes.scatter(tokens, kept, s=60, color=light(color), marker=marker, zorder=3)
        half = np.log(0.5) / np.log1p(-f)  # tokens after which half of the answers are touched
        says = f"{name}:\n{100 * f:.2g} % flips"
        axes.annotate(says, (half, 0.5), (-9, -8), textcoords="offset points", ha="right", color=light(color))
    axes.set_xscale("log")
    axes.set_xticks(list(lengths.values()), [f"{tokens:,.0f}\n{name}" for name, tokens in lengths.items()])
    axes.minorticks_off()
    axes.grid(axis="x")
    axes.set_ylim(-0.03, 1.03)
    axes.yaxis.set_major_formatter(lambda v, _: f"{v:.0%}")
    axes.set_xlabel("tokens of an answer; lines: predicted, marks: counted")
    axes.set_ylabel("answers without a flip")
    axes.set_title(title)
    return figure
