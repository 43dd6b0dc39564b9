"""Chapter 02: where do 16 marks do most good? A histogram, a grid laid on it, and the two errors it trades."""

import functools
from dataclasses import dataclass

import numpy as np

from course_lib.viz.axis import Axis, number
from course_lib.viz.controls import Choice, Slider
from course_lib.viz.explorer import Explorer
from course_lib.viz.scene import Scene

COUNT = 4096  # values a data set is cut down to
BINS = 84
KEPT = tuple(np.round([*np.arange(90, 99, 0.5), *np.arange(99, 100.05, 0.1)], 2))  # percentiles along the small curve
WIDTH, HEIGHT = 760, 378
BASE, TOP = 214, 40


@dataclass(frozen=True)
class Fit:
    """One grid on one data set: marks (16,), how many values chose each, the two parts of the mean squared error."""

    values: np.ndarray
    marks: np.ndarray
    codes: tuple
    used: np.ndarray
    step: float
    zero: int | None
    lo: float
    hi: float
    rounding: float
    clipping: float
    outside: int

    @property
    def total(self):
        return self.rounding + self.clipping


def examples(seed=2):
    """Four made-up data sets of 4096 values: what weights, activations, a ReLU and a shifted sensor look like."""
    rng = np.random.default_rng(seed)
    weights = rng.normal(0, 0.05, COUNT)
    activations = rng.normal(0, 0.4, COUNT) * np.where(rng.random(COUNT) < 0.02, 6, 1)
    relu = np.clip(rng.normal(0.2, 0.8, COUNT), 0, None)
    skewed = rng.gamma(2.0, 0.5, COUNT) - 0.4
    made = {"weights": weights, "activations, a few large": activations, "after a ReLU": relu, "skewed": skewed}
    return {name: values.astype(np.float32) for name, values in made.items()}


def fit(values, bits, symmetric, kept):
    """Quantize `values` (n,) on the range that keeps `kept` percent, and split the mean squared error in two.

    A value that lies more than half a step beyond the last mark is clipped; its error counts as clipping.
    """
    import torch

    from course_lib.observers import percentile
    from course_lib.qtensor import quantize
    from course_lib.scheme import Scheme

    scheme = Scheme.int(bits, symmetric=symmetric)
    q = quantize(torch.from_numpy(values), scheme, observer=lambda blocks, s: percentile(blocks, s, p=float(kept)))
    step, zero = q.step.item(), 0 if q.zero_point is None else int(q.zero_point.item())
    top = 2 ** (bits - 1) - 1
    codes = range(-top, top + 1) if symmetric is True else range(2**bits)
    marks = np.array([step * (code - zero) for code in codes])
    squared = (values - q.dequantize().numpy()) ** 2
    outside = (values < marks[0] - step / 2) | (values > marks[-1] + step / 2)
    used = np.bincount(q.codes.numpy().astype(int) - codes[0], minlength=len(codes))
    clipping = float(squared[outside].sum() / len(values))
    return Fit(values, marks, tuple(codes), used, step, None if q.zero_point is None else zero, float(marks[0]),
               float(marks[-1]), float(squared.mean()) - clipping, clipping, int(outside.sum()))  # fmt: skip


class Grid(Explorer):
    """Histogram, marks, and the mean squared error split in rounding and clipping."""

    name = "grid"

    def __init__(self, values=None, bits=4, **start):
        """`values` maps names to 1-D arrays or tensors (default: four made-up data sets)."""
        self.sets = {name: _prepared(name, data) for name, data in (values or examples()).items()}
        self.bits = bits
        names = tuple((name, name) for name in self.sets)
        self.controls = (
            Choice("data", "values", names, names[0][0]),
            Choice("symmetric", "grid", (("symmetric around zero", True), ("asymmetric: min to max", False)), True),
            Slider("kept", "percentile kept", 90, 100, 0.1, 100, ".1f"),
        )
        self.fit = functools.lru_cache(maxsize=2048)(self._fit)
        super().__init__(**start)

    def _fit(self, data, symmetric, kept):
        from course_lib.evaluate import one_thread

        with one_thread():
            return fit(self.sets[data], self.bits, symmetric, kept)

    def numbers(self, data, symmetric, kept):
        curve = [self.fit(data, symmetric, k) for k in KEPT]
        return self.fit(data, symmetric, round(float(kept), 2)), curve, round(float(kept), 2), symmetric

    def sentence(self, numbers):
        f, curve, kept, symmetric = numbers
        unused = int((f.used == 0).sum())
        kind = "Symmetric" if symmetric else f"Asymmetric, zero point {f.zero}"
        waste = (
            f"{unused} of the {len(f.marks)} marks {'holds' if unused == 1 else 'hold'} no value"
            if unused
            else f"every one of the {len(f.marks)} marks holds values"
        )
        first = f"{kind}: the step is {number(f.step)} and {waste}."
        if not f.outside:
            return f"{first} Nothing is clipped; the mean squared error, {number(f.total)}, is all rounding."
        whole = curve[-1].total
        if f.total < whole:
            gain = f"{number(whole / f.total, 2)} times less than" if whole / f.total >= 1.05 else "a little less than"
        else:
            gain = f"{number(f.total / whole, 2)} times more than" if f.total / whole >= 1.05 else "no less than"
        they = "values is clipped and costs" if f.outside == 1 else "values are clipped and cost"
        return (
            f"{first} {f.outside} of {len(f.values):,} {they} {f.clipping / f.total:.0%} of the mean squared "
            f"error, {number(f.total)}: {gain} with nothing clipped."
        )

    def draw(self, numbers):
        f, curve, kept, _ = numbers
        scene = Scene(WIDTH, HEIGHT)
        _histogram(scene, f)
        _bars(scene, f, curve[-1].total)
        _curve(scene, f, curve, kept)
        return scene


def _prepared(name, data):
    """At most COUNT values of one data set, evenly picked, as float32."""
    values = np.asarray(data.detach().float().cpu() if hasattr(data, "detach") else data, np.float32).ravel()
    if values.size == 0 or not np.isfinite(values).all():
        raise ValueError(f"grid(values=…): {name!r} must hold finite numbers, got {values.size} values")
    return np.ascontiguousarray(values[:: max(1, values.size // COUNT)][:COUNT])


def _histogram(scene, f):
    """The values as bars, the marks below with their codes; clipped zones hatched, marks without a value hollow."""
    reach = 1.06 * max(float(np.abs(f.values).max()), f.hi, -f.lo)
    axis = Axis(-reach, reach, 16, 506)
    counts, edges = np.histogram(f.values, BINS, (-reach, reach))
    title = f"{len(f.values):,} values and the {len(f.marks)} marks they round to"
    scene.text(axis.start, 16, title, size=14, bold=True, anchor="start")
    for lo, hi in ((-reach, f.lo - f.step / 2), (f.hi + f.step / 2, reach)):
        data_end = float(f.values.min()) if lo == -reach else float(f.values.max())
        if hi > lo and (data_end < hi if lo == -reach else data_end > lo):
            scene.hatch(axis(lo), TOP, axis(hi) - axis(lo), BASE - TOP, "red", gap=8, width=0.8)
            scene.text(
                min(max((axis(lo) + axis(hi)) / 2, 42), 480), TOP - 6, "clipped", size=12, color="red", bold=True
            )
    for count, left, right in zip(counts, edges[:-1], edges[1:], strict=True):
        if count:
            height = max(2.0, count / counts.max() * (BASE - TOP))
            scene.rect(axis(left) + 0.5, BASE - height, axis(right) - axis(left) - 1, height, fill="muted", opacity=0.8)
    scene.line(axis.start, BASE, axis.end, BASE, "ink", 1.5)
    gap = axis(f.step) - axis(0)
    named = next((every for every in (1, 5, 10) if every * gap > 21), 20)  # close marks: not each has a name
    for mark, code, used in zip(f.marks, f.codes, f.used, strict=True):
        x = axis(mark)
        scene.line(x, BASE - 8, x, BASE + 14, "blue", 2)
        scene.circle(x, BASE + 19, 5 if gap > 12 else 3.5, "blue" if used else "paper", "blue", 1.8)
        if code % named == 0:
            scene.text(x, BASE + 40, number(code), size=12, color="blue", bold=code == (f.zero or 0))
    for value in axis.ticks(6):
        scene.text(axis(value), BASE + 57, number(value), size=12, color="muted")
    words = "blue: marks and their codes, hollow where no value rounds to one; grey: values"
    scene.text(axis.start, BASE + 78, words, size=12, color="muted", anchor="start")


def _bars(scene, f, whole):
    """The mean squared error as one bar: rounding plain, clipping hatched; a tick marks the error without clipping."""
    y, x0, x1 = 332, 16, 506
    axis = Axis(0, 1.6 * whole, x0, x1)
    scene.text(x0, y - 8, f"mean squared error {number(f.total)}", size=14, bold=True, anchor="start")
    split, end = axis.inside(f.rounding), axis.inside(f.total)
    scene.rect(x0, y, split - x0, 22, fill="blue")
    if end - split > 0.5:
        scene.rect(split, y, end - split, 22, color="red", line=1.5).hatch(split, y, end - split, 22, "red", gap=6)
    scene.line(axis(whole), y - 4, axis(whole), y + 26, "ink", 2, (4, 3))
    scene.text(axis(whole), y - 8, "nothing clipped", size=12, color="muted")
    scene.text(x0, y + 38, f"rounding {number(f.rounding)}", size=12, color="blue", bold=True, anchor="start")
    if f.outside:
        scene.text(x0 + 130, y + 38, f"clipping {number(f.clipping)}", size=12, color="red", bold=True, anchor="start")


def _curve(scene, f, curve, kept):
    """Both errors along the slider: rounding falls to the left, clipping rises, their sum has a valley."""
    ceiling = 1.8 * curve[-1].total
    x, y = Axis(KEPT[0], KEPT[-1], 566, 742), Axis(0, ceiling, 300, TOP)
    scene.text(548, 16, "error at each percentile", size=14, bold=True, anchor="start")
    scene.line(x.start, y.start, x.end, y.start, "ink", 1.5)
    for tick in (90, 95, 100):
        scene.text(x(tick), y.start + 17, tick, size=12, color="muted")
    scene.text((x.start + x.end) / 2, y.start + 36, "percentile kept", size=12, color="muted")
    for part, color, dash, width in (
        ("rounding", "blue", (7, 3), 1.8),
        ("clipping", "red", (2, 3), 1.8),
        ("total", "ink", None, 2.4),
    ):
        points = [(x(k), y(getattr(c, part))) for k, c in zip(KEPT, curve, strict=True) if getattr(c, part) <= ceiling]
        if len(points) > 1:
            scene.path(points, color, width, dash=dash)
    best = min(range(len(KEPT)), key=lambda k: curve[k].total)
    scene.circle(x(KEPT[best]), y(curve[best].total), 6, None, "ink", 1.2)
    scene.diamond(x(kept), y.inside(f.total), 7, "ink", "paper")
    scene.text(x(90), y.inside(curve[0].rounding) - 9, "rounding", size=12, color="blue", bold=True, anchor="start")
    where = next((k for k, c in enumerate(curve) if c.clipping < 0.6 * ceiling), len(curve) - 1)
    flat = where == 0  # then the label stands below the curve's start, otherwise left of its fall
    lx, ly = x(KEPT[where]) + (0 if flat else -8), y.inside(curve[where].clipping) + 19
    scene.text(lx, ly, "clipping", size=12, color="red", bold=True, anchor="start" if flat else "end")


def grid(values=None, bits=4, **start):
    """The explorer of chapter 02: `grid()`, or `grid(values={"my layer": w.flatten()}, symmetric=False, kept=99)`."""
    return Grid(values, bits, **start)
