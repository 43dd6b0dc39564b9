"""The course's look for matplotlib: `style()` sets it for a whole notebook; the course's own plots use `styled`."""

import functools

from course_lib.viz.palette import CYCLE, LIGHT

WIDTH = 7.6  # inches at 100 dots: the width of a notebook column


def rc():
    """The settings as a dictionary, for `matplotlib.rc_context`."""
    from cycler import cycler

    return {
        "figure.facecolor": LIGHT["paper"],
        "figure.figsize": (WIDTH, 3.4),
        "figure.dpi": 100,
        "figure.constrained_layout.use": True,
        "savefig.dpi": 200,
        "font.size": 10.5,
        "axes.titlesize": 12,
        "axes.titleweight": "bold",
        "axes.titlelocation": "left",
        "axes.titlepad": 12,
        "axes.labelcolor": LIGHT["muted"],
        "axes.edgecolor": LIGHT["muted"],
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.axisbelow": True,
        "axes.prop_cycle": cycler(color=[LIGHT[name] for name in CYCLE]),
        "grid.color": LIGHT["faint"],
        "grid.linewidth": 0.8,
        "text.color": LIGHT["ink"],
        "xtick.color": LIGHT["muted"],
        "ytick.color": LIGHT["muted"],
        "xtick.labelcolor": LIGHT["ink"],
        "ytick.labelcolor": LIGHT["ink"],
        "lines.linewidth": 2.2,
        "lines.markersize": 7,
        "legend.frameon": False,
        "mathtext.default": "regular",
    }


def style():
    """Give every later matplotlib figure of this session the course's look."""
    import matplotlib

    matplotlib.rcParams.update(rc())


def styled(plot):
    """Decorator: draw in the course's look, whatever the session's own settings are."""

    @functools.wraps(plot)
    def drawn(*args, **kwargs):
        import matplotlib

        with matplotlib.rc_context(rc()):
            return plot(*args, **kwargs)

    return drawn


def new_figure(height=3.4, width=WIDTH, columns=1, **options):
    """(figure, axes) outside pyplot's list of open figures, so that a notebook neither shows it twice nor keeps it."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height))
    return figure, figure.subplots(1, columns, **options)


_PLACES = [(9, -4, 0), (5, -17, 0), (5, 9, 0), (-9, -4, 1)]  # right, below, above, left: dx, dy, share to the left
_FAR = [(14 if left == 0 else -14, -reach, left) for reach in (30, 46, 62, 78) for left in (0, 1)]


def label_points(axes, points):
    """Write each name beside its point, at the first of right, below, above, left that hides no point and no name.

    In a crowd a name goes further down, on a line to its point.
    `points` is a list of (name, x, y) in data units; call it when the limits of the axes are final.
    """
    from matplotlib.patheffects import withStroke

    figure = axes.figure
    figure.draw_without_rendering()
    unit = figure.dpi / 72
    spots = [tuple(axes.transData.transform((x, y)) / unit) for _, x, y in points]
    taken = [(x - 5, y - 5, x + 5, y + 5) for x, y in spots]
    order = [*_PLACES, *_FAR]
    for (name, x, y), (px, py) in zip(points, spots, strict=True):
        boxes = [_label_box(name, px, py, *place) for place in order]
        clear = next((k for k, box in enumerate(boxes) if not any(_overlap(box, other) for other in taken)), 0)
        dx, dy, left = order[clear]
        if clear >= len(_PLACES):  # below the names, so that it crosses none
            thin = {"arrowstyle": "-", "color": LIGHT["muted"], "linewidth": 0.8}
            axes.annotate("", (x, y), (dx, dy + 9), textcoords="offset points", arrowprops=thin, zorder=1.5)
        label = axes.annotate(name, (x, y), (dx, dy), textcoords="offset points", ha="right" if left else "left")
        label.set_path_effects([withStroke(linewidth=3, foreground=LIGHT["paper"])])
        taken.append(boxes[clear])


def _label_box(name, x, y, dx, dy, left):
    width = 6.2 * len(name)
    return x + dx - left * width, y + dy - 2, x + dx + (1 - left) * width, y + dy + 10


def _overlap(a, b):
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
