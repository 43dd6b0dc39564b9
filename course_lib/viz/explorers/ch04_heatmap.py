"""Chapter 04: one outlier, and how far its damage spreads over the weights that share its scale."""

import functools
from dataclasses import dataclass

import numpy as np

from course_lib.viz.axis import Axis, number
from course_lib.viz.colormap import heat
from course_lib.viz.controls import Slider, Steps
from course_lib.viz.explorer import Explorer
from course_lib.viz.scene import Scene

ROWS, COLUMNS, BITS = 16, 64, 4
GROUPS = (
    ("whole tensor", "tensor"),
    ("row", None),
    ("32 columns", 32),
    ("16 columns", 16),
    ("8 columns", 8),
    ("4 columns", 4),
)
SHORT = {"tensor": "tensor", None: "row"}
TOP = 1.0  # error, in typical weights, at which the heat scale ends
LEFT, CELL_W, CELL_H, MAP_Y = 30, 11, 12, 30
WIDTH, HEIGHT = 760, 434


@dataclass(frozen=True)
class Heat:
    """What quantizing the matrix did: |error| (16, 64), where the outlier and its block are, and the price."""

    row: int
    col: int
    size: float
    group: int | str | None
    error: np.ndarray
    block: tuple  # first row, last row + 1, first column, last column + 1
    near: float  # mean |error| in the outlier's block, the outlier left out
    far: float | None  # mean |error| of all other blocks
    price: tuple  # (group, bits per weight, SQNR of the other weights in dB) of every choice


@functools.cache
def typical():
    """The matrix without its outlier: 16 x 64 Gaussian weights of size 1, always the same."""
    return np.random.default_rng(4).standard_normal((ROWS, COLUMNS)).astype(np.float32)


def round_trip(weights, group):
    """(weights after INT4 and back, bits per weight), scales in fp16, one per `group` columns, row or tensor."""
    import torch

    from course_lib.qtensor import quantize
    from course_lib.scheme import Scheme

    q = quantize(torch.from_numpy(weights), Scheme.int(BITS, group=group, scale_dtype=torch.float16))
    return q.dequantize().numpy(), q.bits_per_weight


def sqnr_db(weights, restored):
    """Signal over error in decibels: 10·log10(Σw² / Σ(w − ŵ)²)."""
    return float(10 * np.log10((weights**2).sum() / ((weights - restored) ** 2).sum()))


def block_of(row, col, group):
    """(first row, end, first column, end) of the block that holds one cell."""
    if group == "tensor":
        return 0, ROWS, 0, COLUMNS
    width = group or COLUMNS
    return row, row + 1, col // width * width, col // width * width + width


@functools.lru_cache(maxsize=512)
def measure(row, col, size, group):
    """Quantize the matrix with its outlier in every granularity; keep the errors of the chosen one."""
    from course_lib.evaluate import one_thread

    weights = typical().copy()
    weights[row, col] = size
    others = np.ones((ROWS, COLUMNS), bool)
    others[row, col] = False  # a huge outlier comes back well, and would make any SQNR look good
    with one_thread():
        found = {choice: round_trip(weights, choice) for _, choice in GROUPS}
    price = [(choice, bits, sqnr_db(weights[others], back[others])) for choice, (back, bits) in found.items()]
    error = np.abs(weights - found[group][0])
    block = block_of(row, col, group)
    inside = np.zeros((ROWS, COLUMNS), bool)
    inside[block[0] : block[1], block[2] : block[3]] = True
    near = (error[inside].sum() - error[row, col]) / (inside.sum() - 1)
    far = None if inside.all() else float(error[~inside].mean())
    return Heat(row, col, size, group, error, block, float(near), far, tuple(price))


class Heatmap(Explorer):
    """Errors of a 16 x 64 matrix at 4 bits, with an outlier to place, to size, and to fence in."""

    name = "heatmap"
    controls = (
        Slider("row", "outlier: row", 0, ROWS - 1, 1, 5),
        Slider("col", "outlier: column", 0, COLUMNS - 1, 1, 21),
        Slider("size", "outlier: size", 1, 60, 1, 20),
        Steps("group", "one scale for each", GROUPS, "tensor"),
    )

    def numbers(self, row, col, size, group):
        return measure(row, col, float(size), group)

    def sentence(self, h):
        _, bits, sqnr = next(entry for entry in h.price if entry[0] == h.group)
        price = f"Without the outlier, SQNR is {sqnr:.1f} dB at {number(bits, 3)} bits a weight."
        large = f"{number(h.size)} times a typical weight" if h.size > 1 else "no larger than a typical weight"
        outlier = f"The outlier at row {h.row}, column {h.col}, {large},"
        count = (h.block[1] - h.block[0]) * (h.block[3] - h.block[2]) - 1
        if h.far is None:
            return (
                f"{outlier} sets the step of all {count:,} others: their mean error is "
                f"{number(h.near, 2)} of a typical weight. {price}"
            )
        times = h.near / h.far
        spread = f"{number(times, 2)} times that of the rest" if times > 1.15 else "no worse than that of the rest"
        return (
            f"{outlier} shares its scale with {count} weights: their mean error is "
            f"{number(h.near, 2)}, {spread} ({number(h.far, 2)}). {price}"
        )

    def draw(self, h):
        scene = Scene(WIDTH, HEIGHT)
        _map(scene, h)
        _scale(scene)
        _errors(scene, h)
        _trade(scene, h)
        return scene


def _map(scene, h):
    """The heat map, the fences between blocks, the outlier's block and the outlier itself."""
    x0, y0, right, bottom = LEFT, MAP_Y, LEFT + COLUMNS * CELL_W, MAP_Y + ROWS * CELL_H
    scene.text(x0, y0 - 10, "|error| of each weight after 4 bits and back", size=14, bold=True, anchor="start")
    scene.image(x0, y0, right - x0, bottom - y0, heat(h.error, TOP))
    if h.group != "tensor":
        for k in range(1, ROWS):
            scene.line(x0, y0 + k * CELL_H, right, y0 + k * CELL_H, "#8f86a3", 0.5)
        for k in range(h.group or COLUMNS, COLUMNS, h.group or COLUMNS):
            scene.line(x0 + k * CELL_W, y0, x0 + k * CELL_W, bottom, "#8f86a3", 0.8)
    top, end, first, last = h.block
    x, y = x0 + first * CELL_W, y0 + top * CELL_H
    scene.rect(x, y, (last - first) * CELL_W, (end - top) * CELL_H, color="#ffffff", line=3.4)
    scene.rect(x, y, (last - first) * CELL_W, (end - top) * CELL_H, color="#0072b2", line=1.8)
    cx, cy = x0 + (h.col + 0.5) * CELL_W, y0 + (h.row + 0.5) * CELL_H
    scene.circle(cx, cy, 10, None, "#000000", 3.6).circle(cx, cy, 10, None, "#ffffff", 1.8)
    for k in range(0, COLUMNS, 8):
        scene.text(x0 + (k + 0.5) * CELL_W, bottom + 15, k, size=11, color="muted")
    for k in range(0, ROWS, 5):
        scene.text(x0 - 7, y0 + (k + 0.5) * CELL_H + 4, k, size=11, color="muted", anchor="end")


def _scale(scene):
    """The colour scale, at the right of the title."""
    x, y, width = LEFT + COLUMNS * CELL_W - 170, MAP_Y - 21, 130
    scene.image(x, y, width, 11, heat(np.linspace(0, TOP, 64)[None, :], TOP))
    scene.text(x - 7, y + 10, "0", size=11, color="muted", anchor="end")
    scene.text(x + width + 6, y + 10, f"≥ {number(TOP)}", size=11, color="muted", anchor="start")


def _errors(scene, h):
    """Two bars: the mean error beside the outlier, and everywhere else."""
    y0, x0, width = 286, LEFT, 300
    scene.text(x0, y0, "mean error, in typical weights", size=14, bold=True, anchor="start")
    axis = Axis(0, TOP, x0, x0 + width)
    rows = [("its scale-mates", h.near), ("all other weights", h.far)]
    for k, (name, value) in enumerate(rows):
        y = y0 + 20 + 52 * k
        scene.text(
            x0,
            y + 10,
            name if value is not None else "all other weights: there are none",
            size=13,
            color="ink",
            anchor="start",
        )
        if value is not None:
            scene.rect(x0, y + 17, max(2, axis.inside(value) - x0), 16, fill="blue" if k == 0 else "muted")
            scene.text(axis.inside(value) + 8, y + 30, number(value, 2), size=14, bold=True, anchor="start")


def _trade(scene, h):
    """Accuracy against size: every granularity as a point, the chosen one filled."""
    x = Axis(3.4, 8.2, 430, 730)
    y = Axis(-9, 33, 408, 292)
    scene.text(400, 286, "SQNR without the outlier, dB", size=14, bold=True, anchor="start")
    for tick in (0, 10, 20, 30):
        scene.line(x.start, y(tick), x.end, y(tick), "faint", 1)
        scene.text(x.start - 8, y(tick) + 4, tick, size=11, color="muted", anchor="end")
    scene.text(452, y.start + 15, "bits a weight:", size=12, color="muted", anchor="end")
    for tick in (4, 5, 6, 7, 8):
        scene.text(x(tick), y.start + 15, tick, size=11, color="muted")
    points = [(x.inside(bits), y.inside(sqnr)) for _, bits, sqnr in h.price]
    scene.path(points, "blue", 1.5)
    for k, ((choice, _, _), (px, py)) in enumerate(zip(h.price, points, strict=True)):
        chosen = choice == h.group
        scene.circle(px, py, 7 if chosen else 4.5, "blue" if chosen else "paper", "blue", 2)
        at, anchor = (px + 9, "end") if choice == "tensor" else (px, "middle")  # a long name, and 32 is near
        scene.text(at, py + (-13 if k % 2 else 23), SHORT.get(choice, choice), size=12, bold=chosen, anchor=anchor)


def heatmap(**start):
    """The explorer of chapter 04: `heatmap(row=5, col=21, size=20, group="tensor")`."""
    return Heatmap(**start)
