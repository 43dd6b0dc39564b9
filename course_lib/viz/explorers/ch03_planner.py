"""Chapter 03: does it fit, and how fast can it be? Bytes against memory, tokens a second against two roofs."""

from dataclasses import dataclass

from course_lib.viz.axis import Axis, number
from course_lib.viz.controls import Choice, Steps
from course_lib.viz.explorer import Explorer
from course_lib.viz.scene import Scene

MODELS = (("7B", 7e9), ("Llama 3 8B", 8_030_261_248), ("13B", 13e9), ("32B", 32e9), ("70B", 70e9), ("405B", 405e9))
WEIGHTS = (
    ("16 bits", (16, None)),
    ("8 bits, groups of 128", (8, 128)),
    ("4 bits, no scales", (4, None)),
    ("4 bits, groups of 128", (4, 128)),
    ("4 bits, groups of 32", (4, 32)),
    ("3 bits, groups of 128", (3, 128)),
    ("2 bits, groups of 64", (2, 64)),
)
BATCHES = tuple((f"{2**k}", 2**k) for k in range(11))
RESERVE = 0.2  # share of the memory kept for cache and runtime, as in the sizing exercise
WIDTH, HEIGHT = 760, 420


@dataclass(frozen=True)
class Plan:
    """A model on a device: bytes, what is usable, and the ceiling on tokens a second."""

    device: object
    params: float
    label: str
    bits: float  # stored, with scales
    codes_bytes: int
    scales_bytes: int
    batch: int
    bound: str
    rate: float  # tokens a second, whole batch
    rate16: float
    turn: float  # the batch from which arithmetic sets the time

    @property
    def total_bytes(self):
        return self.codes_bytes + self.scales_bytes

    @property
    def usable_bytes(self):
        return self.device.memory_bytes * (1 - RESERVE)

    @property
    def fits(self):
        return self.total_bytes <= self.usable_bytes


def plan(params, weights, device, batch):
    """All figures of one setting; `weights` is (bits, group), `device` a name of capacity.DEVICES."""
    from course_lib import capacity

    bits, group = weights
    on = capacity.device(device)
    stored = capacity.bits_per_weight(bits, group)
    codes = capacity.weight_bytes(params, bits)
    scales = capacity.metadata_bytes(params, group) if group else 0
    step = capacity.decode_step(on, params, stored, batch)
    label = next(name for name, choice in WEIGHTS if choice == weights)
    return Plan(on, params, label, stored, codes, scales, batch, step.bound, batch / step.seconds,
                capacity.decode_tokens_per_s(on, params, 16, batch), capacity.break_even_batch(on, stored))  # fmt: skip


class Planner(Explorer):
    """Bytes of the weights against a device's memory; tokens a second against bandwidth and arithmetic."""

    name = "planner"

    def __init__(self, **start):
        from course_lib.capacity import DEVICES

        devices = tuple((f"{d.title}, {number(d.memory_gib)} GiB", name) for name, d in DEVICES.items())
        self.controls = (
            Choice("device", "device", devices, "rtx-4090"),
            Choice("params", "model", MODELS, 70e9),
            Steps("weights", "weights", WEIGHTS, (16, None)),
            Steps("batch", "sequences at once", BATCHES, 1),
        )
        super().__init__(**start)

    def numbers(self, params, weights, device, batch):
        return plan(params, weights, device, batch)

    def sentence(self, p):
        size = f"{number(p.total_bytes / 1e9)} GB ({number(p.total_bytes / 2**30)} GiB)"
        room = (
            f"the {number(p.usable_bytes / 2**30)} GiB that are left of {number(p.device.memory_gib)} after the reserve"
        )
        fit = f"It fits into {room}." if p.fits else f"It does not fit into {room}."
        if p.bound == "memory":
            gain = f": {number(p.rate / p.rate16, 2)} times the 16-bit ceiling" if p.bits < 16 else ""
            why = f"set by bandwidth{gain}"
        else:
            why = f"set by arithmetic: from {number(p.turn, 2)} sequences on, fewer bits no longer help"
        given = "" if p.fits else "If it did fit, the"
        return (
            f"{size} of weights at {number(p.bits, 4)} bits each. {fit} {given or 'The'} ceiling would be "
            f"{number(p.rate)} tokens a second, {why}."
        ).replace("The ceiling would be", "The ceiling is")

    def draw(self, p):
        scene = Scene(WIDTH, HEIGHT)
        _memory(scene, p)
        _roof(scene, p)
        return scene


def _memory(scene, p):
    """The device's memory as a box, the weights as a bar that fits into it or sticks out."""
    y, x0, x1, height = 40, 16, 744, 40
    memory = p.device.memory_bytes
    axis = Axis(0, max(memory, p.total_bytes) * 1.04, x0, x1)
    verdict, color = ("fits", "green") if p.fits else ("does not fit", "red")
    scene.text(x0, 20, f"weights on {p.device.title}", size=14, bold=True, anchor="start")
    scene.text(x1, 20, ("✓ " if p.fits else "✗ ") + verdict, size=15, bold=True, color=color, anchor="end")
    scene.rect(axis(0), y - 7, axis(memory) - axis(0), height + 14, fill="card", color="ink", line=1.5)
    scene.hatch(
        axis(p.usable_bytes), y - 7, axis(memory) - axis(p.usable_bytes), height + 14, "muted", gap=8, width=0.7
    )
    split, end = axis(p.codes_bytes), axis(p.total_bytes)
    scene.rect(x0, y, split - x0, height, fill="blue")
    scene.rect(split, y, max(0, end - split), height, fill="orange")
    if not p.fits:
        over = axis(p.usable_bytes)
        scene.rect(over, y, end - over, height, color="red", line=2.5).hatch(
            over, y, end - over, height, "paper", gap=9, width=1.6
        )
    scene.line(axis(p.usable_bytes), y - 12, axis(p.usable_bytes), y + height + 12, "ink", 2, (5, 4))
    if axis(memory) - axis(p.usable_bytes) > 62 and (p.fits or end < axis(p.usable_bytes) + 4):
        scene.text((axis(memory) + axis(p.usable_bytes)) / 2, y + 24, "reserve", size=12, color="muted")
    for value in Axis(0, axis.hi / 2**30, 0, 1).ticks(7):
        scene.text(axis(value * 2**30), y + height + 26, f"{number(value)}", size=12, color="muted")
    scene.text(x1, y + height + 44, "GiB", size=12, color="muted", anchor="end")
    _key(scene, p, x0, y + height + 47)


def _key(scene, p, x, y):
    scene.rect(x, y - 10, 11, 11, fill="blue")
    scene.text(x + 17, y, f"codes {number(p.codes_bytes / 2**30)} GiB", size=13, anchor="start")
    if p.scales_bytes:
        scene.rect(x + 152, y - 10, 11, 11, fill="orange")
        scene.text(x + 169, y, f"scales {number(p.scales_bytes / 2**30)} GiB", size=13, anchor="start")
    scene.line(x + 312, y - 12, x + 312, y + 2, "ink", 2, (4, 3))
    scene.text(x + 320, y, f"usable {number(p.usable_bytes / 2**30)} GiB ({1 - RESERVE:.0%})", size=13, anchor="start")


def _roof(scene, p):
    """Tokens a second over the batch, log-log: the slope is bandwidth, the flat part is arithmetic."""
    from course_lib.capacity import break_even_batch, decode_tokens_per_s

    lows = decode_tokens_per_s(p.device, p.params, 16, 1)
    peak = p.device.flops_per_s / (2 * p.params)
    x, y = Axis(1, 1024, 76, 730, log=True), Axis(lows / 1.6, max(peak * 2.2, lows * 30), 384, 172, log=True)
    scene.text(16, 158, "the most tokens a second, over all sequences", size=14, bold=True, anchor="start")
    for tick in y.ticks(5):
        scene.line(x.start, y(tick), x.end, y(tick), "faint", 1)
        scene.text(x.start - 8, y(tick) + 4, number(tick), size=12, color="muted", anchor="end")
    for _, batch in BATCHES:
        scene.text(x(batch), y.start + 17, batch, size=12, color="muted")
    scene.text(x.end, y.start + 33, "sequences at once", size=12, color="muted", anchor="end")
    for bits, color, width, dash in ((16, "muted", 2, (6, 4)), (p.bits, "blue", 3, None)):
        turn = min(1024, max(1, break_even_batch(p.device, bits)))
        batches = [1, turn, 1024]
        rates = [min(b * p.device.bytes_per_s / (p.params * bits / 8), peak) for b in batches]
        scene.path([(x(b), y(r)) for b, r in zip(batches, rates, strict=True)], color, width, dash=dash)
    pace = "arithmetic sets the pace"
    if 1 < p.turn < 1024:
        scene.line(x(p.turn), y(peak), x(p.turn), y.start, "faint", 1.5, (3, 3))
        pace += f" from {number(p.turn, 2)} on"
    scene.text(x.end, y(peak) - 22, pace, size=12, color="muted", anchor="end")
    _points(scene, p, x, y)


def _points(scene, p, x, y):
    """The chosen setting as a diamond with its figure, the 16-bit one as a ring."""
    px, py, below = x(p.batch), y.inside(p.rate), y.inside(p.rate16)
    scene.circle(px, below, 5, "paper", "muted", 2)
    if below - py > 10:
        scene.text(px + 12, below + 13, f"16 bits: {number(p.rate16)}", size=12, color="muted", anchor="start")
    scene.diamond(px, py, 8, "red", "paper")
    at, anchor = (px - 11, py - 7), "end"  # above both lines, which rise
    if p.batch == 1:  # no room on the left: between them, or above where they are close
        at, anchor = (px - 8, py - 16) if 0 < below - py < 34 else (px + 12, py + 20), "start"
    scene.text(*at, number(p.rate), size=14, bold=True, color="red", anchor=anchor, halo=True)


def planner(**start):
    """The explorer of chapter 03: `planner(device="rtx-4090", params=70e9, weights=(4, 128), batch=1)`."""
    return Planner(**start)
