"""Chapter 10: one block of 32 numbers in five ways of scaling it: which marks it gets, and how much it errs."""

from dataclasses import dataclass

import numpy as np

from course_lib.viz.axis import Axis, number
from course_lib.viz.controls import Choice, Slider
from course_lib.viz.explorer import Explorer
from course_lib.viz.scene import Scene

WAYS = (("MXFP4, floor", ("mxfp4", "floor")), ("MXFP4, ceil", ("mxfp4", "ceil")), ("MXFP4, even", ("mxfp4", "even")),
        ("MXFP4, rceil", ("mxfp4", "rceil")), ("NVFP4", ("nvfp4", None)),
        ("NVFP4, four over six", ("nvfp4", "four-over-six")), ("INT4, groups of 32", ("int4", None)))  # fmt: skip
DATA = (("a bell curve", "bell"), ("one large number", "outlier"), ("all of a size", "even"))
REST_MAX = 24.0  # the largest number elsewhere in the tensor: NVFP4's second scale serves it as well
WIDTH, HEIGHT = 760, 400
SPLIT = 404


@dataclass(frozen=True)
class Row:
    """One way: relative squared error in %, the scales used, what the numbers became."""

    label: str
    error: float
    scales: tuple
    back: np.ndarray
    bits: float


def block(data, top):
    """32 made-up numbers (1, 32) whose largest magnitude is `top`."""
    rng = np.random.default_rng(10)
    x = rng.standard_normal(32)
    if data == "even":
        x = np.sign(x) * rng.uniform(0.55, 1.0, 32)
    x[5] = np.sign(x[5]) * np.abs(x).max() * (5.0 if data == "outlier" else 1.0001)
    return (x / np.abs(x[5]) * top).astype(np.float32)[None]


def round_block(x, way):
    """(block as it comes back (32,), scales of it, bits a weight) for a way of WAYS."""
    import torch

    from course_lib.formats import microscaling
    from course_lib.qtensor import quantize
    from course_lib.scheme import Scheme

    name, rule = way
    if name == "int4":
        q = quantize(torch.from_numpy(x), Scheme.int(4, group=32, scale_dtype=torch.float16))
        return q.dequantize()[0].numpy(), tuple(q.step.flatten().tolist()), 4.5
    if name == "mxfp4":
        q = microscaling.quantize(torch.from_numpy(x), name, rule)
        return q.dequantize()[0].numpy(), tuple(q.step.flatten().tolist()), 4.25
    rest = np.full_like(x, REST_MAX)
    q = microscaling.quantize(torch.from_numpy(np.concatenate([x, rest])), name, rule)
    return q.dequantize()[0].numpy(), tuple(q.step[0].tolist()), 4.5


class Comparer(Explorer):
    """A block, its largest number, and the way whose marks are shown; errors of all ways beside it."""

    name = "comparer"
    controls = (
        Choice("data", "the block holds", DATA, "bell"),
        Slider("top", "its largest number", 4, 8, 0.1, 7.1, ".1f"),
        Choice("way", "show the marks of", WAYS, ("mxfp4", "floor")),
    )

    def numbers(self, data, top, way):
        from course_lib.evaluate import one_thread

        x, rows = block(data, float(top)), []
        with one_thread():
            for label, each in WAYS:
                back, scales, bits = round_block(x, each)
                error = 100 * float(np.square(back - x[0]).sum() / np.square(x).sum())
                rows.append(Row(label, error, scales, back, bits))
        shown = [each for _, each in WAYS].index(tuple(way))
        return x[0], tuple(rows), shown

    def sentence(self, numbers):
        x, rows, shown = numbers
        row, best = rows[shown], min(rows, key=lambda r: r.error)
        top = float(np.abs(x).max())
        largest = float(np.abs(row.back[np.abs(x).argmax()]))
        what = "comes back as" if abs(largest - top) > 1e-3 * top else "stays"
        ways = "and that is the least here" if best is row else f"the least is {best.label}, {number(best.error, 3)} %"
        return (
            f"{row.label}: the largest number, {number(top)}, {what} {number(largest)}, and the block errs by "
            f"{number(row.error, 3)} % of its sum of squares; {ways}."
        )

    def draw(self, numbers):
        x, rows, shown = numbers
        scene = Scene(WIDTH, HEIGHT)
        _numbers(scene, x, rows[shown])
        _errors(scene, rows, shown)
        return scene


def _marks(row, cells):
    """The marks of each half of the block: E2M1's or INT4's times its scale."""
    levels = np.arange(-7, 8) if row.label.startswith("INT4") else np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6])
    levels = levels if row.label.startswith("INT4") else np.unique(np.concatenate([-levels, levels]))
    return [levels * s for s in (row.scales * (cells // len(row.scales)))]


def _numbers(scene, x, row):
    """Each number a diamond, where it went a circle; the marks of its block as lines across."""
    top, bottom = 34, 366
    axis, place = Axis(-8.6, 8.6, bottom, top), Axis(-0.5, len(x) - 0.5, 56, SPLIT - 14)
    scene.text(10, 18, f"32 numbers and the marks of {row.label}", size=14, bold=True, anchor="start")
    for tick in (-8, -6, -4, -2, 0, 2, 4, 6, 8):
        scene.text(48, axis(tick) + 4, number(tick), size=12, color="muted", anchor="end")
    halves = _marks(row, 2)
    for k, marks in enumerate(halves):
        left, right = place(16 * k - 0.5), place(16 * k + 15.5)
        for v in marks:
            if abs(v) <= 8.6:
                scene.line(left + 2, axis(v), right - 2, axis(v), "sky", 1.4)
    if len(row.scales) == 2:
        scene.line(place(15.5), top, place(15.5), bottom, "muted", 1, dash=(4, 4))
    for k, (v, back) in enumerate(zip(x, row.back, strict=True)):
        if abs(v - back) > 0.02:
            scene.line(place(k), axis(v), place(k), axis(back), "red", 1.6)
        scene.circle(place(k), axis(back), 3.6, "blue", "paper", 1)
        scene.diamond(place(k), axis(v), 4, "ink", "paper", 1)
    scene.diamond(64, 386, 5, "ink", "paper").text(74, 390, "the number", size=12, color="muted", anchor="start")
    scene.circle(164, 386, 4, "blue", "paper").text(174, 390, "what comes back", size=12, color="muted", anchor="start")
    scene.line(292, 386, 308, 386, "red", 1.8).text(314, 390, "its error", size=12, color="muted", anchor="start")


def _errors(scene, rows, shown):
    """One bar a way: relative squared error; the shown one is outlined, the best one has a circle."""
    scene.text(SPLIT + 14, 18, "squared error of the block, %", size=14, bold=True, anchor="start")
    axis = Axis(0, 1.02 * max(r.error for r in rows) or 1.0, SPLIT + 14, WIDTH - 62)
    best = min(range(len(rows)), key=lambda k: rows[k].error)
    for k, row in enumerate(rows):
        y = 38 + 46 * k
        scales = " and ".join(number(s, 3) for s in row.scales)
        label = f"{row.label}: scale{'s' * (len(row.scales) > 1)} {scales}"
        scene.text(SPLIT + 14, y + 8, label, size=12, bold=k == shown, anchor="start")
        color = "green" if row.label.startswith("INT4") else "orange" if row.label.startswith("NV") else "blue"
        scene.rect(axis.start, y + 14, max(1.0, axis(row.error) - axis.start), 14, fill=color)
        if k == shown:
            scene.rect(axis.start - 2, y + 12, max(1.0, axis(row.error) - axis.start) + 4, 18, color="ink", line=1.6)
        scene.text(axis(row.error) + 8, y + 26, number(row.error, 3), size=12, anchor="start", bold=k == best)
        if k == best:
            scene.circle(axis(row.error) + 58, y + 21, 4.5, "green", "paper")
    scene.circle(SPLIT + 20, 386, 4.5, "green", "paper").text(SPLIT + 32, 390, "the least error", size=12,
                                                             color="muted", anchor="start")  # fmt: skip
    scene.rect(SPLIT + 140, 380, 12, 12, color="ink", line=1.6).text(SPLIT + 160, 390, "shown on the left", size=12,
                                                                     color="muted", anchor="start")  # fmt: skip


def comparer(**start):
    """The second explorer of chapter 10: `comparer(data="bell", top=7.1)`."""
    return Comparer(**start)
