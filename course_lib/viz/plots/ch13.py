"""Plots of chapter 13: what was lost, with its interval, against the margin that was fixed beforehand."""

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
