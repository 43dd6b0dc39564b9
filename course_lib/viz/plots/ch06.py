"""Pictures of chapter 06: the valley of two weights, whose update comes when, and the calibration trap (Scenes)."""

import numpy as np

from course_lib.viz.axis import Axis, number
from course_lib.viz.scene import Scene

WIDTH = 760


def valley(w, H, stored, x=(0.2, 2.2), y=(-1.15, 3.1)):
    """Lines of equal cost d H d around w (2,) over the whole numbers; `stored` maps a name to a pair that was chosen.

    A line runs through each stored pair, so that one sees which of them lies deeper in the valley.
    """
    w, H = np.asarray(w, float), np.asarray(H, float)
    scene = Scene(WIDTH, 430)
    ax, ay = Axis(*x, 60, 470), Axis(*y, 384, 20)
    scene.text(12, 20, "w₂", size=14, bold=True, anchor="start")
    scene.text(474, 404, "w₁", size=14, bold=True, anchor="start")
    for k in range(int(np.ceil(x[0])), int(x[1]) + 1):
        scene.line(ax(k), ay.start, ax(k), ay.end, "faint", 1)
        scene.text(ax(k), ay.start + 20, k, size=12, color="muted")
        for n in range(int(np.ceil(y[0])), int(y[1]) + 1):
            scene.circle(ax(k), ay(n), 4, "paper", "muted", 1.6)
    for n in range(int(np.ceil(y[0])), int(y[1]) + 1):
        scene.line(ax.start, ay(n), ax.end, ay(n), "faint", 1)
        scene.text(ax.start - 10, ay(n) + 4, n, size=12, color="muted", anchor="end")
    for k, (name, pair) in enumerate(stored.items()):
        _level(scene, w, H, pair, name, ax, ay, k)
    _foot(scene, w, H, next(iter(stored.values()))[0], ax, ay)
    scene.diamond(ax(w[0]), ay(w[1]), 7, "ink")
    scene.line(ax(w[0]) + 9, ay(w[1]), ax(w[0]) + 56, ay(w[1]), "muted", 1)
    scene.text(ax(w[0]) + 60, ay(w[1]) + 5, f"w = ({number(w[0])}, {number(w[1])})", size=13, anchor="start", halo=True)
    return scene


def cost(w, H, pair):
    """d H d with d = w − pair: what storing this pair costs."""
    d = np.asarray(w, float) - np.asarray(pair, float)
    return float(d @ np.asarray(H, float) @ d)


def _level(scene, w, H, pair, name, ax, ay, k):
    """The line of equal cost through one stored pair, its mark, and its entry in the list on the right."""
    color, level = ("red", "blue", "green")[k % 3], cost(w, H, pair)
    values, vectors = np.linalg.eigh(H)
    turn = np.linspace(0, 2 * np.pi, 160)
    ring = w[:, None] + vectors @ (np.sqrt(level / values)[:, None] * np.stack([np.cos(turn), np.sin(turn)]))
    inside = (ring[0] >= ax.lo) & (ring[0] <= ax.hi) & (ring[1] >= ay.lo) & (ring[1] <= ay.hi)
    for part in np.split(np.arange(160), np.flatnonzero(np.diff(inside)) + 1):
        if inside[part[0]] and len(part) > 1:
            points = [(ax(a), ay(b)) for a, b in ring[:, part].T]
            scene.path(points, color, 2, dash=None if k else (7, 4))
    px, py = ax(pair[0]), ay(pair[1])
    top = 60 + 66 * k
    for cx, cy in ((px, py), (514, top - 5)):
        scene.circle(cx, cy, 7, color) if k else scene.rect(cx - 6, cy - 6, 12, 12, fill=color)
    scene.text(530, top, f"{name}: ({number(pair[0])}, {number(pair[1])})", size=14, bold=True, anchor="start")
    scene.text(530, top + 21, f"cost {number(level)}", size=14, color="muted", anchor="start")


def _foot(scene, w, H, first, ax, ay):
    """The line w₁ = first, where w₂ is still free, and its lowest point."""
    low = w[1] + (w[0] - first) * H[0, 1] / H[1, 1]
    scene.line(ax(first), ay.start, ax(first), ay.end, "purple", 1.6, (2, 4))
    scene.arrow(ax(first) - 15, ay(w[1]), ax(first) - 15, ay(low), "purple", 2)
    scene.diamond(ax(first), ay(low), 6, "paper", "purple", 2.2)
    scene.diamond(514, 60 + 66 * 2 - 5, 6, "paper", "purple", 2.2)
    scene.text(530, 60 + 66 * 2, f"lowest with w₁ = {number(first)}: w₂ = {number(low)}", size=14, anchor="start")
    scene.text(530, 60 + 66 * 2 + 21, "this is where w₂ moves", size=14, color="muted", anchor="start")


def lazy(cols=12, block=4):
    """Which columns hear of which: a row is a column that is rounded, left to right; at once, or with its block."""
    cell, left, top = 26, 150, 62
    scene = Scene(WIDTH, top + cols * cell + 40)
    scene.text(left, 22, "… tells these columns:", size=14, bold=True, anchor="start")
    scene.text(left - 16, 22, "rounding column", size=14, bold=True, anchor="end")
    at_once = later = 0
    for i in range(cols):
        y, end = top + i * cell, min((i // block + 1) * block, cols)
        scene.text(left + (i + 0.5) * cell, top - 10, i, size=12, color="muted")
        scene.text(left - 16, y + cell / 2 + 4, i, size=12, color="muted", anchor="end")
        for j in range(cols):
            x = left + j * cell
            if j == i:
                scene.rect(x, y, cell, cell, fill="ink", opacity=0.75)
            elif i < j < end:
                scene.rect(x, y, cell, cell, fill="blue", opacity=0.75)
                at_once += 1
            elif j >= end:
                later += 1
            scene.rect(x, y, cell, cell, color="faint", line=1)
    for start in range(0, cols - block, block):
        x, y = left + (start + block) * cell, top + start * cell
        wide = (cols - start - block) * cell
        scene.rect(x, y, wide, block * cell, fill="orange", opacity=0.25)
        scene.hatch(x, y, wide, block * cell, "orange", gap=9)
        scene.rect(x, y, wide, block * cell, color="orange", line=2.4)
    _lazy_key(scene, left + cols * cell + 34, top, at_once, later, -(-cols // block) - 1)
    return scene


def _lazy_key(scene, x, y, at_once, later, products):
    """What the three kinds of cell are."""
    rows = (
        ("ink", "the column itself: rounded", ""),
        ("blue", f"at once, one by one: {at_once}", "inside its block"),
        ("orange", f"with the block: {later}", f"in {products} matrix products"),
    )
    for k, (color, said, more) in enumerate(rows):
        top = y + 62 * k
        scene.rect(x, top, 24, 24, fill=color, opacity=0.25 if color == "orange" else 0.75)
        if color == "orange":
            scene.hatch(x, top, 24, 24, "orange", gap=9)
        scene.text(x + 36, top + 17, said, size=14, anchor="start")
        scene.text(x + 36, top + 37, more, size=13, color="muted", anchor="start")


def trap(kl, floor, names):
    """KL (k, k) as a table, row = calibrated on, column = measured on, beside `floor` (k,), round-to-nearest's.

    A cell tells KL and how many times round-to-nearest's that is: blue below it, red and hatched above it.
    """
    wide, high, left, top = 138, 64, 190, 78
    n = len(names)
    scene = Scene(WIDTH, top + (n + 1) * high + 20)
    scene.text(left, 24, "KL measured on …", size=14, bold=True, anchor="start")
    scene.text(left - 16, top - 12, "calibrated on …", size=14, bold=True, anchor="end")
    for m, name in enumerate(names):
        scene.text(left + (m + 0.5) * wide, top - 12, name, size=14)
    for c in range(n + 1):
        y = top + c * high
        scene.text(left - 16, y + 38, names[c] if c < n else "nothing (nearest)", size=14, anchor="end")
        for m in range(n):
            value, x = float(kl[c][m] if c < n else floor[m]), left + m * wide
            times = value / float(floor[m])
            if c < n:
                scene.rect(x, y, wide, high, fill="blue" if times < 1 else "red", opacity=0.16)
                if times >= 1:
                    scene.hatch(x, y, wide, high, "red", gap=16, width=0.7)
            scene.rect(x, y, wide, high, color="faint", line=1)
            scene.text(x + wide / 2, y + 29, number(value, 3), size=15, bold=c == m, halo=c < n and times >= 1)
            said = f"{number(times, 2)} × nearest" if c < n else ""
            scene.text(x + wide / 2, y + 50, said, size=12, color="muted", halo=c < n and times >= 1)
        if c < n:
            scene.rect(left + c * wide + 2, y + 2, wide - 4, high - 4, color="ink", line=2.4)
    return scene
