"""Scene -> SVG text: drawn by the browser, so it is sharp on every screen and takes the page's colours."""

import base64
import io
from html import escape

from course_lib.viz.palette import LIGHT, css

SANS = "var(--jp-ui-font-family,system-ui,sans-serif)"
MONO = "var(--jp-code-font-family,ui-monospace,monospace)"


def render(scene, alt):
    """One `<svg role="img">` whose accessible name is `alt`, no wider than the scene and shrinking with the page."""
    body = "".join(_DRAW[mark.kind](mark) for mark in scene.marks)
    return (
        f'<svg class="q-pic" role="img" aria-label="{escape(alt)}" xmlns="http://www.w3.org/2000/svg" '
        f'viewBox="0 0 {scene.width} {scene.height}" style="width:100%;max-width:{scene.width}px;display:block" '
        f'font-family="{SANS}"><style>{css()}.q-pic text{{white-space:pre}}</style>{body}</svg>'
    )


def _paint(color):
    if color is None:
        return "none"
    return f"var(--q-{color})" if color in LIGHT else color


def _path(mark):
    look = mark.look
    steps = "L".join(f"{x:.1f} {y:.1f}" for x, y in mark.at)
    extra = f' stroke-dasharray="{look["dash"][0]} {look["dash"][1]}"' if look["dash"] else ""
    extra += f' opacity="{look["opacity"]:.2f}"' if look["opacity"] < 1 else ""
    return (
        f'<path d="M{steps}{"Z" if look["closed"] else ""}" fill="{_paint(look["fill"])}" '
        f'stroke="{_paint(look["color"])}" stroke-width="{look["width"]}" stroke-linejoin="round"{extra}/>'
    )


def _circle(mark):
    x, y, radius = mark.at
    look = mark.look
    return (
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}" fill="{_paint(look["fill"])}" '
        f'stroke="{_paint(look["color"])}" stroke-width="{look["width"]}"/>'
    )


def _text(mark):
    x, y, text = mark.at
    look = mark.look
    extra = ' font-weight="600"' if look["bold"] else ""
    extra += f' font-family="{MONO}"' if look["mono"] else ""
    extra += f' textLength="{look["length"]:.1f}" lengthAdjust="spacingAndGlyphs"' if look["length"] else ""
    extra += ' stroke="var(--q-paper)" stroke-width="4" paint-order="stroke"' if look["halo"] else ""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{look["size"]}" text-anchor="{look["anchor"]}" '
        f'fill="{_paint(look["color"])}"{extra}>{escape(text)}</text>'
    )


def _image(mark):
    x, y, width, height = mark.at
    return (
        f'<image x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" preserveAspectRatio="none" '
        f'style="image-rendering:pixelated" href="data:image/png;base64,{_tiny_png(mark.look["rgb"])}"/>'
    )


def _tip(mark):
    x, y, width, height = mark.at
    return (
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" fill="none" pointer-events="all">'
        f"<title>{escape(mark.look['text'])}</title></rect>"
    )


def _tiny_png(rgb):
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(rgb).save(buffer, "png", compress_level=1)
    return base64.b64encode(buffer.getvalue()).decode("ascii")


_DRAW = {"path": _path, "circle": _circle, "text": _text, "image": _image, "tip": _tip}
