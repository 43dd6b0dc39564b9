"""Put a picture with its description into a notebook."""

import base64
from html import escape

from course_lib.viz.scene import Scene


def bundle(picture, alt):
    """(data, metadata) of a Scene or a matplotlib figure: HTML that carries the description, a PNG, and the text.

    JupyterLab shows a bare PNG without alternative text; so the PNG travels inside `<img alt=…>` as well.
    """
    if not isinstance(alt, str) or not alt.strip():
        raise ValueError(f"show(picture, alt=…): alt must say in words what the picture shows, got {alt!r}")
    if isinstance(picture, Scene):
        png, width, html = picture.png(), picture.width, picture.svg(alt)
    elif hasattr(picture, "savefig"):
        png, width = _png(picture), round(picture.get_size_inches()[0] * 100)
        html = image(png, alt, width)
    else:
        raise TypeError(f"show(picture, alt=…): expected a matplotlib figure or a Scene, got {type(picture).__name__}")
    data = {"text/html": html, "image/png": png, "text/plain": alt}
    return data, {"image/png": {"alt": alt, "width": width}}


def image(png, alt, width):
    """An HTML image that carries its PNG and its description, `width` CSS pixels wide and shrinking with the page."""
    source = base64.b64encode(png).decode("ascii")
    style = "max-width:100%;height:auto;box-sizing:border-box;padding:6px;background:#fff;border-radius:6px"
    return f'<img alt="{escape(alt)}" width="{width}" style="{style}" src="data:image/png;base64,{source}">'


def show(picture, alt):
    """Display a figure, sharp on any screen, with `alt` as its description for a reader who cannot see it.

    `show(plots.footprints({"FP16": 140, "INT4": 35}), alt="Four bits take a quarter of the bytes.")`
    """
    from IPython.display import display

    data, metadata = bundle(picture, alt)
    display(data, metadata=metadata, raw=True)


def _png(figure):
    import io

    from matplotlib.backends.backend_agg import FigureCanvasAgg

    if not isinstance(figure.canvas, FigureCanvasAgg):
        FigureCanvasAgg(figure)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=200, facecolor=figure.get_facecolor())
    return buffer.getvalue()
