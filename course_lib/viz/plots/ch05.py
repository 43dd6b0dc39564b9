"""Pictures of chapter 05: what a contract rounds, which scales fit outside a sum, where sixteen levels lie (Scenes)."""

import math

from course_lib.viz.axis import Axis, number
from course_lib.viz.scene import Scene

WIDTH = 760
CONTRACTS = (  # name, bits of w, of x, of the multiplication, of the sum
    ("W4A16", "4", "16", "16-bit float", "32-bit float"),
    ("W8A8", "8", "8", "8-bit integer", "32-bit integer"),
    ("W4A8", "4", "8", "8-bit integer", "32-bit integer"),
    ("W4A4", "4", "4", "4-bit integer", "32-bit integer"),
)


def contracts():
    """One row a contract: weights as stored, inputs as they arrive, in what they are multiplied and added up."""
    scene, high = Scene(WIDTH, 60 + 66 * len(CONTRACTS)), 42
    columns = ((100, "weights, stored"), (250, "inputs"), (420, "multiplied as"), (590, "added up as"))
    for x, title in columns:
        scene.text(x, 28, title, size=14, bold=True, anchor="start")
    for k, (name, w, x, product, total) in enumerate(CONTRACTS):
        y = 50 + 66 * k
        scene.text(12, y + 27, name, size=16, bold=True, anchor="start")
        _bits(scene, 100, y, int(w), "blue")
        _bits(scene, 250, y, int(x), "orange")
        grown = name == "W4A16" or name == "W4A8"
        note = "after widening w" if grown else "as they are"
        for left, text in ((420, product), (590, total)):
            scene.rect(left, y, 150, high, fill="card", color="muted", line=1)
            scene.text(left + 75, y + (19 if left == 420 else 26), text, size=13)
        scene.text(495, y + 35, note, size=11, color="muted")
        scene.arrow(405, y + high / 2, 417, y + high / 2, "muted")
        scene.arrow(572, y + high / 2, 587, y + high / 2, "muted")
    return scene


def _bits(scene, x, y, n, color):
    """A number of n bits, one box a bit, in two rows of eight."""
    for k in range(n):
        scene.rect(x + 13 * (k % 8), y + 21 * (k // 8), 13, 20, fill=color, color="paper", line=1, opacity=0.75)
    scene.text(x + 13 * min(n, 8) + 7, y + 16, f"{n} bits", size=12, color="muted", anchor="start")


def outside_the_sum():
    """x times w.T: scales that belong to a row of either can wait until the sum is done; a channel's cannot."""
    scene, cell = Scene(WIDTH, 262), 24
    x0, w0, y0 = 60, 330, 92
    _matrix(scene, x0, y0, 3, 6, cell, "x (tokens, in)")
    _matrix(scene, w0, y0, 4, 6, cell, "w (out, in)")
    for row in range(3):
        scene.circle(x0 - 18, y0 + (row + 0.5) * cell, 8, "blue", None)
    for row in range(4):
        scene.circle(w0 - 18, y0 + (row + 0.5) * cell, 8, "blue", None)
    for column in range(6):
        scene.diamond(x0 + (column + 0.5) * cell, y0 - 16, 8, "red")
    scene.text(x0 - 40, 22, "A product sums along the channels (→).", size=14, bold=True, anchor="start")
    scene.arrow(x0 + 6, y0 + 1.5 * cell, x0 + 6 * cell - 6, y0 + 1.5 * cell, "ink", 2)
    scene.arrow(w0 + 6, y0 + 1.5 * cell, w0 + 6 * cell - 6, y0 + 1.5 * cell, "ink", 2)
    lines = (
        ("blue", "one scale a token, one an output:"),
        (None, "the same along the whole sum,"),
        (None, "so multiply by it afterwards"),
        ("red", "one scale a channel: another one"),
        (None, "for every term of the sum, so it"),
        (None, "must be applied before adding"),
    )
    for k, (mark, text) in enumerate(lines):
        y = 96 + 20 * k + (12 if k > 2 else 0)
        if mark == "blue":
            scene.circle(532, y - 5, 8, "blue", None)
        elif mark == "red":
            scene.diamond(532, y - 5, 8, "red")
        scene.text(548, y, text, size=12, anchor="start")
    return scene


def _matrix(scene, x, y, rows, columns, cell, title):
    scene.rect(x, y, columns * cell, rows * cell, fill="card", color="ink", line=1.5)
    for k in range(1, columns):
        scene.line(x + k * cell, y, x + k * cell, y + rows * cell, "faint", 1)
    for k in range(1, rows):
        scene.line(x, y + k * cell, x + columns * cell, y + k * cell, "faint", 1)
    scene.text(x + columns * cell / 2, y + rows * cell + 24, title, size=13, color="muted")


def levels(rows, sigma=0.36):
    """Sets of levels in [-1, 1] under a bell curve of width sigma: {name: [levels]}, one row each."""
    scene = Scene(WIDTH, 176 + 62 * len(rows))
    x, y = Axis(-1.08, 1.08, 20, 740), Axis(0, 1, 150, 34)
    curve = [(x(t / 100), y(math.exp(-((t / 100) ** 2) / (2 * sigma**2)))) for t in range(-108, 109)]
    scene.path([(x(-1.08), y(0)), *curve, (x(1.08), y(0))], None, 0, fill="sky", opacity=0.6, closed=True)
    scene.path(curve, "blue", 2)
    scene.text(20, 22, "how often a weight of this size occurs", size=13, color="muted", anchor="start")
    for k, (name, values) in enumerate(rows.items()):
        base = 196 + 62 * k
        scene.text(20, base - 18, f"{name}: {len(values)} levels", size=14, bold=True, anchor="start")
        scene.line(x.start, base, x.end, base, "muted", 1)
        color = ("muted", "green")[k % 2]
        for value in values:
            scene.line(x(value), base - 9, x(value), base + 9, color, 2.4)
            if k % 2:
                scene.circle(x(value), base, 4, color, None)
        for end in (min(values), max(values)):
            scene.text(x(end), base + 24, number(end), size=12, color="muted")
        scene.text(x(0), base + 24, "0", size=12, color="muted")
    return scene
