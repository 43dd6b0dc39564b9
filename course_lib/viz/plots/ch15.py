"""Plots of chapter 15: guesses against outcomes, a loss that falls, the boxes in which passed exercises wait."""

import math

import numpy as np

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
        axes.text(0.5, 0.8, "no guess yet", transform=axes.transAxes, ha="center", color=light("muted"))
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


@styled
def boxes(found):
    """Leitner's boxes, a bar each, as long as its wait; a mark is what was passed in one chapter, by days until due.

    found: what `review.boxes()` returns: "marks" as (box, days until due, chapter, how many), "intervals" in days.
    ValueError for a mark whose box is none of them.
    """
    marks, intervals = found["marks"], found["intervals"]
    bad = [mark for mark in marks if not 1 <= mark[0] <= len(intervals)]
    if bad:
        raise ValueError(f"marks must lie in boxes 1 … {len(intervals)}, got {bad[0]}")
    at = lambda days: float(np.interp(days, (0, *intervals), range(len(intervals) + 1)))  # noqa: E731
    rows = [_levels([(at(m[1]), m) for m in marks if m[0] == k + 1]) for k in range(len(intervals))]
    heights = [0.4 + 0.5 * max([1, *(level + 1 for _, level, _ in row)]) for row in rows]
    figure, axes = new_figure(1.1 + 0.52 * sum(heights))
    tops = [sum(heights[:k]) for k in range(len(rows))]
    for k, (row, top, high) in enumerate(zip(rows, tops, heights, strict=True)):
        axes.barh(top, k + 1.5, high - 0.12, left=-0.3, align="edge", color=light("sky"), alpha=0.25)
        for x, level, mark in row:
            _mark(axes, x, top + 0.4 + 0.5 * level, mark)
    axes.set_ylim(sum(heights), -0.1)
    axes.set_yticks([t + h / 2 for t, h in zip(tops, heights, strict=True)], [f"box {k + 1}" for k in range(len(rows))])
    _told(axes, found)
    return figure


def _told(axes, found):
    """The days below the boxes, and the message above them."""
    marks, intervals = found["marks"], found["intervals"]
    axes.set_xlim(-0.32, len(intervals) + 0.4)
    axes.set_xticks(range(len(intervals) + 1), ["due", *map(str, intervals)])
    axes.set_xlabel("days until it comes again (a square is due; numbers are chapters)")
    axes.tick_params(axis="y", length=0)
    due, count = sum(m[3] for m in marks if m[1] <= 0), sum(m[3] for m in marks)
    title = f"{due} of {count} passed exercises {'is' if due == 1 else 'are'} due, the others wait"
    axes.set_title(f"An example: {title}" if found.get("example") else title)


def _levels(placed):
    """[(x, level, mark)]: marks by x, each on the lowest level where it hides no other."""
    ends, found = [], []
    for x, mark in sorted(placed):
        level = next((k for k, end in enumerate(ends) if end <= x), len(ends))
        ends[level : level + 1] = [x + (0.4 if mark[3] > 1 else 0.28)]
        found.append((x, level, mark))
    return found


def _mark(axes, x, y, mark):
    _, days, chapter, count = mark
    due = days <= 0
    face, edge = (light("red"), light("red")) if due else (light("paper"), light("blue"))
    axes.plot(x, y, "s" if due else "o", markersize=16, markerfacecolor=face, markeredgecolor=edge, markeredgewidth=1.6)
    color = light("paper") if due else light("ink")
    axes.text(x, y, chapter, ha="center", va="center_baseline", fontsize=9, color=color, weight="bold" if due else None)
    if count > 1:
        axes.text(x + 0.125, y, f"×{count}", ha="left", va="center", fontsize=8.5, color=light("muted"))
