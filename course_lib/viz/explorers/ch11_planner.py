"""Chapter 11: what lies in a GPU's memory, and from which context on a step reads more cache than weights."""

import itertools
from dataclasses import dataclass
from html import escape

from course_lib.viz.axis import Axis, number
from course_lib.viz.controls import Choice, Steps
from course_lib.viz.explorer import Explorer
from course_lib.viz.scene import Scene

MODELS = (
    ("Llama 3.2 3B", "llama-3.2-3b"), ("Llama 3.1 8B", "llama-3.1-8b"), ("Qwen3 8B", "qwen3-8b"),
    ("Gemma 3 27B", "gemma-3-27b"), ("Qwen3 30B-A3B", "qwen3-30b-a3b"), ("Llama 3 70B", "llama-3-70b"),
    ("gpt-oss-120b", "gpt-oss-120b"), ("DeepSeek-V3", "deepseek-v3"), ("the bot", "bundled"),
)  # fmt: skip
WEIGHTS = (("BF16", "bf16"), ("FP8", "fp8"), ("4.5 bits (NVFP4)", "nvfp4"), ("4.25 bits (MXFP4)", "mxfp4"),
           ("GPTQ, 4 bits", "gptq"))  # fmt: skip
CACHES = (("16 bits", 16), ("8 bits (FP8)", 8), ("4.5 bits", 4.5), ("3 bits", 3))
CONTEXTS = tuple((f"{2**k:,}", 2**k) for k in range(9, 21))
BATCHES = tuple((f"{2**k}", 2**k) for k in range(9))
UNITS = (("GiB (2^30 bytes)", False), ("GB (10^9 bytes)", True))
PIECES = (("weights", "blue"), ("kv", "orange"), ("activations", "green"), ("reserve", "faint"))
NAMES = {"weights": "weights", "kv": "KV cache", "activations": "activations", "reserve": "reserve"}
WIDTH, HEIGHT = 760, 470
LOW, HIGH = CONTEXTS[0][1], CONTEXTS[-1][1]


@dataclass(frozen=True)
class Shown:
    """A plan and what the picture needs of it."""

    plan: object
    figures: tuple  # all, for the list under the picture
    weights_read: float  # bytes a step
    curve: tuple  # (context, bytes of cache that a step reads)
    changes: tuple  # the first remedies, if it does not fit
    gb: bool

    def size(self, n_bytes):
        return f"{number(n_bytes / (1e9 if self.gb else 2**30))} {'GB' if self.gb else 'GiB'}"


class CapacityPlanner(Explorer):
    """A model on a GPU: a stacked bar of its memory, and the bytes of a decode step over the context."""

    name = "capacity"

    def __init__(self, **start):
        from course_lib.capacity import DEVICES

        devices = tuple((f"{d.title}, {number(d.memory_gib)} GiB", name) for name, d in DEVICES.items())
        self.controls = (
            Choice("model", "model", MODELS, "llama-3.1-8b"),
            Choice("gpu", "GPU", devices, "rtx-4090"),
            Steps("weights", "weights", WEIGHTS, "bf16"),
            Steps("kv_bits", "cache", CACHES, 16),
            Steps("context", "tokens a sequence", CONTEXTS, 8192),
            Steps("batch", "sequences at once", BATCHES, 1),
            Choice("gb", "units", UNITS, False),
        )
        super().__init__(**start)

    def numbers(self, model, gpu, weights, kv_bits, context, batch, gb):
        from course_lib.capacity.plan import plan
        from course_lib.capacity.plan.advice import remedies
        from course_lib.capacity.plan.models import config_of
        from course_lib.capacity.plan.speed import figures, read_bytes

        name, config = config_of(model)
        p = plan(config, gpu, context, batch, weights, kv_bits, name=name)
        curve = tuple((n, float(p.kv_of(n, batch))) for _, n in CONTEXTS)
        changes = tuple(itertools.islice(remedies(p, gb), 2))
        return Shown(p, (*p.pieces, *figures(p)), read_bytes(p), curve, changes, gb)

    def sentence(self, s):
        from course_lib.capacity.plan.advice import last_resort, verdict

        said = verdict(s.plan, s.gb)
        if s.plan.fits:
            return said
        more = f"Enough would be {', or '.join(s.changes)}." if s.changes else last_resort(s.plan, s.gb)
        return f"{said} {more}"

    def html(self, **moved):
        """Picture and sentence, then every figure as a line that opens to its formula and its source."""
        return super().html(**moved) + _figures(self.numbers(**self.state))

    def draw(self, s):
        scene = Scene(WIDTH, HEIGHT)
        _memory(scene, s)
        _step(scene, s)
        return scene


_REOPEN = (  # an update replaces the list: what was open stays open
    "const box=this.closest('.q-explorer');for(const d of this.querySelectorAll('details')){"
    "d.open=(box.dataset.open||'').split(' ').includes(d.dataset.key);"
    "d.ontoggle=()=>{box.dataset.open=[...this.querySelectorAll('details[open]')].map(e=>e.dataset.key).join(' ')}}"
)


def _figures(s):
    """Each figure as a <details>: its value, opened its formula and source; then how the machine takes the format."""
    from course_lib.capacity.plan.advice import native

    lines = "".join(
        f'<details data-key="{f.key}"><summary>{escape(f.title)}: <b>{escape(f.shown(s.gb))}</b></summary>'
        f'<div style="margin:2px 0 6px 18px;white-space:normal">= {escape(f.formula)}<br>'
        f'<span style="color:var(--jp-content-font-color2,#59616d)">{escape(f.source)}</span></div></details>'
        for f in s.figures
    )
    lines += f'<div style="margin-top:6px">{escape(native(s.plan))}</div>'
    return (f'<div onanimationstart="{escape(_REOPEN)}" style="animation:q-shown 1ms;margin:8px 0 0;max-width:760px;'
            f'line-height:1.5;font-size:var(--jp-content-font-size1,14px)">{lines}</div>')  # fmt: skip


def _memory(scene, s):
    """The memory as a box; weights, cache, activations and reserve side by side in it, or sticking out."""
    p, x0, x1, y, high = s.plan, 16, 744, 44, 42
    unit = 1e9 if s.gb else 2**30
    axis = Axis(0, max(p.memory, p.total) * 1.03, x0, x1)
    verdict, color = ("✓ fits", "green") if p.fits else ("✗ does not fit", "red")
    scene.text(x0, 22, f"memory of {p.on.title}: {s.size(p.memory)}", size=14, bold=True, anchor="start")
    scene.text(x1, 22, verdict, size=15, bold=True, color=color, anchor="end")
    scene.rect(x0, y - 7, axis(p.memory) - x0, high + 14, fill="card", color="ink", line=1.5)
    at = 0
    for figure, (_, fill) in zip(p.pieces, PIECES, strict=True):
        left, right = axis(at), axis(at + figure.value)
        scene.rect(left, y, right - left, high, fill=fill, color="paper", line=0.7)
        if figure.key == "reserve":
            scene.hatch(left, y, right - left, high, "muted", gap=8, width=0.8)
        at += figure.value
    if not p.fits:
        over = axis(p.memory)
        scene.rect(over, y, axis(p.total) - over, high, color="red", line=2.5)
        middle = (over + axis(p.total)) / 2
        scene.text(middle, y + high / 2 + 5, f"+ {s.size(-p.free)}", size=13, bold=True, halo=True)
    for tick in Axis(0, axis.hi / unit, 0, 1).ticks(7):
        scene.text(axis(tick * unit), y + high + 25, number(tick), size=12, color="muted")
    scene.text(x1, y + high + 43, "GB" if s.gb else "GiB", size=12, color="muted", anchor="end")
    for k, (figure, (key, fill)) in enumerate(zip(p.pieces, PIECES, strict=True)):
        left = x0 + (0, 172, 350, 530)[k]
        scene.rect(left, y + high + 36, 11, 11, fill=fill, color="muted", line=0.8)
        scene.text(left + 17, y + high + 46, f"{NAMES[key]} {s.size(figure.value)}", size=13, anchor="start")


def _step(scene, s):
    """Bytes read in one decode step over the context: a flat line of weights, a rising one of the cache."""
    p, unit = s.plan, 1e9 if s.gb else 2**30
    values = [s.weights_read, *(n for _, n in s.curve)]
    x = Axis(LOW, HIGH, 84, 726, log=True)
    y = Axis(min(values) / 2 / unit, max(values) * 3 / unit, 424, 186, log=True)
    unit_name = "GB" if s.gb else "GiB"
    scene.text(16, 166, f"read in one decode step, {unit_name}", size=14, bold=True, anchor="start")
    for tick in y.ticks(5):
        scene.line(x.start, y(tick), x.end, y(tick), "faint", 1)
        scene.text(x.start - 8, y(tick) + 4, number(tick), size=12, color="muted", anchor="end")
    for k in range(9, 21):
        scene.text(x(2**k), y.start + 18, str(2**k) if k < 10 else f"{2 ** (k - 10)}k", size=12, color="muted")
    scene.text(x.end, y.start + 36, "tokens a sequence", size=12, color="muted", anchor="end")
    flat = y(s.weights_read / unit)
    scene.line(x.start, flat, x.end, flat, "blue", 3)
    scene.path([(x(n), y(kv / unit)) for n, kv in s.curve], "orange", 3, dash=(7, 4))
    low = flat - 9 if s.curve[0][1] < s.weights_read else flat + 17
    scene.text(x.start + 6, low, "the weights", size=13, bold=True, color="blue", anchor="start", halo=True)
    here = _here(scene, s, x, y, unit)
    words, ex, ey = f"{p.batch} × the cache", x(HIGH), y(s.curve[-1][1] / unit)
    cache = (ex - 8 * len(words), ex, ey + 46)
    if _touch(cache, here):
        cache = (*cache[:2], ey - 10)
    scene.text(ex, cache[2], words, size=13, bold=True, color="ink", anchor="end", halo=True)
    _crossing(scene, s, x, flat, cache)


def _touch(one, other):
    """Whether two lines of words, each (left, right, baseline), run into each other."""
    return one[0] < other[1] and other[0] < one[1] and abs(one[2] - other[2]) < 17


def _crossing(scene, s, x, flat, cache):
    """The context from which the cache is the larger part; its words keep clear of the tick labels and of `cache`."""
    from course_lib.capacity.plan.speed import first_tokens

    n = first_tokens(lambda tokens: s.plan.kv_of(tokens, s.plan.batch) >= s.weights_read)
    if LOW < n < HIGH:
        words = f"equal at {number(n, 3)}"
        half = 3.7 * len(words)
        middle = min(max(x(n), x.start + half), WIDTH - half)
        if _touch((middle - half, middle + half, flat + 22), cache):
            middle = cache[0] - half - 8
        scene.circle(x(n), flat, 6, "paper", "ink", 2)
        scene.text(middle, flat + 22, words, size=12, color="ink", halo=True)


def _here(scene, s, x, y, unit):
    """The chosen context: a diamond at the sum of both, with the ceiling that follows from it; where its words lie."""
    p = s.plan
    total = s.weights_read + float(p.kv_of(p.context, p.batch))
    px, py = x(p.context), y.inside(total / unit)
    scene.line(px, y.start, px, py, "red", 1.2, (3, 3)).diamond(px, py, 8, "red", "paper")
    speed = next(f for f in s.figures if f.key == "speed")
    words = f"{s.size(total)}: at most {number(speed.value)} tokens/s{'' if p.fits else ', if it fitted'}"
    left = px - 12 - 8 * len(words) > x.start  # the cache's line rises: beside it there is room above left, below right
    below = not left and py + 34 < y(s.weights_read / unit)
    begins = px - 12 - 8 * len(words) if left else px
    lift = 24 if below else -28 if begins < x.start + 110 else -12  # over the weights' own label
    at, wide = px + (-12 if left else 12), 8 * len(words)
    scene.text(at, py + lift, words, size=13, bold=True, color="red", anchor="end" if left else "start", halo=True)
    return (at - wide, at, py + lift) if left else (at, at + wide, py + lift)


def capacity(**start):
    """The explorer of chapter 11: `capacity(model="llama-3.1-8b", gpu="rtx-4090", context=8192, batch=1)`."""
    return CapacityPlanner(**start)
