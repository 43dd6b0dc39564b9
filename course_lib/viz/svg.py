"""Scene -> SVG text: drawn by the browser, so it is sharp on every screen and takes the page's colours."""

import base64
import io
import itertools
from html import escape

from course_lib.viz.palette import LIGHT, css

SANS = "var(--jp-ui-font-family,system-ui,sans-serif)"
MONO = "var(--jp-code-font-family,ui-monospace,monospace)"


def render(scene, alt):
    """One `<svg role="img">` whose accessible name is `alt`, no wider than the scene and shrinking with the page."""
    body = "".join(_DRAW[alike[0]](list(run)) for alike, run in itertools.groupby(scene.marks, _alike))
    return (
        f'<svg class="q-pic" role="img" aria-label="{escape(alt)}" xmlns="http://www.w3.org/2000/svg" '
        f'viewBox="0 0 {scene.width} {scene.height}" style="width:100%;max-width:{scene.width}px;display:block" '
        f'font-family="{SANS}" fill="none" stroke-linejoin="round">'
        f"<style>{css()}.q-pic text{{white-space:pre}}.q-pic .q-mono{{font-family:{MONO}}}</style>{body}</svg>"
    )


def _alike(mark):
    """What neighbours share that become one element: tips a group, strokes of one look a path."""
    if mark.kind == "path" and mark.look["fill"] is None and mark.look["opacity"] == 1:
        return "path", *mark.look.items()
    return (mark.kind,) if mark.kind == "tip" else (mark.kind, id(mark))


def _paint(color):
    if color is None:
        return "none"
    return f"var(--q-{color})" if color in LIGHT else color


def _short(value):
    """A length in tenths of a pixel, in as few letters as can be: 44 for 44.0."""
    return f"{value:.1f}".removesuffix(".0")


def _steps(points):
    """The points of a path: H and V where a segment is level or upright, as most are."""
    (x, y), *rest = ((_short(x), _short(y)) for x, y in points)
    told = [f"M{x} {y}"]
    for to_x, to_y in rest:
        told.append(f"H{to_x}" if to_y == y else f"V{to_y}" if to_x == x else f"L{to_x} {to_y}")
        x, y = to_x, to_y
    return "".join(told)


def _filled_and_drawn(look):
    """The attributes of area and line; the picture itself has neither."""
    fill, color = look["fill"], look["color"]
    told = f' fill="{_paint(fill)}"' if fill is not None else ""
    return told + (f' stroke="{_paint(color)}" stroke-width="{look["width"]}"' if color is not None else "")


def _path(marks):
    look = marks[0].look
    steps = "".join(_steps(mark.at) + "Z" * look["closed"] for mark in marks)
    extra = f' stroke-dasharray="{look["dash"][0]} {look["dash"][1]}"' if look["dash"] else ""
    extra += f' opacity="{look["opacity"]:.2f}"' if look["opacity"] < 1 else ""
    return f'<path d="{steps}"{_filled_and_drawn(look)}{extra}/>'


def _circle(marks):
    (mark,) = marks
    x, y, radius = map(_short, mark.at)
    return f'<circle cx="{x}" cy="{y}" r="{radius}"{_filled_and_drawn(mark.look)}/>'


def _text(marks):
    (mark,) = marks
    x, y, text = mark.at
    look = mark.look
    extra = ' font-weight="600"' if look["bold"] else ""
    extra += ' class="q-mono"' if look["mono"] else ""
    extra += f' textLength="{look["length"]:.1f}" lengthAdjust="spacingAndGlyphs"' if look["length"] else ""
    extra += ' stroke="var(--q-paper)" stroke-width="4" paint-order="stroke"' if look["halo"] else ""
    return (
        f'<text x="{_short(x)}" y="{_short(y)}" font-size="{look["size"]}" text-anchor="{look["anchor"]}" '
        f'fill="{_paint(look["color"])}"{extra}>{escape(text)}</text>'
    )


def _image(marks):
    (mark,) = marks
    x, y, width, height = mark.at
    return (
        f'<image x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" preserveAspectRatio="none" '
        f'style="image-rendering:pixelated" href="data:image/png;base64,{_tiny_png(mark.look["rgb"])}"/>'
    )


def _tips(marks):
    return f'<g pointer-events="all">{"".join(map(_tip, marks))}</g>'


def _tip(mark):
    x, y, width, height = mark.at
    box = _steps(((x, y), (x + width, y), (x + width, y + height), (x, y + height)))
    return f'<path d="{box}"><title>{escape(mark.look["text"], quote=False)}</title></path>'


def _tiny_png(rgb):
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(rgb).save(buffer, "png", compress_level=1)
    return base64.b64encode(buffer.getvalue()).decode("ascii")


_DRAW = {"path": _path, "circle": _circle, "text": _text, "image": _image, "tip": _tips}
