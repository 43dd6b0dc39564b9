"""Scene -> matplotlib figure -> PNG: the face that exports, GitHub and `make pictures` show."""

import io

from course_lib.viz.palette import MONO, SANS, light

_POINTS = 0.72 * 0.93  # CSS pixel -> point at 100 dots an inch; DejaVu runs wider than the browser's fonts
_ANCHOR = {"start": "left", "middle": "center", "end": "right"}


def figure(scene, scale=2):
    """A figure of exactly scene.width x scene.height CSS pixels, `scale` dots each."""
    from matplotlib.figure import Figure

    fig = Figure(figsize=(scene.width / 100, scene.height / 100), dpi=100 * scale, facecolor=light("paper"))
    axes = fig.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.set(xlim=(0, scene.width), ylim=(scene.height, 0), autoscale_on=False)
    for order, mark in enumerate(scene.marks):
        _DRAW[mark.kind](axes, mark, order + 1)
    return fig


def png(fig):
    """PNG bytes of a figure at its own size and resolution."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    buffer = io.BytesIO()
    canvas = FigureCanvasAgg(fig)
    canvas.print_png(buffer, pil_kwargs={"compress_level": 6})
    return buffer.getvalue()


def _hex(color):
    return "none" if color is None else light(color)


def _path(axes, mark, order):
    from matplotlib.patches import Polygon

    look = mark.look
    style = "solid" if not look["dash"] else (0, tuple(v / max(look["width"], 1e-9) for v in look["dash"]))
    axes.add_patch(
        Polygon(
            mark.at,
            closed=look["closed"],
            facecolor=_hex(look["fill"]),
            edgecolor=_hex(look["color"]),
            linewidth=look["width"] * 0.72,
            linestyle=style,
            alpha=look["opacity"],
            capstyle="butt",
            joinstyle="round",
            zorder=order,
        )
    )


def _circle(axes, mark, order):
    from matplotlib.patches import Circle

    x, y, radius = mark.at
    look = mark.look
    paint = dict(facecolor=_hex(look["fill"]), edgecolor=_hex(look["color"]), linewidth=look["width"] * 0.72)
    axes.add_patch(Circle((x, y), radius, zorder=order, **paint))


def _text(axes, mark, order):
    from matplotlib.patheffects import withStroke

    x, y, text = mark.at
    look = mark.look
    axes.text(
        x,
        y,
        text,
        fontsize=look["size"] * (0.72 * 0.6 / 0.602 if look["mono"] else _POINTS),
        color=_hex(look["color"]),
        ha=_ANCHOR[look["anchor"]],
        va="baseline",
        family=list(MONO if look["mono"] else SANS),
        weight="bold" if look["bold"] else "normal",
        zorder=order,
        parse_math=False,
        path_effects=[withStroke(linewidth=3, foreground=light("paper"))] if look["halo"] else None,
    )


def _image(axes, mark, order):
    x, y, width, height = mark.at
    axes.imshow(
        mark.look["rgb"], extent=(x, x + width, y + height, y), interpolation="nearest", aspect="auto", zorder=order
    )


def _tip(axes, mark, order):
    """Paper shows nothing on a touch."""


_DRAW = {"path": _path, "circle": _circle, "text": _text, "image": _image, "tip": _tip}
