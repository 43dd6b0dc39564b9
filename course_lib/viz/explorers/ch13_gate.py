"""Chapter 13: ten candidates before three gates; move margin, items and memory, and see who may serve."""

import functools
import random
from dataclasses import dataclass

from course_lib.viz.axis import Axis, number
from course_lib.viz.controls import Slider, Steps
from course_lib.viz.explorer import Explorer
from course_lib.viz.scene import Scene

KL_LIMIT = 0.1
ITEMS = (25, 50, 100, 200, 300)
MEMORIES = (0.1, 0.25, 0.5, 1.0)
WIDTH, TOP, ROW = 760, 66, 34
KL = Axis(1e-4, 1, 170, 300, log=True)
DROP = Axis(-5, 15, 340, 560)
MEMORY = Axis(0.03, 2, 600, 690, log=True)


@dataclass(frozen=True)
class Row:
    """One candidate: its figures and which gates it passes; drop, low and high in points."""

    name: str
    kl: float
    drop: float
    low: float
    high: float
    memory_gib: float
    language: bool
    task: bool
    serving: bool

    @property
    def approved(self):
        return self.language and self.task and self.serving


@dataclass(frozen=True)
class Dashboard:
    """All rows under one setting."""

    rows: tuple
    items: int
    margin: float  # points
    memory: float


class Gates(Explorer):
    """Items, which items, margin and memory; a row a candidate."""

    name = "gate"
    controls = (
        Steps("items", "items asked", tuple((str(n), n) for n in ITEMS), 300),
        Slider("sample", "which items", 1, 10, 1, 1),
        Slider("margin", "margin, points", 0.5, 10, 0.5, 3.0, ".1f"),
        Steps("memory", "memory", tuple((f"{m:g} GiB", m) for m in MEMORIES), 0.25),
    )

    def __init__(self, recorded=None, **start):
        """recorded: a course_lib.evaluate.recorded.Recorded; by default the ten candidates of the returns bot."""
        from course_lib.evaluate.recorded import returns_bot

        self.recorded = returns_bot() if recorded is None else recorded
        self.pair = functools.cache(self._pair)
        super().__init__(**start)

    def _pair(self, index, items, sample):
        count = len(self.recorded.base)
        chosen = random.Random(f"items {sample}").sample(range(count), min(items, count))
        return self.recorded.pair(self.recorded.reports[index], chosen)

    def numbers(self, items, sample, margin, memory):
        rows = []
        for index, report in enumerate(self.recorded.reports):
            pair, figures = self.pair(index, items, sample), report.figures
            low, high = pair.interval(0.90)[0], pair.drop_high()
            rows.append(Row(
                report.name, figures["kl"], 100 * pair.drop, 100 * low, 100 * high, figures["memory_gib"],
                figures["kl"] <= KL_LIMIT, high <= margin / 100, figures["memory_gib"] <= memory,
            ))  # fmt: skip
        return Dashboard(tuple(rows), items, margin, memory)

    def sentence(self, d):
        through = [row.name for row in d.rows if row.approved]
        who = "none may serve" if not through else f"{len(through)} may serve: {', '.join(through)}"
        shut = [f"{gate} {sum(not getattr(row, gate) for row in d.rows)}" for gate in ("language", "task", "serving")]
        margin = "1 point" if d.margin == 1 else f"{number(d.margin, 2)} points"
        first = f"{d.items} items, a margin of {margin}, {d.memory:g} GiB: of {len(d.rows)} candidates {who}."
        return f"{first} Held back by {shut[0]}, by {shut[1]}, by {shut[2]}."

    def draw(self, d):
        bottom = TOP + ROW * len(d.rows)
        scene = Scene(WIDTH, bottom + 40)
        titles = ((KL, "language: KL"), (DROP, "task: drop, points"), (MEMORY, "serving: GiB"))
        for axis, title in titles:
            scene.text((axis.start + axis.end) / 2, 22, title, size=14, bold=True)
        for axis, limit, label in ((KL, KL_LIMIT, "≤ 0.1"), (DROP, d.margin, f"≤ {number(d.margin, 2)}"),
                                   (MEMORY, d.memory, f"≤ {d.memory:g}")):  # fmt: skip
            scene.rect(axis.start, TOP - 8, axis(limit) - axis.start, bottom - TOP + 8, fill="card", color=None)
            scene.line(axis(limit), TOP - 14, axis(limit), bottom, color="red", width=2, dash=(5, 3))
            scene.text(axis(limit), TOP - 20, label, size=13, color="red")
        for axis in (KL, DROP, MEMORY):
            _ticks(scene, axis, bottom)
        for k, row in enumerate(d.rows):
            _row(scene, TOP + ROW * k + ROW / 2, row)
        return scene


def _ticks(scene, axis, bottom):
    """Round numbers below a column."""
    scene.line(axis.start, bottom, axis.end, bottom, color="muted", width=1)
    for tick in (0.1, 1) if axis is MEMORY else (0.0001, 0.01, 1) if axis is KL else axis.ticks(5):
        scene.line(axis(tick), bottom, axis(tick), bottom + 5, color="muted", width=1)
        scene.text(axis(tick), bottom + 20, f"{tick:g}".replace("-", "−"), size=12, color="muted")


def _row(scene, y, row):
    """One candidate: name, three marks, verdict. A figure that passes is a disc, one that does not a diamond."""
    scene.text(12, y + 5, row.name, size=13, anchor="start", bold=row.approved)
    _mark(scene, KL.inside(max(row.kl, KL.lo)), y, row.language)
    color = "green" if row.task else "red"
    low, high = DROP.inside(row.low), DROP.inside(row.high)
    scene.line(low, y, high, y, color=color, width=3)
    if row.high > DROP.hi:
        scene.text(DROP.end + 4, y + 5, "→", size=14, color=color, anchor="start")
    _mark(scene, DROP.inside(row.drop), y, row.task)
    _mark(scene, MEMORY.inside(row.memory_gib), y, row.serving)
    scene.text(WIDTH - 12, y + 5, "✓" if row.approved else "✗", size=17, anchor="end", bold=True,
               color="green" if row.approved else "red")  # fmt: skip


def _mark(scene, x, y, passes):
    if passes:
        scene.circle(x, y, 5.5, fill="green")
    else:
        scene.diamond(x, y, 7, fill="red")


def gate(recorded=None, **start):
    """The explorer of chapter 13: `gate()`, or `gate(items=100, sample=1, margin=3.0, memory=0.25)`."""
    return Gates(recorded, **start)
