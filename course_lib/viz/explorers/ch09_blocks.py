"""Chapter 09: one block of ggml, byte by byte: which bits, which weights, which scale."""

import functools
from dataclasses import dataclass

import numpy as np

from course_lib.formats import ggml
from course_lib.formats.ggml import anatomy
from course_lib.formats.ggml.layouts import ROLES
from course_lib.viz.axis import number
from course_lib.viz.controls import Choice, Slider
from course_lib.viz.explorer import Explorer
from course_lib.viz.explorers.ch09_words import LEGEND, held, label, lines, meaning, place_of, said, told
from course_lib.viz.scene import Scene

WIDTH, LEFT, CELL, ROW = 760, 48, 21, 32  # ROW: bytes, and weights, side by side
SIGN, SHARED = ("red", (1.2, 1.8)), ("orange", None)
LOOKS = {  # the stroke under a number's bits: its colour and its dashes
    "code": ("blue", None), "row": ("blue", None), "digits": ("blue", None), "d": SHARED, "e": SHARED,
    "scale": ("green", (5, 2)), "minimum": ("purple", (2, 2)), "dmin": ("purple", None), "m": ("purple", None),
    "sign": SIGN, "signs": SIGN, "move": SIGN,
}  # fmt: skip


@dataclass(frozen=True)
class Byte:
    """One byte of a block: its pieces, all numbers of the block by (role, index), and the weights they stand for."""

    kind: str
    at: int
    data: np.ndarray
    pieces: tuple
    numbers: dict
    weights: np.ndarray

    @property
    def value(self) -> int:
        return int(self.data[self.at])


@functools.cache
def example():
    """256 weights, made up: a bell curve, rounded to three digits."""
    return np.random.default_rng(9).standard_normal(256).round(3).astype(np.float32)


class Blocks(Explorer):
    """A block of any of ggml's types; the slider steps through its bytes."""

    name = "blocks"
    controls = (
        Choice("kind", "type of the block", tuple((k, k) for k in anatomy.DESCRIBED), "Q4_K"),
        Slider("byte", "byte", 0, max(ggml.block_type(k).block_bytes for k in anatomy.DESCRIBED) - 1, 1, 4),
    )

    def __init__(self, w=None, **start):
        """w (256,) or longer: the weights to be stored; by default a made-up bell curve."""
        w = example() if w is None else np.asarray(w.detach().float() if hasattr(w, "detach") else w, np.float32)
        w = w.reshape(-1)[:256]
        if w.size < 256 or not np.isfinite(w).all():
            raise ValueError(f"blocks(w): w must hold at least 256 finite weights, got {w.size}")
        self.w = w
        self.block = functools.cache(self._block)
        super().__init__(**start)

    def _block(self, kind):
        """The block's bytes; all columns count alike where the type wants an importance matrix."""
        t = ggml.block_type(kind)
        alike = np.ones(t.elements, np.float32) if t.needs_imatrix else None
        return ggml.quantize(self.w[None, : t.elements], kind, alike)[0]

    def numbers(self, kind, byte):
        data = self.block(kind)
        at = min(int(byte), len(data) - 1)
        weights = ggml.dequantize(data[None], kind)[0]
        return Byte(kind, at, data, anatomy.pieces(kind, at), anatomy.numbers(kind, data), weights)

    def sentence(self, b):
        start = f"Byte {b.at} of 0 … {len(b.data) - 1} belongs to {place_of(b.kind, b.at)}; it is 0x{b.value:02x}."
        return " ".join([start, *said(b)])

    def draw(self, b):
        rows = -(-len(b.data) // ROW)
        bits, weights = 84 + 34 * rows, 84 + 34 * rows + 146
        scene = Scene(WIDTH, weights + 34 + 14 * -(-len(b.weights) // ROW))
        _bytes(scene, b)
        _bits(scene, b, bits)
        _weights(scene, b, weights)
        return scene

    def box(self):
        """The live widget; the slider ends where the chosen block does."""
        box = super().box()
        kind, byte = box.children[:2]

        def fit(_=None):
            byte.max = ggml.block_type(kind.value).block_bytes - 1

        fit()
        kind.observe(fit, names="value")
        return box


def _bytes(scene, b):
    """All bytes in hexadecimal, the chosen one in a frame, each field underlined and named."""
    t = ggml.block_type(b.kind)
    title = (
        f"one block of {b.kind}: {len(b.data)} bytes for {t.elements} weights, {number(t.bits_per_weight, 5)} bits each"
    )
    scene.text(LEFT, 22, title, size=14, bold=True, anchor="start")
    for at, byte in enumerate(b.data.tolist()):
        x, y = LEFT + CELL * (at % ROW), 40 + 34 * (at // ROW)
        field, place = anatomy.field_of(b.kind, at)
        if at % ROW == 0:
            scene.text(LEFT - 8, y + 14, at, size=11, color="muted", anchor="end")
        if at == b.at:
            scene.rect(x - 1, y - 2, CELL, 20, fill="sky", color="ink", line=2)
        scene.text(x + 9.5, y + 13, f"{byte:02x}", size=12, mono=True)
        scene.tip(x - 1, y - 2, CELL, 24, f"byte {at} = 0x{byte:02x}: {held(b, at)}")
        if place == 0 or at % ROW == 0:
            room = CELL * min(ROW - at % ROW, t.dtype[field].itemsize - place) - 5
            size = 8 if 6 * len(field) > room else 11
            scene.text(x + 1, y + 31, field, size=size, color="muted", anchor="start")
            scene.tip(x - 1, y + 22, max(CELL, room), 12, meaning(b.kind, field))
    for left, right, y, look in _strokes(b.kind, len(b.data)):
        scene.line(left, y, right, y, look[0], 3, dash=look[1])
    _legend(scene, b, 58 + 34 * -(-len(b.data) // ROW))


@functools.cache
def _strokes(kind, size):
    """(left, right, y, look) under the bytes: one stroke for neighbouring bits of one look in one field."""
    out = []
    for at in range(size):
        x, y = LEFT + CELL * (at % ROW) + 1, 60 + 34 * (at // ROW)
        for p in reversed(anatomy.pieces(kind, at)):
            left, right = x + 17 * (8 - p.low - p.width) / 8, x + 17 * (8 - p.low) / 8
            look, field = LOOKS[p.role], anatomy.field_of(kind, at)[0]
            if out and out[-1][2:] == (y, look, field) and left - out[-1][1] < 5:
                left = out.pop()[0]
            out.append((left, right, y, look, field))
    return [stroke[:4] for stroke in out]


def _legend(scene, b, y):
    """What the strokes under the bytes mean, for the numbers that this type has."""
    x, seen = LEFT, dict.fromkeys(role for role, _ in sorted(b.numbers, key=lambda n: list(LOOKS).index(n[0])))
    for role in seen:
        scene.line(x, y - 4, x + 24, y - 4, LOOKS[role][0], 3, dash=LOOKS[role][1])
        scene.text(x + 30, y, LEGEND[role], size=11, color="muted", anchor="start")
        scene.tip(x, y - 12, 36 + 6 * len(LEGEND[role]), 16, ROLES[role])
        x += 50 + round(5.4 * len(LEGEND[role]))


def _bits(scene, b, top):
    """The eight bits of the byte, its pieces bracketed, and on the right what they come to."""
    scene.text(LEFT, top, f"byte {b.at} = 0x{b.value:02x}", size=14, bold=True, anchor="start")
    wide, y = 30, top + 14
    for bit in range(8):
        x = LEFT + wide * (7 - bit)
        scene.rect(x, y, wide - 4, 26, fill="card", color="muted", line=1)
        scene.text(x + wide / 2 - 2, y + 19, b.value >> bit & 1, size=15, mono=True)
        scene.text(x + wide / 2 - 2, y + 40, bit, size=10, color="muted")
    for p in b.pieces:
        right = LEFT + wide * (8 - p.low) - 4
        left = LEFT + wide * (8 - p.low - p.width)
        scene.bracket(left, right, y + 50, "ink", 1.5, 4)
        scene.text((left + right) / 2, y + 68, label(p), size=11 if p.width > 2 else 10 if p.width == 2 else 9)
        scene.tip(left, y, right - left, 72, told(b, p))
    scene.text(LEFT, y + 88, "bit 7 is worth most, bit 0 least", size=11, color="muted", anchor="start")
    found = lines(b)
    pitch, first = (22, y + 14) if len(found) < 6 else (14, y + 8)
    longest = max(map(len, found), default=0)
    size = 11 if longest > 68 else 12 if pitch < 22 or 7.2 * longest > WIDTH - 330 else 13
    for k, line in enumerate(found):
        scene.text(320, first + pitch * k, line, size=size, anchor="start")


def _weights(scene, b, top):
    """The weights of the block: a diamond on those that hang on this byte, a tint on those that share their scale."""
    hanging = {j for p in b.pieces for j in p.weights}
    group = anatomy.per_number(b.kind, "scale")
    sharing = {j // group for j in hanging}
    scene.text(LEFT, top + 8, "the weights", size=14, bold=True, anchor="start")
    scene.rect(LEFT + 122, top - 1, 14, 10, fill="card", color="muted", line=1).diamond(LEFT + 129, top + 4, 4, "blue")
    scene.text(LEFT + 142, top + 8, "hang on this byte", size=12, color="muted", anchor="start")
    scene.rect(LEFT + 272, top - 1, 14, 10, fill="sky", color="muted", line=1)
    words = f"share a scale with them ({group} to a scale)"
    scene.text(LEFT + 292, top + 8, words, size=12, color="muted", anchor="start")
    for j in range(len(b.weights)):
        x, y = LEFT + CELL * (j % ROW), top + 20 + 14 * (j // ROW)
        if j % ROW == 0:
            scene.text(LEFT - 8, y + 10, j, size=11, color="muted", anchor="end")
        scene.rect(x, y, CELL - 3, 11, fill="sky" if j // group in sharing else "card", color="muted", line=0.8)
        if j in hanging:
            scene.diamond(x + (CELL - 3) / 2, y + 5.5, 4.5, "blue")


def blocks(w=None, **start):
    """The explorer of chapter 09: `blocks()`, or `blocks(w=row, kind="Q4_K", byte=4)`."""
    return Blocks(w, **start)
