"""Pictures of chapter 03: a promise and what came of it, a row cut into groups, bytes by part, steps, a race."""

from course_lib.viz.axis import Axis, number
from course_lib.viz.scene import Scene

WIDTH = 760


def promise(rows, promised=4.0):
    """What was promised, what came: `rows` is a list of (what, factor, note); a factor of 1 is no change (a Scene)."""
    top = max([promised, *(factor for _, factor, _ in rows)]) * 1.35
    scene, axis = Scene(WIDTH, 46 + 78 * len(rows)), Axis(0, top, 150, 740)
    scene.line(axis(1), 26, axis(1), scene.height - 6, "ink", 1.5, (4, 4))
    scene.text(axis(1), 18, "1 ×: no change", size=12, color="muted")
    for k, (what, factor, note) in enumerate(rows):
        y = 40 + 78 * k
        kept = factor >= promised * 0.99
        scene.text(140, y + 28, what, size=15, bold=True, anchor="end")
        scene.rect(axis(0), y, axis(promised) - axis(0), 18, color="muted", line=1.5)
        scene.text(axis(0) + 8, y + 14, f"promised: {number(promised)} ×", size=13, color="muted", anchor="start")
        scene.rect(axis(0), y + 22, axis(factor) - axis(0), 26, fill="green" if kept else "red")
        words = f"{number(factor, 2 if factor < 1 else 3)} ×, {note}"
        beside = axis(max(factor, 1)) + 8  # not across the line
        scene.text(beside, y + 41, words, size=15, bold=True, anchor="start", halo=True)
    return scene


def groups(w, scale, row=0, name=""):
    """A weight matrix w (out, in) with one row cut into groups, each with its scale (out, groups) (a Scene)."""
    import torch

    values, scales = w[row].detach().float(), scale[row].float().tolist()
    scene, size = Scene(WIDTH, 312), 216
    scene.text(8, 18, name, size=14, bold=True, anchor="start")
    shade = (w.detach().float() / w.abs().max()).abs().sqrt()  # (out, in), 0 … 1
    grey = (235 - 190 * shade).to(torch.uint8)
    scene.image(8, 30, size, size, grey[..., None].expand(-1, -1, 3).contiguous().numpy())
    at = 30 + (row + 0.5) / w.shape[0] * size
    scene.rect(6, at - 4, size + 4, 8, color="red", line=2)
    scene.path([(size + 10, at), (252, at), (252, 150), (266, 150)], "red", 2)
    scene.text(8, 270, f"{w.shape[0]} outputs × {w.shape[1]} inputs. One", size=13, color="muted", anchor="start")
    scene.text(8, 288, "row makes one output. Dark: large.", size=13, color="muted", anchor="start")
    _row(scene, values.tolist(), scales, Axis(0, len(values), 276, 750), row)
    return scene


def _row(scene, values, scales, x, row):
    """One row as bars up and down, a box and a scale for each of its groups."""
    top, each = max(abs(v) for v in values), len(values) // len(scales)
    y, wide = Axis(-top, top, 236, 64), max(0.8, (x.end - x.start) / len(values) * 0.72)
    scene.text(x.start, 18, f"row {row}: {len(values)} weights, {len(scales)} groups of {each}", size=14, bold=True,
               anchor="start")  # fmt: skip
    for k, s in enumerate(scales):
        left, right = x(k * each) + 2, x((k + 1) * each) - 2
        color = ("blue", "purple")[k % 2]
        scene.rect(left, 52, right - left, 196, color=color, line=2)
        scene.bracket(left, right, 262, color, 2, 5)
        scene.text((left + right) / 2, 284, f"s = {number(s)}", size=14, bold=True, color=color)
        scene.text((left + right) / 2, 302, f"{each} codes, 1 scale", size=12, color="muted")
    scene.line(x.start, y(0), x.end, y(0), "faint", 1.2)
    for i, v in enumerate(values):
        middle = x(i + 0.5)
        scene.line(middle, y(0), middle, y(v), ("blue", "purple")[i // each % 2], wide)


def bill(rows, budget_bytes=None):
    """Bytes by part: `rows` maps a name to {part: bytes}; the same part has the same colour and texture (a Scene)."""
    paint = {}
    for parts in rows.values():
        for part in parts:
            paint.setdefault(part, ("blue", "orange", "purple", "green", "muted")[len(paint) % 5])
    total = max([budget_bytes or 0, *(sum(parts.values()) for parts in rows.values())])
    scene, x = Scene(WIDTH, 66 + 52 * len(rows)), Axis(0, total * 1.17, 190, 750)
    if budget_bytes:
        scene.line(x(budget_bytes), 28, x(budget_bytes), scene.height - 28, "ink", 2, (5, 4))
        scene.text(x(budget_bytes), 20, f"budget {budget_bytes / 1e6:.1f} MB", size=13)
    for k, (name, parts) in enumerate(rows.items()):
        y, start = 40 + 52 * k, 0
        scene.text(180, y + 21, name, size=14, bold=True, anchor="end")
        for part, size in parts.items():
            scene.rect(x(start), y, x(start + size) - x(start), 32, fill=paint[part], color="paper", line=1)
            start += size
        scene.rect(x(start) + 2, y + 6, 78, 20, fill="paper", color="paper")  # the budget's line ends beside the label
        scene.text(x(start) + 8, y + 21, f"{start / 1e6:.2f} MB", size=14, bold=True, anchor="start")
    left = 190
    for part, color in paint.items():
        scene.rect(left, scene.height - 17, 12, 12, fill=color)
        scene.text(left + 18, scene.height - 6, part, size=13, anchor="start")
        left += 46 + 7.4 * len(part)
    return scene


def steps(rows, unit="ms"):
    """Steps of a decode as bars in time: `rows` maps a name to (reading, other work), both in `unit` (a Scene)."""
    longest = max(sum(parts) for parts in rows.values())
    scene, x = Scene(WIDTH, 52 + 56 * len(rows)), Axis(0, longest * 1.5, 110, 750)
    for k, (name, (reading, other)) in enumerate(rows.items()):
        y = 14 + 56 * k
        scene.text(100, y + 25, name, size=14, bold=True, anchor="end")
        scene.rect(x(0), y, x(reading) - x(0), 38, fill="blue")
        scene.rect(x(reading), y, x(reading + other) - x(reading), 38, fill="card", color="ink", line=1.2)
        scene.hatch(x(reading), y, x(reading + other) - x(reading), 38, "muted", gap=8, width=0.8)
        total = reading + other
        words = f"{number(total)} {unit}, {number(1000 / total)} tokens/s"
        scene.text(x(total) + 8, y + 25, words, size=14, bold=True, anchor="start")
    y = scene.height - 12
    scene.rect(110, y - 11, 12, 12, fill="blue")
    scene.text(128, y, "reading weights", size=13, anchor="start")
    scene.rect(280, y - 11, 12, 12, fill="card", color="ink").hatch(280, y - 11, 12, 12, "muted", gap=6, width=0.8)
    scene.text(298, y, "other work", size=13, anchor="start")
    return scene


LOOKS = {"16 bits": ("ink", "ring"), "4 bits, fused": ("blue", "disc"), "4 bits, unpack first": ("red", "diamond")}


def race(timings):
    """Milliseconds of a step against the batch, one line a way, both axes logarithmic (a Scene of measure.Timing)."""
    return _lines(timings, lambda t: (t.batch, t.ms), "batch: sequences at once", "ms for one step")


def race_roofline(timings):
    """The same timings on the roofline: operations a byte moved against operations a second, roofs through the best."""
    scene, x, y = _frame(
        timings, lambda t: (t.intensity, t.gflops), "operations for each byte moved", "10⁹ operations a second"
    )
    slope, peak = max(t.gb_per_s for t in timings), max(t.gflops for t in timings)
    ridge = peak / slope
    points = [(x.lo, x.lo * slope), (ridge, peak), (x.hi, peak)]
    scene.path([(x(a), y.inside(b)) for a, b in points], "muted", 3)
    scene.text(x.end, y(peak) - 10, f"best arithmetic seen: {number(peak)}", size=13, color="muted", anchor="end")
    middle = (x.lo * ridge) ** 0.5
    scene.text(x(middle) - 10, y(middle * slope) - 8, f"{number(slope, 2)} GB/s", size=13, color="muted", anchor="end")
    _marks(scene, timings, x, y, lambda t: (t.intensity, t.gflops))
    return scene


def _lines(timings, at, xlabel, ylabel):
    scene, x, y = _frame(timings, at, xlabel, ylabel)
    _marks(scene, timings, x, y, at, joined=True)
    return scene


def _frame(timings, at, xlabel, ylabel):
    """An empty log-log frame that holds all timings, with its ticks, labels and a key."""
    xs, ys = zip(*(at(t) for t in timings), strict=True)
    scene = Scene(WIDTH, 380)
    x = Axis(min(xs) / 1.35, max(xs) * 1.6, 70, 740, log=True)
    y = Axis(min(ys) / 1.6, max(ys) * 1.9, 322, 52, log=True)
    for tick in _ticks(y):
        scene.line(x.start, y(tick), x.end, y(tick), "faint", 1)
        scene.text(x.start - 8, y(tick) + 4, number(tick), size=12, color="muted", anchor="end")
    for tick in _ticks(x) if xlabel.startswith("op") else sorted(set(xs)):
        scene.line(x(tick), y.start, x(tick), y.start + 5, "muted", 1)
        scene.text(x(tick), y.start + 20, number(tick), size=12, color="muted")
    scene.text(x.end, y.start + 42, xlabel, size=13, color="muted", anchor="end")
    scene.text(12, 18, ylabel, size=14, bold=True, anchor="start")
    left = 250
    for way in dict.fromkeys(t.way for t in timings):
        _mark(scene, way, left, 14)
        scene.text(left + 14, 18, way, size=13, anchor="start", color=LOOKS[way][0])
        left += 48 + 7.6 * len(way)
    return scene, x, y


def _ticks(axis):
    """1, 2, 5 in every decade of a log axis, or the decades alone where there are many."""
    decades = [10.0**k for k in range(-3, 9)]
    fine = [m * d for d in decades for m in (1, 2, 5) if axis.lo <= m * d <= axis.hi]
    return fine if len(fine) <= 9 else [d for d in decades if axis.lo <= d <= axis.hi]


def _marks(scene, timings, x, y, at, joined=False):
    for way in dict.fromkeys(t.way for t in timings):
        points = [(x(a), y(b)) for a, b in (at(t) for t in timings if t.way == way)]
        if joined:
            scene.path(points, LOOKS[way][0], 2.4)
        for px, py in points:
            _mark(scene, way, px, py)


def _mark(scene, way, px, py):
    color, shape = LOOKS[way]
    if shape == "diamond":
        scene.diamond(px, py, 7, color, "paper")
    else:
        scene.circle(px, py, 5.5, color if shape == "disc" else "paper", color if shape == "ring" else "paper", 2.2)
