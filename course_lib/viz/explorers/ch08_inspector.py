"""Chapter 08: a GGUF file as bytes: which field a byte belongs to, and what the field says."""

import bisect
import functools
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from course_lib.viz.controls import Slider, Steps
from course_lib.viz.explorer import Explorer
from course_lib.viz.scene import Scene

COLUMNS, ROWS = 16, 13
FURTHEST = 63  # how far the second slider goes on from a field's first byte
COLORS = {"header": "blue", "keys": "green", "tensor infos": "orange", "padding": "muted", "data": "purple"}
LEFT, TOP, CELL_W, CELL_H = 70, 84, 27, 23
WIDTH, HEIGHT = 760, TOP + ROWS * CELL_H + 96
TEXT_X = LEFT + COLUMNS * CELL_W + 18


@dataclass(frozen=True)
class Stand:
    """Where the reader stands: byte `at` in `span`, and the window of bytes from `first` on."""

    at: int
    span: object  # spans.Span
    first: int
    data: np.ndarray
    spans: list
    begins: list  # of the spans, for bisection
    decoded: str  # what this very byte is part of, within data


def tiny() -> bytes:
    """A whole GGUF file of 288 bytes: three keys, two tensors."""
    from course_lib.artifacts.gguf.values import typed
    from course_lib.artifacts.gguf.writer import Part, header

    keys = {"general.architecture": "tiny", "tiny.size": 258, "tiny.names": ["a", "bc"]}
    tensors = {"one": np.float32([[0.5, -1.0, 2.0], [0.25, 0.0, -3.0]]), "two": np.float32([1.0, 0.75])}
    parts = [Part(name, w.shape, 0, lambda: None) for name, w in tensors.items()]
    out = header({key: typed(key, value) for key, value in keys.items()}, parts)
    return out + b"".join(w.tobytes() + bytes(-w.nbytes % 32) for w in tensors.values())


class Inspector(Explorer):
    """A hex dump with a cursor: step from field to field, or byte by byte; every byte tells its meaning on hovering."""

    name = "inspector"

    def __init__(self, file=None, **start):
        """file: a path or bytes; by default a file of 288 bytes that holds everything once."""
        from course_lib.artifacts.gguf.spans import spans

        if file is None or isinstance(file, bytes):
            self.data = np.frombuffer(tiny() if file is None else file, np.uint8)
        else:
            self.data = np.memmap(Path(file), np.uint8, "r")
        self.spans = spans(self.data)
        self.begins = [span.at for span in self.spans]
        stops = tuple((f"{k + 1}: {_short(span.what, 34)}", k) for k, span in enumerate(self.spans))
        self.controls = (
            Steps("field", "field", stops, 0),
            Slider("further", "bytes further on", 0, FURTHEST, 1, 0),
        )
        self.described = functools.cache(self._described)
        super().__init__(**start)

    def numbers(self, field, further):
        at = min(self.spans[field].at + int(further), len(self.data) - 1)
        span = self._span(at)
        first = max(0, (at // COLUMNS - ROWS // 2) * COLUMNS)
        last = max(0, (-(-len(self.data) // COLUMNS) - ROWS) * COLUMNS)
        return Stand(at, span, min(first, last), self.data, self.spans, self.begins, self._decoded(span, at))

    def _span(self, at):
        return self.spans[bisect.bisect_right(self.begins, at) - 1]

    def _decoded(self, span, at):
        """The number that a byte of F32 or F16 data is part of."""
        kinds = {"F32": np.dtype("<f4"), "F16": np.dtype("<f2")}
        kind = kinds.get(span.value.rpartition(" ")[2]) if span.part == "data" else None
        if kind is None:
            return ""
        number = (at - span.at) // kind.itemsize
        begin = span.at + number * kind.itemsize
        value = self.data[begin : begin + kind.itemsize].tobytes()
        return f"number {number:,} is {np.frombuffer(value, kind)[0]:.6g}".replace("-", "−")

    def sentence(self, s):
        n, last = s.span.size, s.span.at + s.span.size - 1
        where = f"bytes {s.span.at:,} to {last:,}" if n > 1 else "one byte"
        said = f"{s.span.value}; {s.decoded}" if s.decoded else s.span.value
        return (
            f"Byte {s.at:,} of {len(s.data):,} is {s.data[s.at]:02x}. It belongs to the {s.span.part}: "
            f"{s.span.what} ({where}). {'They say' if n > 1 else 'It says'}: {said}."
        )

    def _described(self, k):
        span = self.spans[k]
        return _short(f"{span.what}: {span.value}", 90)

    def draw(self, s):
        scene = Scene(WIDTH, HEIGHT)
        _map(scene, s)
        _dump(scene, s, self)
        _answer(scene, s)
        return scene


def _map(scene, s):
    """The five parts of a file in their order, the present one filled."""
    ends, wide = {}, (WIDTH - 32) / len(COLORS)
    for span in s.spans:
        first, size = ends.get(span.part, (span.at, 0))
        ends[span.part] = (first, size + span.size)
    for k, (part, color) in enumerate(COLORS.items()):
        x, here = 16 + k * wide, part == s.span.part
        scene.rect(x, 12, wide - 6, 42, fill=color if here else "card", color=color, line=1.5)
        ink = "paper" if here else "ink"
        scene.text(x + wide / 2 - 3, 30, part, size=13, bold=True, color=ink)
        size = f"{ends[part][1]:,} bytes" if part in ends else "none here"
        scene.text(x + wide / 2 - 3, 46, size, size=11, color=ink if here else "muted")


def _dump(scene, s, explorer):
    """Rows of 16 bytes: hex, coloured by part, fields set off from each other; at the right the same as text."""
    for column in range(COLUMNS):
        scene.text(LEFT + (column + 0.5) * CELL_W, TOP - 8, f"+{column}", size=10, color="muted")
    for row in range(ROWS):
        start, y = s.first + row * COLUMNS, TOP + row * CELL_H
        if start >= len(s.data):
            break
        scene.text(LEFT - 10, y + 16, f"{start:,}", size=11, color="muted", anchor="end", mono=True)
        for column in range(min(COLUMNS, len(s.data) - start)):
            _byte(scene, s, explorer, start + column, LEFT + column * CELL_W, y)
        shown = "".join(chr(b) if 32 < b < 127 else "·" for b in s.data[start : start + COLUMNS])
        scene.text(TEXT_X, y + 16, shown, size=12, color="muted", anchor="start", mono=True)


def _byte(scene, s, explorer, at, x, y):
    k = bisect.bisect_right(s.begins, at) - 1
    span, mine = s.spans[k], at == s.at
    inside = span.at == s.span.at
    color = COLORS[span.part]
    if mine:
        scene.rect(x + 1, y + 1, CELL_W - 2, CELL_H - 2, fill="ink")
    else:
        shade = 0.5 if inside else (0.24 if k % 2 else 0.1)
        scene.rect(x + 0.5, y + 1, CELL_W - 1, CELL_H - 2, fill=color, opacity=shade)
    if inside:
        scene.line(x, y + CELL_H - 1, x + CELL_W, y + CELL_H - 1, "ink", 2)
    color = "paper" if mine else "ink"
    scene.text(x + CELL_W / 2, y + 16, f"{s.data[at]:02x}", size=12, color=color, bold=inside, mono=True)
    scene.tip(x, y, CELL_W, CELL_H, f"byte {at:,}: {explorer.described(k)}")


def _answer(scene, s):
    """The field under the cursor in large letters, and what it says."""
    y = TOP + ROWS * CELL_H + 30
    scene.rect(16, y - 20, 5, 70, fill=COLORS[s.span.part])
    what = s.span.what if s.span.size > 1 else f"{s.span.what} (one byte)"
    scene.text(32, y - 4, _short(what, 76), size=15, bold=True, anchor="start")
    piece = s.data[s.span.at : s.span.at + min(s.span.size, 20)].tobytes().hex(" ")
    scene.text(
        32, y + 19, piece + (" …" if s.span.size > 20 else ""), size=12, color="muted", anchor="start", mono=True
    )
    scene.text(32, y + 42, "= " + _short(s.decoded or s.span.value, 88), size=14, anchor="start")


def _short(text, most):
    return text if len(text) <= most else text[: most - 1] + "…"


def inspector(file=None, **start):
    """The byte inspector of chapter 08: `inspector()`, or `inspector("bot.gguf", field=3)`."""
    return Inspector(file, **start)
