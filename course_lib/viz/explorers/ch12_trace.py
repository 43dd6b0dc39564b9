"""Chapter 12: which bytes a GEMV touches in which order, and what its instructions leave of the memory's speed."""

import functools
from dataclasses import dataclass

import numpy as np

from course_lib.viz.axis import Axis, number
from course_lib.viz.controls import Choice, Slider, Steps
from course_lib.viz.explorer import Explorer
from course_lib.viz.scene import Scene

N, K, GROUP = 8, 256, 128  # small enough to be seen whole
TITLES = {1: "1: naive", 2: "2: scale once a word", 3: "3: magic number", 4: "4: codes used in place", 5: "5: split-K"}
ROWS = tuple((str(n), n) for n in (1, 2, 4, 8))
WIDTH, HEIGHT, LEFT = 760, 436, 16
LETTERS = {"words": "w", "scale": "s", "x": "x", "y": "y"}
FILLS = {"words": "blue", "scale": "green", "x": "orange", "y": "purple"}
SHOWN = 34  # accesses in the strip
MOST = 176  # accesses of the longest; the live slider ends where the chosen version does


@dataclass(frozen=True)
class Traced:
    """A version's accesses up to one of them, and what its machine code costs."""

    version: int
    rows: int
    at: int
    accesses: tuple
    sizes: dict  # argument -> bytes
    before: dict  # argument -> bytes touched up to here, a boolean array
    per_weight: dict  # version -> instructions a weight
    budget: float

    @property
    def now(self):
        return self.accesses[self.at]

    def reach(self, version):
        """Per cent of copy speed that the instructions of a version leave."""
        return min(100.0, 100 * self.budget / self.per_weight[version])


@functools.cache
def traced(version, rows):
    """(accesses, bytes of each argument) of one version on a small matrix, `rows` rows a program."""
    import torch

    from course_lib.kernels import gemv, packing
    from course_lib.kernels.interpreter.trace import trace
    from course_lib.qtensor import quantize
    from course_lib.scheme import Scheme

    g = torch.Generator().manual_seed(0)
    packed = packing.pack(quantize(torch.randn(N, K, generator=g), Scheme.int(4, group=GROUP)))
    parts = 2 if version == 5 else 1
    x = torch.randn(K, generator=g).half()
    y = torch.zeros(parts, N, dtype=torch.float32 if version == 5 else torch.float16)
    known = {"x": x, "words": packed.words, "scale": packed.scale, "zero": torch.zeros(1), "y": y, "n": N, "k": K}
    known |= {
        "one": gemv.ONE,
        "W": packing.BLOCK // 8,
        "GB": GROUP // packing.BLOCK,
        "BN": rows,
        "BB": 1,
        "HAS_ZERO": False,
        "EVEN": True,
    }
    kernel = gemv.VERSIONS[version]
    arguments = {name: known[name] for name in kernel.arg_names}
    accesses = trace(lambda: kernel[(N // rows, parts)](**arguments))
    tensors = {"words": packed.words, "scale": packed.scale, "x": x, "y": y}
    return accesses, {name: t.numel() * t.element_size() for name, t in tensors.items()}


class Trace(Explorer):
    """Version, rows a program, and how far the kernel has come."""

    name = "trace"

    controls = (
        Choice("version", "version", tuple((title, v) for v, title in TITLES.items()), 1),
        Steps("rows", "rows a program", ROWS, 4),
        Slider("access", "access", 1, MOST, 1, 1),
    )

    def numbers(self, version, rows, access):
        from course_lib.kernels.interpreter.trace import touched
        from course_lib.kernels.measure import recorded

        accesses, sizes = traced(version, rows)
        at = min(int(access), len(accesses)) - 1
        before = {name: np.zeros(size, bool) for name, size in sizes.items()}
        for one in accesses[: at + 1]:
            before[one.argument][touched(one)] = True
        codes = recorded.instructions()
        names = {v: f"gemv-{v}" for v in TITLES} | {6: "gemm-1"}  # 6 has the matrix units multiply
        per_weight = {v: codes[name]["per_weight"] for v, name in names.items() if name in codes}
        return Traced(version, rows, at, accesses, sizes, before, per_weight, recorded.budget())

    def sentence(self, t):
        from course_lib.kernels.interpreter.trace import SECTOR, asked, sectors, totals

        now, whole = t.now, totals(t.accesses)
        program = now.program[0] if t.version != 5 else f"{now.program[0]}, part {now.program[1]},"
        moved = f"{sectors(now)} sector{'s' * (sectors(now) > 1)}"
        verb = "stores" if now.kind == "store" else "loads"
        text = (
            f"Version {t.version}, {t.rows} row{'s' * (t.rows > 1)} a program, access {t.at + 1} of {len(t.accesses)}: "
            f"program {program} {verb} {asked(now)} bytes of {now.argument}, {moved} of {SECTOR}. "
            f"When all is done, every byte of words was loaded {whole['words'][0] / t.sizes['words']:.0f} time, "
            f"every byte of x {whole['x'][0] / t.sizes['x']:.0f} times."
        )
        text = text.replace("was loaded 1 time,", "was loaded once,").replace("x 1 times.", "x once.")
        if t.version in t.per_weight:
            text += (
                f" {t.per_weight[t.version]} instructions a weight leave at most {t.reach(t.version):.0f} % of an "
                "H200's copy speed."
            )
        return text

    def draw(self, t):
        scene = Scene(WIDTH, HEIGHT)
        _words(scene, t)
        _vectors(scene, t)
        _roofline(scene, t)
        _order(scene, t)
        return scene

    def box(self):
        """The live widget; the slider ends where the chosen version does."""
        box = super().box()
        version, rows, access = box.children[:3]

        def fit(_=None):
            access.max = len(traced(self.controls[0].read(version.value), self.controls[1].read(rows.value))[0])

        fit()
        version.observe(fit, names="value")
        rows.observe(fit, names="value")
        return box


def _cells(scene, t, argument, x, y, columns, wide, high, size, order=None):
    """The elements of an argument, `size` bytes each: a tint where they were touched, a dot where they are now.

    order: where each element stands in the picture, if not in the order of memory.
    """
    from course_lib.kernels.interpreter.trace import touched

    now = set((touched(t.now) // size).tolist()) if t.now.argument == argument else set()
    done = t.before[argument][::size]
    for i, known in enumerate(done):
        place = i if order is None else order[i]
        left, top = x + wide * (place % columns), y + high * (place // columns)
        fill = FILLS[argument] if i in now else "sky" if known else "card"
        scene.rect(left, top, wide - 1, high - 1, fill=fill, color="muted", line=0.5)
        if i in now:
            scene.circle(left + (wide - 1) / 2, top + (high - 1) / 2, 1.6, "paper")


def _words(scene, t):
    title = f"words: {N} rows, {K // 8} words of 8 codes each"
    scene.text(LEFT, 22, title, size=13, bold=True, anchor="start")
    columns, per_block = K // 8, GROUP // 8  # in memory the first block of all rows comes first, then the second
    block, row, c = np.indices((columns // per_block, N, per_block))
    order = (row * columns + block * per_block + c).ravel()
    _cells(scene, t, "words", LEFT, 32, columns, 13, 13, 4, order)
    for row in range(t.rows, N, t.rows):
        scene.line(LEFT - 4, 32 + 13 * row - 0.5, LEFT + 13 * columns + 3, 32 + 13 * row - 0.5, "ink", 1.2)
    scene.text(LEFT + 13 * columns, 22, f"{N // t.rows} program{'s' * (N > t.rows)}", size=12, color="muted",
               anchor="end")  # fmt: skip


def _vectors(scene, t):
    top = 164
    scene.text(LEFT, top, f"x: {K} numbers of 2 bytes", size=13, bold=True, anchor="start")
    _cells(scene, t, "x", LEFT, top + 10, 64, 6.5, 12, 2)
    size = t.sizes["scale"] // (N * K // GROUP)
    scene.text(LEFT, top + 86, f"scale: {N * K // GROUP}", size=13, bold=True, anchor="start")
    _cells(scene, t, "scale", LEFT, top + 96, N * K // GROUP, 8, 13, size)
    scene.text(LEFT + 300, top + 86, "y", size=13, bold=True, anchor="start")
    _cells(scene, t, "y", LEFT + 300, top + 96, N, 13, 13, t.sizes["y"] // (N * (2 if t.version == 5 else 1)))
    scene.rect(LEFT, top + 132, 11, 11, fill="sky", color="muted", line=0.5)
    scene.text(LEFT + 17, top + 142, "touched already", size=12, color="muted", anchor="start")
    for k, name in enumerate(LETTERS):
        scene.rect(LEFT + 128 + 13 * k, top + 132, 11, 11, fill=FILLS[name], color="muted", line=0.5)
        scene.circle(LEFT + 133.5 + 13 * k, top + 137.5, 1.6, "paper")
    scene.text(LEFT + 186, top + 142, "touched by this access", size=12, color="muted", anchor="start")


def _roofline(scene, t):
    """Instructions a weight against the share of copy speed that they leave."""
    x, y = Axis(0, 10, 508, 738), Axis(0, 100, 268, 62)
    scene.text(480, 22, "how fast at most, on an H200", size=13, bold=True, anchor="start")
    scene.text(480, 40, "% of copy speed", size=12, color="muted", anchor="start")
    for tick in (0, 50, 100):
        scene.line(x.start, y(tick), x.end, y(tick), "faint", 1)
        scene.text(x.start - 6, y(tick) + 4, tick, size=12, color="muted", anchor="end")
    for tick in range(0, 11, 2):
        scene.text(x(tick), y.start + 18, tick, size=12, color="muted")
    scene.text(x.end, y.start + 36, "instructions a weight", size=12, color="muted", anchor="end")
    roof = [(x(v), y(min(100.0, 100 * t.budget / v))) for v in np.linspace(t.budget, 10, 40)]
    scene.path([(x(0), y(100)), *roof], "ink", 2.5)
    scene.text(x(t.budget) + 6, y(100) - 6, f"up to {number(t.budget, 2)}: memory decides", size=11, color="muted",
               anchor="start")  # fmt: skip
    for v, each in t.per_weight.items():
        if v != t.version:
            side, anchor = (9, "start") if v % 2 else (-9, "end")
            scene.circle(x(each), y(t.reach(v)), 4.5, "paper", "blue", 2)
            up = {1: 16, 2: 13}.get(v, -5)  # 1 and 3 stand close together; above 2 runs the roof
            scene.text(x(each) + side, y(t.reach(v)) + up, v, size=12, color="blue", anchor=anchor)
    if t.version in t.per_weight:
        px, py = x(t.per_weight[t.version]), y(t.reach(t.version))
        scene.line(px, y.start, px, py, "red", 1.2, (3, 3)).diamond(px, py, 8, "red", "paper")
        scene.text(px - 12, py + 18, f"version {t.version}: {t.reach(t.version):.0f} %", size=13, bold=True,
                   color="red", anchor="end", halo=True)  # fmt: skip


def _order(scene, t):
    """The accesses around this one, in their order, a letter for each argument."""
    top, first = 372, max(0, min(t.at - SHOWN // 2, len(t.accesses) - SHOWN))
    scene.text(LEFT, top - 12, f"in this order ({t.at + 1} of {len(t.accesses)})", size=13, bold=True, anchor="start")
    shown, last = t.accesses[first : first + SHOWN], None
    for k, one in enumerate(shown):
        x = LEFT + 21.4 * k
        here = first + k == t.at
        scene.rect(x, top, 19, 22, fill=FILLS[one.argument] if here else "sky" if first + k < t.at else "card",
                   color="ink" if here else "muted", line=2 if here else 0.6)  # fmt: skip
        scene.text(x + 9.5, top + 16, LETTERS[one.argument], size=13, mono=True, bold=here,
                   color="paper" if here and one.argument != "x" else "ink")  # fmt: skip
        if one.program != last and sum(other.program == one.program for other in shown) > 3:  # room for its name
            part = f".{one.program[1]}" if t.version == 5 else ""
            scene.text(x, top + 38, f"program {one.program[0]}{part}", size=11, color="muted", anchor="start")
            last = one.program
    scene.text(WIDTH - 16, top - 12, "w words, s scales, x inputs, y results", size=12, color="muted", anchor="end")


def trace(**start):
    """The explorer of chapter 12: `trace(version=1, rows=4, access=1)`."""
    return Trace(**start)
