"""Plots of chapter 15: guesses against outcomes, a loss that falls, ways of rounding by what they lose."""

import math

from course_lib.viz.axis import number
from course_lib.viz.look import new_figure, styled
from course_lib.viz.palette import CYCLE, light

FAR = 4  # powers of two: what is further off is drawn at the rim


@styled
def guesses(pairs, title="My guesses against what came out"):
    """log2(guess / outcome) in the order of the course: `pairs` is {"ch01.bits": (guess, outcome), …}, both positive.

    0 is exactly right, 1 twice too much, −1 half. ValueError where a number is not positive.
    """
    bad = [name for name, pair in pairs.items() if min(pair) <= 0]
    if bad:
        raise ValueError(f"pairs must hold positive numbers, got {pairs[bad[0]]} for {bad[0]}")
    figure, axes = new_figure(3.6)
    names = sorted(pairs)
    axes.axhspan(-1, 1, color=light("sky"), alpha=0.3)
    axes.axhline(0, color=light("ink"), linewidth=1)
    for k, name in enumerate(names):
        off = math.log2(pairs[name][0] / pairs[name][1])
        marker = "o" if abs(off) <= FAR else "^" if off > 0 else "v"
        color = light("blue") if abs(off) <= 1 else light("red")
        axes.plot(k, max(-FAR, min(FAR, off)), marker, color=color)
    if not names:
        axes.text(0.5, 0.6, "no guess yet", transform=axes.transAxes, ha="center", color=light("muted"))
    axes.set_ylim(-FAR - 0.4, FAR + 0.4)
    axes.set_xlim(-0.6, max(len(names), 1) - 0.4)
    axes.set_yticks([-4, -2, -1, 0, 1, 2, 4], ["1/16", "1/4", "1/2", "right", "× 2", "× 4", "× 16"])
    starts = [k for k, name in enumerate(names) if k == 0 or names[k - 1][:4] != name[:4]]
    axes.set_xticks(starts, [names[k][2:4] for k in starts])
    axes.set_xlabel("predictions, by chapter")
    axes.set_ylabel("guess / outcome")
    axes.set_title(title)
    return figure


@styled
def losses(curves, level=None, title="What rounding broke, training under the rounding mends"):
    """KL over steps: `curves` is {"trained": [kl, …], …}; `level` is (label, kl) of what needs no training."""
    figure, axes = new_figure(3.4)
    for k, (name, values) in enumerate(curves.items()):
        color = light(CYCLE[k % len(CYCLE)])
        axes.plot(range(1, len(values) + 1), values, color=color, label=name, linestyle=("-", "--", ":")[k % 3])
    last = max(map(len, curves.values()))
    if level is not None:
        axes.plot([1, last], [level[1]] * 2, color=light("muted"), linewidth=1.6, linestyle=(0, (5, 4)))
        axes.annotate(f"{level[0]}, {number(level[1], 2)}", (last, level[1]), (-4, 6), textcoords="offset points",
                      ha="right", color=light("muted"))  # fmt: skip
    axes.set_ylim(0, None)
    axes.legend(loc="upper right")
    axes.set_xlabel("step")
    axes.set_ylabel("KL to the 16-bit model (nats a token)")
    axes.grid(axis="y")
    axes.set_title(title)
    return figure
