"""Chapter 08: which layer goes on which GPU: a model, some cards, a context, and the plan that llama.cpp follows."""

import functools
from dataclasses import dataclass

from course_lib.viz.axis import Axis, number
from course_lib.viz.controls import Choice, Steps
from course_lib.viz.explorer import Explorer
from course_lib.viz.scene import Scene

_8B = dict(hidden_size=4096, intermediate_size=14336, num_hidden_layers=32, num_attention_heads=32,
           num_key_value_heads=8, vocab_size=128256)  # fmt: skip
_70B = dict(hidden_size=8192, intermediate_size=28672, num_hidden_layers=80, num_attention_heads=64,
            num_key_value_heads=8, vocab_size=128256)  # fmt: skip
CONFIGS = {"8B": _8B, "70B": _70B}
MODELS = tuple((f"Llama 3 {size}, {mix}", (size, mix)) for size, mixes in (
    ("8B", ("Q4_K_M", "Q8_0", "F16")), ("70B", ("Q2_K", "Q4_K_M", "Q8_0"))) for mix in mixes)  # fmt: skip
GPUS = (
    ("RTX 4060 (8 GiB)", ("rtx-4060",)),
    ("RTX 4090 (24 GiB)", ("rtx-4090",)),
    ("RTX 4060 and RTX 4090", ("rtx-4060", "rtx-4090")),
    ("two RTX 4090", ("rtx-4090", "rtx-4090")),
    ("T4, L4 and RTX 5090", ("t4", "l4", "rtx-5090")),
    ("A100 (80 GiB)", ("a100-80gb",)),
)
CONTEXTS = tuple((f"{n:,}", n) for n in (512, 2048, 4096, 8192, 16384, 32768, 65536, 131072))
CACHES = (("16 bits", 16), ("8.5 bits (q8_0)", 8.5), ("4.5 bits (q4_0)", 4.5))
GPU_COLORS = ("blue", "green", "purple")
LEFT, RIGHT, TOP, BAR = 110, 736, 150, 58
WIDTH = 760
INK_ON_ORANGE = "#1f2328"  # in both themes


@dataclass(frozen=True)
class Stand:
    """One setting: the plan, the titles of its GPUs, the context and the bits of the cache."""

    plan: object
    titles: tuple
    context: int
    kv_bits: float


@functools.cache
def needs(size, mix, context, kv_bits):
    """What the model asks for; computed once a setting."""
    from course_lib.capacity.offload_file import needs_of_config

    return needs_of_config(CONFIGS[size], mix, context, kv_bits)


class Offload(Explorer):
    """The layers in a row, coloured by where they lie, and the memory of each GPU and of RAM under them."""

    name = "offload"
    controls = (
        Choice("model", "model", MODELS, ("8B", "Q4_K_M")),
        Choice("gpus", "GPUs", GPUS, ("rtx-4060",)),
        Steps("context", "tokens of context", CONTEXTS, 32768),
        Steps("cache", "KV cache", CACHES, 16),
    )

    def numbers(self, model, gpus, context, cache):
        from course_lib.capacity import device
        from course_lib.capacity.offload import plan

        titles = tuple(device(name).title.replace("NVIDIA ", "").replace("GeForce ", "") for name in gpus)
        return Stand(plan(needs(*model, context, cache), gpus), titles, context, cache)

    def sentence(self, s):
        from course_lib.capacity.offload import advice

        return f"{advice(s.plan, s.context, s.kv_bits)} In llama.cpp: -ngl {s.plan.ngl}" + (
            f" --tensor-split {','.join(map(str, s.plan.tensor_split))}." if len(s.titles) > 1 and s.plan.ngl else "."
        )

    def draw(self, s):
        scene = Scene(WIDTH, TOP + (len(s.titles) + 1) * BAR + 62)
        _slots(scene, s)
        _memory(scene, s)
        return scene


def _slots(scene, s):
    """One box for the embedding, one a layer, one for the output layer."""
    layers = len(s.plan.needs.layers)
    x = Axis(-2, layers + 2.2, 16, 744)
    wide = x(1) - x(0)
    scene.text(16, 22, "where each layer lies", size=14, bold=True, anchor="start")
    found = f"-ngl {s.plan.ngl} of {layers + 1}"
    scene.text(744, 22, found, size=14, bold=True, anchor="end", color="green" if s.plan.whole else "red")
    owner = {k: g for g, share in enumerate(s.plan.shares) for k in range(share.first, share.end)}
    for k in range(-1, layers + 1):
        left = x(k - 0.4) if k < 0 else x(k + 0.4) if k == layers else x(k)
        gpu = owner.get(k)
        scene.rect(
            left + 0.5, 42, wide - 1, 40, fill="card" if gpu is None else GPU_COLORS[gpu], color="muted", line=0.8
        )
        if gpu is None:
            scene.hatch(left + 0.5, 42, wide - 1, 40, "muted", gap=7, width=0.8)
    scene.text(x(-1.4) + wide / 2, 98, "emb", size=11, color="muted")
    scene.text(x(layers + 0.4) + wide / 2, 98, "out", size=11, color="muted")
    for k in range(8 if layers > 40 else 0, layers, 8):
        scene.text(x(k) + wide / 2, 98, k, size=11, color="muted")
    _key(scene, 118)


def _key(scene, y):
    at = 16
    for name, wide, mark in (("weights", 84, "blue"), ("KV cache", 96, "orange"), ("compute buffer", 130, "red"),
                             ("margin", 84, None)):  # fmt: skip
        scene.rect(at, y - 10, 12, 12, fill=mark or "card", color="muted", line=0.8)
        if mark is None:
            scene.hatch(at, y - 10, 12, 12, "muted", gap=5, width=0.8)
        scene.text(at + 18, y, name, size=12, anchor="start")
        at += wide
    scene.text(744, y, "weights in their card's colour; hatched: in RAM", size=12, color="muted", anchor="end")


def _memory(scene, s):
    """A bar for each GPU and one for RAM: weights, cache, compute buffer, margin, and what stays free."""
    gib = 2**30
    most = max([share.memory for share in s.plan.shares] + [s.plan.ram_bytes])
    x = Axis(0, 1.02 * most / gib, LEFT, RIGHT)
    left = len(s.plan.needs.slots) - s.plan.ngl
    kv = sum(s.plan.needs.kv[:left])
    rows = [(title, share.memory, ((share.weights, GPU_COLORS[g]), (share.kv, "orange"), (share.compute, "red")),
             share.margin) for g, (title, share) in enumerate(zip(s.titles, s.plan.shares, strict=True))]  # fmt: skip
    rows.append(("RAM", None, ((s.plan.ram_bytes - kv, "muted"), (kv, "orange")), 0))
    foot = TOP + len(rows) * BAR - 6
    for tick in x.ticks(8):
        scene.line(x(tick), TOP - 6, x(tick), foot, "faint", 0.8)
        scene.text(x(tick), foot + 18, number(tick), size=12, color="muted")
    scene.text(RIGHT, foot + 38, "GiB", size=12, color="muted", anchor="end")
    for k, (title, memory, parts, margin) in enumerate(rows):
        y = TOP + k * BAR
        scene.text(LEFT - 10, y + 24, title.removesuffix(" SXM"), size=12, bold=True, anchor="end")
        if memory:
            scene.rect(x(0), y, x(memory / gib) - x(0), 36, fill="card", color="ink", line=1.2)
        _stack(scene, x, y, parts)
        if margin:
            room = max(0.0, (memory - margin) / gib)
            scene.hatch(x(room), y + 1, x(memory / gib) - x(room), 34, "muted", gap=7, width=0.8)


def _stack(scene, x, y, parts):
    """Parts (bytes, colour) one behind the other, with their GiB where there is room."""
    at = 0.0
    for size, color in parts:
        end = min(at + size / 2**30, x.hi)
        scene.rect(x(at), y + 3, x(end) - x(at), 30, fill=color)
        if x(end) - x(at) > 46:
            ink = INK_ON_ORANGE if color == "orange" else "paper"
            scene.text((x(at) + x(end)) / 2, y + 23, f"{size / 2**30:.2f}", size=12, color=ink, bold=True)
        at = end


def offload(**start):
    """The offload planner of chapter 08: `offload(model=("8B", "Q4_K_M"), gpus=("rtx-4060",), context=32768)`."""
    return Offload(**start)
