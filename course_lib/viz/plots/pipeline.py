"""The pipeline picture: four real weights on their way from 16 bits to packed bytes and into a running model."""

import numpy as np

from course_lib.viz.axis import Axis, number
from course_lib.viz.scene import Scene

WEIGHTS = (0.15, -1.22, 2.40, -0.45)
WIDE, GAP, TOP, HIGH = 132, 25, 34, 168
TITLES = ("weights", "statistics", "codes + metadata", "packed bytes", "runtime")
NOTES = ("4 × 16 bits: 8 bytes", "the largest |w| sets s", "4 codes of 4 bits, 1 scale", "2 + 2 bytes",
         "ŵ = s·q, just in time")  # fmt: skip


def pipeline():
    """Weights → statistics → codes + metadata → packed bytes → runtime, on the four weights of chapter 01 (a Scene)."""
    import torch

    from course_lib.formats.packing import pack
    from course_lib.qtensor import quantize
    from course_lib.scheme import Scheme

    q = quantize(torch.tensor(WEIGHTS), Scheme.int(4, scale_dtype=torch.float16))
    packed = pack(q.codes, 4, offset=8).tolist()
    scale_bytes = list(np.float16(q.scale.item()).tobytes())
    scene, left = Scene(760, 250), [k * (WIDE + GAP) for k in range(len(TITLES))]
    _stages(scene, left)
    _column(scene, left[0], [number(w) for w in WEIGHTS], "muted")
    _statistics(scene, left[1])
    _column(scene, left[2], [number(c) for c in q.codes.tolist()], "blue", f"s = {number(q.scale.item())}")
    _bytes(scene, left[3], packed, scale_bytes)
    _column(scene, left[4], [number(v) for v in q.dequantize().tolist()], "green", "y = Σ ŵ·x")
    return scene


def _stages(scene, left):
    """The five cards with their titles and notes, and the arrows between them."""
    for x, title, note in zip(left, TITLES, NOTES, strict=True):
        scene.rect(x + 1, TOP, WIDE - 2, HIGH, fill="card", color="faint", line=1.2)
        scene.text(x + WIDE / 2, TOP - 11, title, size=14, bold=True)
        scene.text(x + WIDE / 2, TOP + HIGH + 20, note, size=12, color="muted")
        if x:
            scene.arrow(x - GAP + 3, TOP + HIGH / 2, x - 3, TOP + HIGH / 2, "ink", 2, 9)


def _column(scene, x, values, color, extra=None):
    """Four values in boxes, one under the other, and perhaps a fifth in the colour of scales."""
    high = 30
    for k, value in enumerate(values):
        y = TOP + 12 + k * high
        scene.rect(x + 26, y, WIDE - 52, high - 5, fill="paper", color=color, line=1.8)
        scene.text(x + WIDE / 2, y + 18, value, size=14, mono=True)
    if extra:
        y = TOP + 12 + 4 * high
        if extra.startswith("s"):
            scene.rect(x + 16, y, WIDE - 32, high - 5, fill="paper", color="orange", line=2.4)
        scene.text(x + WIDE / 2, y + 18, extra, size=14)


def _statistics(scene, x):
    """The weights as dots on a line, the largest with its distance from zero measured."""
    axis = Axis(-2.7, 2.7, x + 10, x + WIDE - 10)
    y = TOP + 88
    scene.line(axis.start, y, axis.end, y, "ink", 1.5).line(axis(0), y - 5, axis(0), y + 5, "ink", 1.5)
    for w in WEIGHTS:
        largest = w == max(WEIGHTS, key=abs)
        if largest:
            scene.diamond(axis(w), y, 7, "red", "paper")
        else:
            scene.circle(axis(w), y, 4.5, "muted", "paper")
    scene.bracket(axis(0), axis(2.4), y - 24, "red", 2, 5)
    scene.text(axis(1.2), y - 36, "2.4", size=14, bold=True, color="red")
    scene.text(axis(0), y + 22, "0", size=12, color="muted")
    scene.text(x + WIDE / 2, y + 52, "s = 2.4 / 7", size=14)


def _bytes(scene, x, packed, scale_bytes):
    """Two bytes of codes, two of the scale, with the codes that each nibble holds."""
    for k, (value, color) in enumerate([*((b, "blue") for b in packed), *((b, "orange") for b in scale_bytes)]):
        y = TOP + 12 + k * 38
        scene.rect(x + 12, y, 48, 28, fill="paper", color=color, line=2.4)
        scene.text(x + 36, y + 20, f"{value:02X}", size=16, bold=True, mono=True)
        if color == "blue":
            low, high = (value & 15) - 8, (value >> 4) - 8
            scene.text(x + 68, y + 19, f"{number(low)}, {number(high)}", size=13, anchor="start")
        elif k == 2:
            scene.text(x + 68, y + 38, "s, fp16", size=13, anchor="start")
