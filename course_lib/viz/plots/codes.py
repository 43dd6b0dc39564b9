"""Codes for several weights: points in a plane, a path through a trellis, how far from Shannon's bound they are."""

from course_lib.viz.axis import Axis, number
from course_lib.viz.look import new_figure, styled
from course_lib.viz.palette import light
from course_lib.viz.scene import Scene

WIDTH = 760


@styled
def plane(x, sets, title="As many codes, less error: the points need not lie in a grid"):
    """Weights in pairs, x (n, 2), beside each other under the point sets {name: points (m, 2)}, with their cells."""
    import numpy as np

    figure, panels = new_figure(3.9, columns=len(sets), sharey=True)
    mesh = np.stack(np.meshgrid(np.linspace(-3, 3, 301), np.linspace(-3, 3, 301)), -1).reshape(-1, 2)
    for axes, (name, points), mark in zip(panels, sets.items(), ("s", "o"), strict=False):
        points = np.asarray(points, float)
        owner = ((mesh[:, None] - points) ** 2).sum(2).argmin(1).reshape(301, 301)
        axes.scatter(*np.asarray(x, float)[:1200].T, s=3, color=light("faint"), linewidths=0)
        for k in range(len(points)):  # the border of each cell, drawn once from either side
            axes.contour(owner == k, [0.5], colors=light("muted"), linewidths=0.6, extent=(-3, 3, -3, 3))
        axes.plot(*points.T, mark, color=light("blue" if mark == "s" else "red"), markersize=6)
        axes.set_aspect("equal")
        axes.set(xlim=(-3, 3), ylim=(-3, 3), xlabel="one weight")
        axes.set_title(name, fontsize=10.5, fontweight="normal")
    panels[0].set_ylabel("the next weight")
    figure.suptitle(title, fontsize=12, fontweight="bold", x=0.01, ha="left")
    return figure


@styled
def distances(rows, title="How many times Shannon's least error a code leaves"):
    """Mean squared error over the bound 2^(-2R), by bits: `rows` is {name: [(bits, mse), …]} for N(0, 1)."""
    import numpy as np

    figure, axes = new_figure(3.9)
    styles = (("s", "red"), ("o", "orange"), ("^", "purple"), ("D", "green"), ("v", "blue"), ("P", "muted"))
    lines = {name: np.array([(k, mse * 2 ** (2 * k)) for k, mse in sorted(found)]).T for name, found in rows.items()}
    for (name, (bits, times)), (mark, color) in zip(lines.items(), styles, strict=False):
        axes.plot(bits, times, mark, linestyle="-", color=light(color), linewidth=1.4)
        beside = [np.interp(bits[-1] + 0.4, *other) for other in lines.values() if other[0][-1] > bits[-1]]
        left = any(abs(y - times[-1]) < 0.12 for y in beside)  # a line runs where the name would stand
        axes.annotate(name, (bits[-1], times[-1]), (-9 if left else 9, -4), textcoords="offset points",
                      ha="right" if left else "left", color=light(color))  # fmt: skip
    axes.axhline(1, color=light("ink"), linewidth=1.6)
    axes.annotate("Shannon's bound", (1, 1), (0, -14), textcoords="offset points")
    axes.set(xlim=(0.85, 5.3), ylim=(0.75, 3.1), xlabel="bits a weight", ylabel="error / bound")
    axes.set_xticks([1, 2, 3, 4])
    axes.grid(axis="y")
    axes.set_title(title)
    return figure


@styled
def water(power, left, level, bits, title="The best code leaves the same error in every direction"):
    """Power of each direction, loudest first; what each way of `left` {name: errors (n,)} leaves there; the level."""
    import numpy as np

    figure, axes = new_figure(4.2)
    power, at = np.asarray(power, float), np.arange(1, len(power) + 1)
    axes.fill_between(at, np.minimum(power, level), power, color=light("faint"), linewidth=0)
    axes.plot(at, power, color=light("ink"), linewidth=1.8)
    axes.annotate("the weights themselves", (at[len(at) // 5], power[len(at) // 5]), (4, 6), textcoords="offset points")
    styles = (("s", "red"), ("o", "orange"), ("^", "purple"))
    for (name, errors), (mark, color) in zip(left.items(), styles, strict=False):
        parts = np.array_split(np.arange(len(at)), 16)  # means over neighbours: each alone is a noisy figure
        x, y = [np.array([np.mean(v[part]) for part in parts]) for v in (at, np.asarray(errors, float))]
        axes.plot(x, y, mark, linestyle="-", color=light(color), linewidth=1.3, markersize=4.5, label=name)
    axes.axhline(level, color=light("blue"), linewidth=1.8, linestyle="--", label=f"least possible, {bits:g} bits")
    axes.set_yscale("log")
    axes.set(xlabel="direction (eigenvector of H), loudest first", ylabel="squared error of the outputs")
    axes.legend(loc="upper right", frameon=False)
    axes.set_title(title)
    return figure


def path(x, table, bits, states, title="The path goes along the lines, and stays near the weights"):
    """A small trellis as a Scene: a column a weight, a row a level, the way that `states` (T,) take through it.

    table (2^L) holds the levels; from a state lead lines to the 2^bits states whose windows lie `bits` further on.
    """
    x, table, states = ([float(v) for v in t] for t in (x, table, states))
    states, T = [int(s) for s in states], len(x)
    scene = Scene(WIDTH, 400)
    ax, ay = Axis(0, T - 1, 130, WIDTH - 60), Axis(min(table + x) - 0.1, max(table + x) + 0.1, 350, 60)
    scene.text(12, 22, title, size=15, bold=True, anchor="start")
    for t in range(T - 1):
        for s in range(len(table)):
            for new in range(2**bits):
                to = (s << bits) % len(table) + new
                scene.line(ax(t), ay(table[s]), ax(t + 1), ay(table[to]), "faint", 1)
    scene.path([(ax(t), ay(table[s])) for t, s in enumerate(states)], "red", 3)
    width = len(table).bit_length() - 1
    for s, level in enumerate(table):
        scene.text(56, ay(level) + 5, f"{s:0{width}b}", size=13, mono=True, color="muted", anchor="end")
        scene.text(104, ay(level) + 5, number(level), size=13, anchor="end")
        for t in range(T):
            on = states[t] == s
            scene.circle(ax(t), ay(level), 6 if on else 3, "red" if on else "paper", "red" if on else "muted")
    for t, value in enumerate(x):
        scene.diamond(ax(t), ay(value), 7, "blue", "paper")
        scene.text(ax(t), 376, number(value), size=13)
    scene.text(12, 376, "weights", size=13, color="blue", anchor="start")
    scene.text(12, 40, "state, level", size=13, color="muted", anchor="start")
    return scene
