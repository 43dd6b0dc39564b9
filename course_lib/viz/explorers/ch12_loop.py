"""Chapter 12: where a GEMV's instructions go: one turn of its loop as machine code, each instruction by its purpose."""

import functools
import itertools
from collections import Counter
from dataclasses import dataclass

from course_lib.viz.axis import Axis, number
from course_lib.viz.controls import Choice, Steps
from course_lib.viz.explorer import Explorer
from course_lib.viz.scene import Scene

VERSIONS = (
    ("1: naive", "gemv-1"), ("2: scale once a word", "gemv-2"), ("3: magic number", "gemv-3"),
    ("4: codes in place", "gemv-4"), ("4, with masks", "gemv-4-masked"), ("5: split-K", "gemv-5"),
    ("6: matrix units", "gemm-1"),
)  # fmt: skip
LOOKS = {  # purpose: name, letter, fill, colour of the letter
    "load": ("load", "L", "orange", "#1f2328"),
    "unpack": ("unpack bits", "U", "blue", "paper"),
    "convert": ("convert", "C", "red", "paper"),
    "arithmetic": ("multiply-add", "M", "green", "paper"),
    "exchange": ("shared memory", "X", "purple", "paper"),
    "control": ("addresses and masks", "a", "faint", "ink"),
}
SHOWN = (("all", "all"), *((look[0], purpose) for purpose, look in LOOKS.items()))
MEANS = {
    "BAR": "wait for all", "CS2R": "clear", "FADD": "add", "FFMA": "multiply-add", "FMUL": "multiply",
    "HADD2": "half to float, or add two halves", "HFMA2": "multiply-add two halves", "HMMA": "multiply tiles",
    "I2FP": "whole number to float", "IADD3": "add", "IMAD": "multiply-add", "ISETP": "compare", "LDG": "load",
    "LDGSTS": "load ahead", "LDSM": "take back", "LEA": "shift and add", "LOP3": "AND, OR", "PRMT": "pick bytes",
    "SGXT": "keep the low bits", "SHF": "shift", "STS": "hand over", "UIADD3": "count", "VIADD": "add",
}  # fmt: skip
WIDTH, HEIGHT, LEFT = 760, 512, 44
COLUMNS, WIDE, HIGH, TOP = 64, 11, 12, 50
BARS = 328


@dataclass(frozen=True)
class Read:
    """A version's loop, the purpose of each of its instructions, and what all versions spend."""

    title: str
    loop: object
    purposes: tuple
    shown: str  # one purpose, or "all"
    spent: tuple  # (title, {purpose: instructions a weight}) of every version
    budget: float

    def of(self, purpose):
        """Instructions a weight for a purpose."""
        return self.purposes.count(purpose) / self.loop.weights


@functools.cache
def loops():
    """{name: (loop, purpose of each instruction)} of what is recorded."""
    from course_lib.kernels.compiled.loops import read
    from course_lib.kernels.compiled.purposes import purposes
    from course_lib.kernels.measure import recorded

    return {name: (loop, tuple(purposes(loop.instructions))) for name, loop in read(recorded.loops()).items()}


class Loop(Explorer):
    """A field of boxes, one an instruction in the order of the listing, and a bar for every version."""

    name = "loop"
    controls = (Choice("version", "version", VERSIONS, "gemv-1"), Steps("shown", "purpose", SHOWN, "all"))

    def numbers(self, version, shown):
        from course_lib.kernels.measure.recorded import budget

        if version not in loops():
            raise FileNotFoundError("no loop is recorded: run python benchmarks/kernels_sass.py")
        spent = [(title, {p: loops()[name][1].count(p) / loops()[name][0].weights for p in LOOKS})
                 for title, name in VERSIONS]  # fmt: skip
        loop, found = loops()[version]
        return Read(self.controls[0].label_of(version), loop, found, shown, tuple(spent), budget())

    def sentence(self, r):
        each = r.loop.per_weight
        if r.shown == "all":
            parts = ", ".join(f"{look[0]} {r.of(p):.2f}" for p, look in LOOKS.items())
            return (f"Version {r.title}. Instructions a weight: {each:.2f}; an H200 that copies at full speed has time "
                    f"for {number(r.budget, 2)}. They go to: {parts}.")  # fmt: skip
        names = Counter(_stem(text) for text, p in zip(r.loop.instructions, r.purposes, strict=True) if p == r.shown)
        told = [f"{count} {name}{f' ({MEANS[name]})' if name in MEANS else ''}" for name, count in names.most_common(4)]
        rest = sum(names.values()) - sum(count for _, count in names.most_common(4))
        return (f"Version {r.title}. For “{LOOKS[r.shown][0]}” it spends {r.of(r.shown):.2f} of its {each:.2f} "
                f"instructions a weight. In one turn, for {r.loop.weights} weights: {', '.join(told)}"
                f"{f' and {rest} others' if rest else ''}.")  # fmt: skip

    def draw(self, r):
        scene = Scene(WIDTH, HEIGHT)
        _field(scene, r)
        _key(scene)
        _bars(scene, r)
        return scene


def _stem(text):
    from course_lib.kernels.compiled.purposes import opcode

    return opcode(text).split(".")[0]


def _field(scene, r):
    """The loop, box by box; a step in the line says where the budget ends."""
    count, each = len(r.purposes), r.loop.weights // COLUMNS  # rows for one instruction a weight
    scene.text(16, 22, f"one turn of the loop: {count} instructions for {r.loop.weights} weights of a lane", size=14,
               bold=True, anchor="start")  # fmt: skip
    scene.text(16, 41, "instructions a weight", size=12, color="muted", anchor="start")
    for row in range(-(-count // COLUMNS)):
        y = TOP + HIGH * row
        _row(scene, r, COLUMNS * row, min(count, COLUMNS * (row + 1)), y)
        if row % each == 0:
            scene.text(LEFT - 6, y + 10, row // each, size=12, color="muted", anchor="end")
    _limit(scene, r)


def _row(scene, r, start, end, y):
    """A row of boxes: what has the same look is one strip, cut by a thin line; the letters are one line of text."""
    looks = []  # fill and letter, with its colour, of each box
    for purpose in r.purposes[start:end]:
        _, letter, fill, ink = LOOKS[purpose]
        looks.append((fill, letter, ink) if r.shown in ("all", purpose) else ("card", letter, "muted"))
    at = 0
    for (fill, _, _), run in itertools.groupby(looks):
        size = len(list(run))
        scene.rect(LEFT + WIDE * at, y, WIDE * size, HIGH - 1, fill=fill)
        at += size
    ends = ((y - 1, y + HIGH), (y + HIGH, y - 1))
    cuts = [(LEFT + WIDE * k - 0.5, v) for k in range(1, end - start) for v in ends[k % 2]]
    scene.path(cuts or [(LEFT, y)], "paper", 1)  # down, up, down: between the rows it runs on paper
    for color in dict.fromkeys(ink for _, _, ink in looks):
        text = " ".join(letter if ink == color else " " for _, letter, ink in looks)
        scene.text(LEFT + 2.3, y + 9, text, size=9.17, color=color, anchor="start", mono=True,
                   bold=color != "muted", length=len(text) * WIDE / 2)  # fmt: skip
    for k in range(end - start):
        scene.tip(LEFT + WIDE * k, y, WIDE, HIGH, _hover(r, start + k))


def _hover(r, at):
    text = r.loop.instructions[at]
    means = MEANS.get(_stem(text))
    return f"{at + 1}. {text}\n{LOOKS[r.purposes[at]][0]}{f': {means}' if means else ''}"


def _limit(scene, r):
    """A line round the instructions that the budget has time for."""
    fit = r.budget * r.loop.weights
    row, column = int(fit // COLUMNS), fit % COLUMNS
    right, y, x = LEFT + WIDE * COLUMNS, TOP + HIGH * row - 0.5, LEFT + WIDE * column - 0.5
    scene.path([(LEFT - 4, y + HIGH), (x, y + HIGH), (x, y), (right + 4, y)], "ink", 2.5, dash=(6, 3))
    within = len(r.purposes) <= fit
    said = "✓ within the budget" if within else f"✗ {len(r.purposes) - int(fit)} too many"
    scene.text(right + 4, 22, said, size=14, bold=True, color="green" if within else "red", anchor="end")
    scene.text(right + 4, 41, f"dashed: {number(r.budget, 2)} a weight, as fast as memory copies", size=12,
               color="muted", anchor="end")  # fmt: skip


def _key(scene):
    x, y = 16, BARS - 66
    for name, letter, fill, ink in LOOKS.values():
        scene.rect(x, y, 14, 14, fill=fill)
        scene.text(x + 7, y + 11, letter, size=11, color=ink, mono=True, bold=True)
        scene.text(x + 19, y + 12, name, size=12, anchor="start")
        x += 44 + 6.8 * len(name)


def _bars(scene, r):
    """Every version: its instructions a weight by purpose, against the budget."""
    x, high = Axis(0, 8.2, 178, 744), 20
    scene.text(16, BARS - 12, "every version, instructions a weight", size=14, bold=True, anchor="start")
    foot = BARS + high * len(r.spent)
    for k, (title, spent) in enumerate(r.spent):
        y, at, here = BARS + high * k, 0.0, title == r.title
        scene.text(LEFT - 12, y + 14, title, size=12, bold=here, anchor="start")
        for purpose, (_, letter, fill, ink) in LOOKS.items():
            seen = r.shown in ("all", purpose)
            scene.rect(x(at), y + 3, x(at + spent[purpose]) - x(at), high - 6, fill=fill if seen else "card",
                       color="paper", line=0.7)  # fmt: skip
            if x(spent[purpose]) - x(0) > 14:
                middle = x(at + spent[purpose] / 2)
                middle += 10 * (abs(middle - x(r.budget)) < 7)  # beside the line
                scene.text(middle, y + 14, letter, size=11, color=ink if seen else "muted", mono=True, bold=True)
            at += spent[purpose]
        if here:
            scene.diamond(22, y + 10, 5, "ink")
        scene.text(x(at) + 6, y + 14, f"{at:.2f}", size=12, bold=here, anchor="start", halo=True)
    scene.line(x(r.budget), BARS - 4, x(r.budget), foot + 2, "ink", 2.5, (6, 3))
    scene.text(x(r.budget), BARS - 12, f"budget {number(r.budget, 2)}", size=12, bold=True)
    for tick in range(0, 9, 2):
        scene.text(x(tick), foot + 16, tick, size=12, color="muted")


def loop(**start):
    """The second explorer of chapter 12: `loop(version="gemv-3", shown="convert")`."""
    return Loop(**start)
