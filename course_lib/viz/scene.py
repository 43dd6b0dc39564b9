"""A picture as a short list of marks, so that one drawing gives live SVG (about 1 ms) and a PNG (for exports) alike.

Lengths are CSS pixels, y grows downwards, colours are palette names. Larger shapes are built from four primitives:
path, circle, text, image.

>>> scene = Scene(100, 40).line(0, 20, 100, 20).text(50, 12, "w")
>>> [mark.kind for mark in scene.marks]
['path', 'text']
"""

from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class Mark:
    """One primitive: `kind` in path, circle, text, image, tip; `at` its geometry; `look` its colours and sizes."""

    kind: str
    at: tuple
    look: dict


@dataclass
class Scene:
    """A drawing surface of `width` x `height` CSS pixels; every method adds marks and returns the scene."""

    width: int
    height: int
    marks: list = field(default_factory=list)

    def path(self, points, color="ink", width=1.5, fill=None, dash=None, closed=False, opacity=1.0):
        """Straight segments through `points` [(x, y), …]; `fill` and `closed` make an area; `dash` is (on, off)."""
        look = dict(color=color, width=width, fill=fill, dash=dash, closed=closed, opacity=opacity)
        self.marks.append(Mark("path", tuple(points), look))
        return self

    def circle(self, x, y, radius, fill="ink", color=None, width=1.5):
        """A disc (or a ring with `fill=None`) centred at (x, y)."""
        self.marks.append(Mark("circle", (x, y, radius), dict(fill=fill, color=color, width=width)))
        return self

    def text(self, x, y, text, size=14, color="ink", anchor="middle", bold=False, mono=False, length=None,
             halo=False):  # fmt: skip
        """`text` with its baseline at y; `anchor` start, middle or end; `length` forces a width in pixels.

        `halo` paints a rim of paper around the letters, for a label that stands on lines.
        """
        look = dict(size=size, color=color, anchor=anchor, bold=bold, mono=mono, length=length, halo=halo)
        self.marks.append(Mark("text", (x, y, str(text)), look))
        return self

    def image(self, x, y, width, height, rgb):
        """An array of colours (rows, columns, 3) uint8, its cells kept sharp."""
        self.marks.append(Mark("image", (x, y, width, height), dict(rgb=np.ascontiguousarray(rgb, dtype=np.uint8))))
        return self

    def tip(self, x, y, width, height, text):
        """A box without ink that shows `text` while the mouse rests on it, where the page is live."""
        self.marks.append(Mark("tip", (x, y, width, height), dict(text=str(text))))
        return self

    def line(self, x1, y1, x2, y2, color="ink", width=1.5, dash=None):
        """One segment."""
        return self.path([(x1, y1), (x2, y2)], color, width, dash=dash)

    def rect(self, x, y, width, height, fill=None, color=None, line=1.5, opacity=1.0):
        """A box given by its upper left corner."""
        corners = [(x, y), (x + width, y), (x + width, y + height), (x, y + height)]
        return self.path(corners, color, line, fill=fill, closed=True, opacity=opacity)

    def hatch(self, x, y, wide, high, color="red", gap=7, width=1.2):
        """Diagonal strokes over a box: a zone that is told by texture, not by colour alone."""
        for start in np.arange(gap / 2, wide + high, gap):
            left, right = max(0.0, start - high), min(start, wide)
            if right > left:
                self.line(x + left, y + start - left, x + right, y + start - right, color, width)
        return self

    def arrow(self, x1, y1, x2, y2, color="ink", width=1.5, head=7):
        """A segment whose end carries a filled head."""
        length = max(np.hypot(x2 - x1, y2 - y1), 1e-9)
        ux, uy = (x2 - x1) / length, (y2 - y1) / length
        bx, by = x2 - head * ux, y2 - head * uy
        self.line(x1, y1, bx, by, color, width)
        wing = 0.45 * head
        tip = [(x2, y2), (bx - wing * uy, by + wing * ux), (bx + wing * uy, by - wing * ux)]
        return self.path(tip, None, 0, fill=color, closed=True)

    def bracket(self, x1, x2, y, color="red", width=2, tick=6):
        """A horizontal measure from x1 to x2 with two end ticks."""
        for x in (x1, x2):
            self.line(x, y - tick, x, y + tick, color, width)
        return self.line(x1, y, x2, y, color, width)

    def diamond(self, x, y, radius, fill="red", color=None, width=1.5):
        """A square on its corner: the second shape beside the circle."""
        corners = [(x, y - radius), (x + radius, y), (x, y + radius), (x - radius, y)]
        return self.path(corners, color, width, fill=fill, closed=True)

    def svg(self, alt):
        """The picture as one SVG element that follows the page's light or dark theme; see `svg.render`."""
        from course_lib.viz.svg import render

        return render(self, alt)

    def figure(self, scale=2):
        """The picture as a matplotlib figure on white paper; see `raster.figure`."""
        from course_lib.viz.raster import figure

        return figure(self, scale)

    def png(self, scale=2):
        """The picture as PNG bytes, `scale` dots per CSS pixel."""
        from course_lib.viz.raster import png

        return png(self.figure(scale))
