"""Chapter 01: one weight on a ruler. The step s sets the marks, the bits set how many there are."""

from dataclasses import dataclass

from course_lib.viz.axis import Axis, number
from course_lib.viz.controls import Slider
from course_lib.viz.explorer import Explorer
from course_lib.viz.scene import Scene

VIEW = 1.5  # the number line runs from -VIEW to VIEW
WIDTH, HEIGHT = 760, 372
LINE_Y, LENS_Y = 144, 290


@dataclass(frozen=True)
class Rounded:
    """One weight's way through the quantizer."""

    w: float
    s: float
    bits: int
    qmax: int
    ratio: float  # w/s
    nearest: int  # round(w/s)
    q: int  # clipped to ±qmax

    @property
    def restored(self):
        return self.s * self.q

    @property
    def error(self):
        return round(abs(self.w - self.restored), 9)  # on paper 0.9 − 3 · 0.3 is 0

    @property
    def clipped(self):
        return self.q != self.nearest


def round_trip(w, s, bits):
    """q = clip(round(w/s), −qmax, qmax), ŵ = s·q with qmax = 2^(bits−1) − 1; ties go to the even mark.

    >>> round_trip(0.73, 0.1, 8).q, round(round_trip(0.73, 0.1, 8).error, 6)
    (7, 0.03)
    """
    qmax = 2 ** (bits - 1) - 1
    ratio = w / s
    ratio = round(ratio, 9)  # 0.25 / 0.1 is 2.5 on paper: let the tie be a tie
    nearest = round(ratio)
    return Rounded(w, s, bits, qmax, ratio, nearest, max(-qmax, min(qmax, nearest)))


class Ruler(Explorer):
    """Number line with a weight, the marks of the grid, the mark it falls on, and the error between them."""

    name = "ruler"
    controls = (
        Slider("w", "weight w", -1.5, 1.5, 0.01, 0.73),
        Slider("s", "step s", 0.02, 0.6, 0.01, 0.1),
        Slider("bits", "bits b", 2, 8, 1, 5),
    )

    def numbers(self, w, s, bits):
        return round_trip(w, s, bits)

    def sentence(self, r):
        way = f"w/s = {number(r.ratio, 4)} rounds to {number(r.nearest)}"
        if r.clipped:
            return (
                f"{way}, but {r.bits} bits stop at {number(r.q)}: ŵ = {number(r.restored)} and the error is "
                f"{number(r.error)}. Half a step ({number(r.s / 2)}) bounds rounding, not clipping: push w further out "
                f"and the error grows with it."
            )
        tie = " (a tie: it goes to the even mark)" if abs(r.ratio - int(r.ratio)) == 0.5 else ""
        if r.error == 0:
            return f"{way}. So q = {number(r.q)} is stored, and ŵ = {number(r.restored)} comes back: no error at all."
        return (
            f"{way}{tie}. So q = {number(r.q)} is stored, and what comes back is ŵ = {number(r.restored)}. "
            f"The error is {number(r.error)}; without clipping it never exceeds half a step, {number(r.s / 2)}."
        )

    def draw(self, r):
        scene = Scene(WIDTH, HEIGHT)
        _flow(scene, r)
        _line(scene, r)
        _lens(scene, r)
        return scene


def _flow(scene, r):
    """The arithmetic as a row of boxes: w → w/s → round → clip → ŵ."""
    steps = [
        ("w", number(r.w, 4)),
        ("÷ s", number(r.ratio, 4)),
        ("round", number(r.nearest)),
        (f"clip to ±{r.qmax}", number(r.q)),
        ("× s", number(r.restored, 4)),
    ]
    width, gap = 124, 35
    for k, (name, value) in enumerate(steps):
        x = k * (width + gap)
        kind = "red" if k == 0 or (k == 3 and r.clipped) else "blue" if k in (3, 4) else "muted"
        scene.rect(x + 1, 20, width - 2, 42, fill="card", color=kind, line=2 if kind != "muted" else 1)
        scene.text(x + width / 2, 48, value, size=19, bold=True, color="ink")
        scene.text(x + width / 2, 13, name, size=13, color="muted")
        if k:
            scene.arrow(x - gap + 5, 41, x - 5, 41, "muted")


def _line(scene, r):
    """The whole ruler: every mark, the zones beyond the last ones hatched, the weight above, its mark below."""
    axis = Axis(-VIEW, VIEW, 40, WIDTH - 40)
    y, edge = LINE_Y, r.s * (r.qmax + 0.5)
    for lo, hi in ((-VIEW, -edge), (edge, VIEW)):
        if hi > lo:
            scene.hatch(axis(lo), y - 24, axis(hi) - axis(lo), 24, "muted", width=0.7)
            if axis(hi) - axis(lo) > 60:
                scene.text((axis(lo) + axis(hi)) / 2, y + 17, "clipped", size=12, color="muted")
    scene.line(axis.start, y, axis.end, y, "ink", 1.5)
    spacing = axis(r.s) - axis(0)
    stride = next(k for k in (1, 2, 5, 10, 20, 50) if k * spacing >= 26)
    for q in range(-r.qmax, r.qmax + 1):
        if abs(q * r.s) <= VIEW + 1e-9:
            x, named = axis(q * r.s), q % stride == 0
            scene.line(x, y, x, y - (18 if named else 11), "blue", 2 if spacing > 8 else 1)
            if named:
                scene.text(x, y + 17, number(q), size=12, color="blue", bold=True)
    for value in axis.ticks(6):
        scene.text(axis(value), y + 35, number(value), size=12, color="muted")
    scene.text(14, y + 17, "q", size=13, color="blue", bold=True).text(
        14, y + 35, "w", size=13, color="muted", bold=True
    )
    _weight(scene, axis(r.w), y - 34, f"w = {number(r.w, 4)}")
    scene.line(axis(r.w), y - 27, axis(r.w), y, "red", 1.5)
    if abs(r.restored) <= VIEW:
        scene.circle(axis(r.restored), y, 6, "blue", "paper")


def _weight(scene, x, y, label):
    scene.diamond(x, y, 7, "red", "paper")
    left = x > WIDTH - 110
    scene.text(
        x - 12 if left else x + 12, y + 5, label, size=14, bold=True, color="red", anchor="end" if left else "start"
    )


def _lens(scene, r):
    """The neighbourhood of the weight, enlarged: the mark, half a step either side, the error as a bracket."""
    near, far = sorted((r.w, r.restored))
    centre, half = (near + far) / 2, max(1.2 * r.s, 0.75 * (far - near))
    if not r.clipped:
        centre = r.restored
    axis, whole = Axis(centre - half, centre + half, 40, WIDTH - 40), Axis(-VIEW, VIEW, 40, WIDTH - 40)
    y = LENS_Y
    for edge in (-1, 1):
        scene.line(whole.inside(centre + edge * half), LINE_Y + 42, axis(centre + edge * half), y - 58, "faint", 1.2)
    scene.rect(axis.start, y - 58, axis.end - axis.start, 92, fill="card", color="faint", line=1.2)
    lo, hi = max(axis.lo, r.restored - r.s / 2), min(axis.hi, r.restored + r.s / 2)
    scene.rect(axis(lo), y - 14, axis(hi) - axis(lo), 14, fill="sky", opacity=0.6)
    scene.line(axis.start, y, axis.end, y, "ink", 1.5)
    for q in range(r.q - 60, r.q + 61):
        if abs(q) <= r.qmax and axis.lo <= q * r.s <= axis.hi:
            x = axis(q * r.s)
            scene.line(x, y, x, y - 22, "blue", 3 if q == r.q else 2)
            if abs(axis(r.s) - axis(0)) > 30:
                scene.text(x, y + 22, number(q * r.s, 4), size=13, color="blue", bold=q == r.q)
    scene.circle(axis(r.restored), y, 7, "blue", "paper")
    scene.diamond(axis(r.w), y, 8, "red", "paper")
    _error(scene, axis, r, y - 36)
    said = f"within half a step either side (shaded) every weight falls on this mark: error ≤ s/2 = {number(r.s / 2)}"
    if r.clipped:
        said = f"beyond the last mark there is nothing to fall on: q stays {number(r.q)}, however far out w is"
    scene.text(WIDTH / 2, y + 60, said, size=13, color="muted")


def _error(scene, axis, r, y):
    x1, x2 = sorted((axis(r.w), axis(r.restored)))
    if x2 - x1 < 1:
        scene.text(axis(r.w), y + 5, "no error: w lies on a mark", size=14, bold=True, color="ink")
        return
    scene.bracket(x1, x2, y, "red", 2, 6)
    label, room = f"error {number(r.error)}", 110
    if x2 - x1 > room:
        scene.text((x1 + x2) / 2, y - 7, label, size=14, bold=True, color="red")
    elif x2 + room < axis.end:
        scene.text(x2 + 9, y + 5, label, size=14, bold=True, color="red", anchor="start")
    else:
        scene.text(x1 - 9, y + 5, label, size=14, bold=True, color="red", anchor="end")


def ruler(**start):
    """The explorer of chapter 01: `ruler(w=0.73, s=0.1, bits=5)`."""
    return Ruler(**start)
