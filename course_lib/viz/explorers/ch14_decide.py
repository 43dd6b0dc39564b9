"""Chapter 14: six paths from weights to a service, what each would need here, and which to try first."""

from course_lib.viz.axis import Axis, number
from course_lib.viz.controls import Choice, Steps
from course_lib.viz.explorer import Explorer
from course_lib.viz.scene import Scene

MODELS = (("Llama 3.2 3B", "llama-3.2-3b"), ("Qwen2.5 7B", "qwen2.5-7b"), ("Llama 3.1 8B", "llama-3.1-8b"),
          ("Llama 3 70B", "llama-3-70b"))  # fmt: skip
MACHINES = ("ddr5-laptop", "m4-max", "rtx-4060", "rtx-3090", "rtx-4090", "a100-80gb", "h100-sxm", "b200")
CONTEXTS = tuple((f"{2**k:,}", 2**k) for k in range(10, 17))
BATCHES = tuple((f"{2**k}", 2**k) for k in range(8))
LEFT, RIGHT, TOP, HIGH = 250, 560, 78, 48


class Decide(Explorer):
    """A bar of memory for each path, against the machine's; the first candidate has a frame and a diamond."""

    name = "decide"

    def __init__(self, **start):
        from course_lib.capacity import DEVICES

        machines = tuple((f"{DEVICES[m].title}, {DEVICES[m].memory_gib:g} GiB", m) for m in MACHINES)
        self.controls = (
            Choice("model", "model", MODELS, "llama-3.1-8b"),
            Choice("machine", "machine", machines, "rtx-3090"),
            Steps("context", "tokens a sequence", CONTEXTS, 4096),
            Steps("batch", "sequences at once", BATCHES, 1),
        )
        super().__init__(**start)

    def numbers(self, model, machine, context, batch):
        from course_lib.deploy.choose import choose

        return choose(model, machine, context, batch)

    def sentence(self, choice):
        path = choice.first or choice.least
        needed, there = (number(size / 2**30) for size in (path.plan.total, path.plan.memory))
        if choice.first is None:
            return f"None of these. {choice.reason} The least needs {needed} GiB; {there} GiB are there."
        text = f"Try first: {path.artifact} on {path.runtime}. {choice.reason} It needs {needed} GiB"
        if path.plan.fits:
            return f"{text}; {there} GiB are there."
        rest = number((path.plan.total - path.plan.memory) / 2**30)
        return f"{text}: {there} GiB are on the GPU, the other {rest} GiB have to be main memory."

    def draw(self, choice):
        rows = len(choice.paths)
        scene = Scene(760, TOP + rows * HIGH + 44)
        memory = choice.paths[0].plan.memory / 2**30
        most = max(path.plan.total for path in choice.paths) / 2**30
        axis = Axis(0, max(memory * 1.05, min(most, memory * 2.2)), LEFT, RIGHT)
        scene.text(16, 24, "artifact on runtime", size=14, bold=True, anchor="start")
        scene.text(LEFT, 24, f"memory needed, of {number(memory)} GiB", size=14, bold=True, anchor="start")
        scene.text(744, 24, "ceiling, tokens/s", size=14, bold=True, anchor="end")
        for legend, (what, fill) in enumerate((("weights", "blue"), ("cache", "orange"), ("rest", "faint"))):
            scene.rect(LEFT + 90 * legend, 38, 11, 11, fill=fill, color="muted", line=0.8)
            scene.text(LEFT + 90 * legend + 17, 48, what, size=12, anchor="start")
        for k, path in enumerate(choice.paths):
            _bars(scene, path, TOP + k * HIGH, axis)
        for k, path in enumerate(choice.paths):
            y = TOP + k * HIGH
            scene.line(axis(memory), y - 9, axis(memory), y + 19, "ink", 2, (5, 3))  # not through the words below
            _row(scene, path, y, path is choice.first)
        end = TOP + rows * HIGH
        for tick in axis.ticks(5):
            scene.text(axis(tick), end + 16, number(tick), size=12, color="muted")
        scene.text(axis.end, end + 34, "GiB", size=12, color="muted", anchor="end")
        return scene


def _bars(scene, path, y, axis):
    p, gib = path.plan, 2**30
    at = 0.0
    for value, fill in ((p.weights.value, "blue"), (p.kv.value, "orange"),
                        (p.total - p.weights.value - p.kv.value, "faint")):  # fmt: skip
        a, b = axis.inside(at / gib), axis.inside((at + value) / gib)
        if b > a:
            scene.rect(a, y - 4, b - a, 18, fill=fill, color="paper", line=0.7)
        at += value
    if at / gib > axis.hi:
        scene.text(axis.end + 4, y + 10, "→", size=14, color="blue", anchor="start")  # it goes on


def _row(scene, path, y, first):
    p, gib = path.plan, 2**30
    if first:
        scene.rect(6, y - 10, 748, HIGH - 2, color="green", line=2.5)
        scene.diamond(18, y + 8, 6, "green")
    scene.text(30, y + 6, path.artifact, size=13, bold=first, anchor="start")
    scene.text(30, y + 24, f"on {path.runtime}", size=12, color="muted", anchor="start")
    word = f"✗ {path.why_not}" if path.why_not else "✓ fits"
    scene.text(LEFT, y + 30, f"{number(p.total / gib)} GiB  {word}", size=12, anchor="start", halo=True,
               color="muted" if path.why_not else "ink")  # fmt: skip
    served = p.fits and not path.why_not
    scene.text(744, y + 12, number(path.tokens_per_s) if served else "–", size=13, bold=first, anchor="end")


def decide(**start):
    """The explorer of chapter 14: `decide(model="llama-3.1-8b", machine="rtx-3090", context=4096, batch=1)`."""
    return Decide(**start)
