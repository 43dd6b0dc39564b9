"""Chapter 10: the bits of a small float, each a button; the number that they say, and its neighbours on two lines."""

import math
from dataclasses import dataclass

import numpy as np

from course_lib.formats import minifloat
from course_lib.viz.axis import Axis, number
from course_lib.viz.controls import Choice, Slider
from course_lib.viz.explorer import Explorer
from course_lib.viz.scene import Scene

FORMATS = (("E2M1 (FP4)", "e2m1"), ("E2M3 (FP6)", "e2m3"), ("E3M2 (FP6)", "e3m2"), ("E4M3FN (FP8)", "e4m3fn"),
           ("E5M2 (FP8)", "e5m2"), ("E4M3FNUZ (FP8, AMD)", "e4m3fnuz"))  # fmt: skip
NAMES = {name: label.split(" ")[0] for label, name in FORMATS}
PARTS = (("sign", "red", "s"), ("exponent", "blue", "e"), ("mantissa", "green", "m"))
WIDTH, HEIGHT = 760, 360
BOX, GAP, TOP = 44, 4, 34


@dataclass(frozen=True)
class Code:
    """One code, cut in three, and what it stands for."""

    format: minifloat.Minifloat
    code: int
    bits: str
    sign: int
    exponent: int
    mantissa: int
    value: float
    below: float | None  # the finite numbers next to it, None where there is none
    above: float | None

    @property
    def subnormal(self):
        return self.exponent == 0

    @property
    def power(self):
        return max(self.exponent, 1) - self.format.bias


def of_code(name, code):
    """The Code of a format's code, taken modulo the number of its codes."""
    f = minifloat.get(name)
    code %= 2**f.bits
    value, finite = float(f.values[code]), np.unique(f.values[np.isfinite(f.values)])
    at = int(np.searchsorted(finite, value)) if math.isfinite(value) else None
    below = None if at is None or at == 0 else float(finite[at - 1])
    above = None if at is None or at + 1 == len(finite) else float(finite[at + 1])
    exponent = code >> f.mantissa & (2**f.exponent - 1)
    return Code(f, code, f"{code:0{f.bits}b}", code >> (f.bits - 1), exponent, code & (2**f.mantissa - 1), value,
                below, above)  # fmt: skip


class Toggler(Explorer):
    """A format and a code; a row of buttons flips the code's bits, the slider walks from code to code."""

    name = "toggler"
    controls = (Choice("format", "format", FORMATS, "e4m3fn"), Slider("code", "code", 0, 255, 1, 0b01000110))

    def numbers(self, format, code):
        return of_code(format, int(code))

    def sentence(self, c):
        f, name = c.format, NAMES[c.format.name]
        cut = f"{c.bits[0]} {c.bits[1 : 1 + f.exponent]} {c.bits[1 + f.exponent :]}"
        if math.isnan(c.value):
            return f"{name} {cut} is no number: this is the code of NaN. What it meets becomes NaN as well."
        if math.isinf(c.value):
            return f"{name} {cut} is {number(c.value)}: an exponent of all ones, which {name} keeps for ∞ and NaN."
        kind = " (subnormal: no hidden 1)" if c.subnormal and c.value else ""
        told = f"{name} {cut} is {number(c.value, 6)}{kind}."
        if c.value == 0:
            return f"{told} The next number is {number(c.above, 4)}: nothing lies between."
        if c.above is None or c.below is None:
            end, other = ("largest", c.below) if c.above is None else ("lowest", c.above)
            return f"{told} It is the {end} number there is; the one beside it is {number(other, 6)}."
        low, high = c.value - c.below, c.above - c.value
        steps = f"{number(high, 4)} apart" if low == high else f"{number(low, 4)} below and {number(high, 4)} above"
        return f"{told} Its neighbours are {number(c.below, 6)} and {number(c.above, 6)}, {steps}."

    def draw(self, c):
        scene = Scene(WIDTH, HEIGHT)
        _bits(scene, c)
        _formula(scene, c)
        _whole(scene, c)
        _near(scene, c)
        return scene

    def box(self):
        """The two controls, the bits as buttons between them and the picture: Tab reaches them, Space flips."""
        import ipywidgets as widgets

        face = widgets.HTML(self.html())
        handles = {control.name: control.widget(self.state[control.name]) for control in self.controls}
        buttons = [widgets.Button(layout=widgets.Layout(width="68px", flex="none", padding="0")) for _ in range(8)]
        beside = widgets.Layout(width="146px", justify_content="flex-end", margin="2px 8px 2px 0")
        wraps = widgets.HBox(buttons, layout=widgets.Layout(flex_flow="wrap", flex="1"))  # beside the label, not below
        row = widgets.HBox([widgets.Label("flip a bit", layout=beside), wraps])

        def show(change=None):
            moved = {c.name: c.read(handles[c.name].value) for c in self.controls}
            top = 2 ** minifloat.get(moved["format"]).bits - 1
            handles["code"].max, moved["code"] = top, min(moved["code"], top)
            _name(buttons, moved["format"], moved["code"])
            face.value = self.html(**moved)

        def flip(k):
            bits = minifloat.get(self.controls[0].read(handles["format"].value)).bits
            handles["code"].value ^= 1 << (bits - 1 - k)

        for k, button in enumerate(buttons):
            button.on_click(lambda _, k=k: flip(k))
        for handle in handles.values():
            handle.observe(show, names="value")
        show()
        box = widgets.VBox([*handles.values(), row, face], layout=widgets.Layout(max_width="800px"))
        return box.add_class("q-explorer").add_class(f"q-{self.name}")


def _name(buttons, format, code):
    """Write each bit's name and value on its button, and hide those that the format does not have."""
    f = minifloat.get(format)
    places = [("s", 1), ("e", f.exponent), ("m", f.mantissa)]
    names = [f"{part}{k}" if part != "s" else part for part, wide in places for k in reversed(range(wide))]
    for k, button in enumerate(buttons):
        button.layout.display = None if k < f.bits else "none"
        if k < f.bits:
            button.description = f"{names[k]} = {code >> (f.bits - 1 - k) & 1}"


def _bits(scene, c):
    """Each bit in its box, the three parts named and told by line style as well as colour."""
    f, x = c.format, 20
    widths = (1, f.exponent, f.mantissa)
    at = 0
    for (name, color, _), wide in zip(PARTS, widths, strict=True):
        for _ in range(wide):
            scene.rect(x, TOP, BOX, BOX, fill="card", color=color, line=2.2)
            scene.text(x + BOX / 2, TOP + 31, c.bits[at], size=24, bold=True, mono=True)
            x, at = x + BOX + GAP, at + 1
        left = x - wide * (BOX + GAP)
        scene.text((left + x - GAP) / 2, TOP - 10, name, size=13, bold=True, color=color)
        note = {"sign": str(c.sign), "exponent": str(c.exponent), "mantissa": f"{c.mantissa}/{2**f.mantissa}"}[name]
        scene.text((left + x - GAP) / 2, TOP + BOX + 18, note, size=13, color=color)
        x += 22


def _formula(scene, c):
    """The arithmetic, to the right of the bits."""
    f, x = c.format, 758
    if not math.isfinite(c.value):
        scene.text(x, TOP + 30, "NaN" if math.isnan(c.value) else number(c.value), size=26, bold=True, anchor="end")
        return
    whole = "0" if c.subnormal else "1"
    scene.text(x, TOP + 6, f"bias {f.bias}" + (", subnormal" if c.subnormal else ""), size=13, color="muted",
               anchor="end")  # fmt: skip
    power, sign = number(c.power) if c.power else "0", "−" if c.sign else ""
    formula = f"{sign}2^({power}) · ({whole} + {c.mantissa}/{2**f.mantissa})"
    scene.text(x, TOP + 28, formula, size=15, anchor="end")
    scene.text(x, TOP + 56, f"= {number(c.value, 6)}", size=20, bold=True, anchor="end")


def _whole(scene, c):
    """All numbers of the format on one line: dense near 0, sparse at the ends."""
    f = c.format
    numbers = np.unique(f.values[np.isfinite(f.values)])
    axis, y = Axis(-f.max * 1.04, f.max * 1.04, 24, WIDTH - 24), 180
    scene.text(24, y - 34, f"all {len(numbers)} numbers of {NAMES[f.name]}", size=14, bold=True, anchor="start")
    scene.line(axis.start, y, axis.end, y, "ink", 1.5)
    for v in numbers:
        scene.line(axis(v), y - 12, axis(v), y, "blue", 1.2)
    for tick in axis.ticks(7):
        scene.text(axis(tick), y + 18, number(tick), size=12, color="muted")
    if math.isfinite(c.value):
        scene.diamond(axis(c.value), y - 18, 7, "red", "paper")


def _near(scene, c):
    """The neighbourhood of the number: four numbers to either side, each with its value."""
    y = 296
    if not math.isfinite(c.value):
        scene.text(WIDTH / 2, y, "no place on the line", size=15, color="muted")
        return
    f = c.format
    numbers = np.unique(f.values[np.isfinite(f.values)])
    at = int(np.searchsorted(numbers, c.value))
    shown = numbers[max(0, at - 4) : at + 5]
    margin = 0.08 * (shown[-1] - shown[0])
    axis = Axis(shown[0] - margin, shown[-1] + margin, 40, WIDTH - 40)
    scene.text(24, y - 52, "its neighbours, enlarged", size=14, bold=True, anchor="start")
    scene.line(axis.start, y, axis.end, y, "ink", 1.5)
    taken = []  # (middle, width) of the labels: its own first, then those that do not touch one
    for v in sorted(shown, key=lambda v: (v != c.value, v)):
        here, words = v == c.value, number(v, 4)
        scene.line(axis(v), y - (24 if here else 16), axis(v), y, "red" if here else "blue", 3 if here else 2)
        wide = 8 * len(words) + 10
        if all(abs(axis(v) - at) > (wide + other) / 2 for at, other in taken):
            scene.text(axis(v), y + 20, words, size=13, bold=here, color="red" if here else "blue", halo=True)
            taken.append((axis(v), wide))
    scene.diamond(axis(c.value), y - 30, 8, "red", "paper")
    for side in (c.below, c.above):
        if side is not None:
            lo, hi = sorted((axis(side), axis(c.value)))
            scene.bracket(lo + 2, hi - 2, y + 32, "muted", 1.4, 4)
            scene.text((lo + hi) / 2, y + 50, number(abs(side - c.value), 4), size=12, color="muted")


def toggler(**start):
    """The first explorer of chapter 10: `toggler(format="e4m3fn", code=0b01000110)`."""
    return Toggler(**start)
