"""Pictures of chapter 02: the same few values on several rulers, one above the other (Scenes)."""

from course_lib.viz.axis import Axis, number
from course_lib.viz.scene import Scene

WIDTH, ROW = 760, 132


def land(values, s, z, codes):
    """For each value its code q = clip(round(v/s) + z) and the mark s·(q − z) that it comes back as.

    >>> land([0.6, 3.0], 0.5, 0, range(5))
    [(1, 0.5), (4, 2.0)]
    """
    found = [min(max(round(v / s) + z, codes[0]), codes[-1]) for v in values]
    return [(q, s * (q - z)) for q in found]


def rulers(values, grids):
    """`values` dropped on each ruler of `grids`, {title: (s, z, codes)} with codes a range; all on one axis.

    A filled mark holds a value, a hollow one none; a value that lies more than half a step outside is drawn in red,
    with a diamond.
    """
    values = [float(v) for v in values]
    marks = [s * (q - z) for s, z, codes in grids.values() for q in (codes[0], codes[-1])]
    lo, hi = min(*values, *marks), max(*values, *marks)
    x = Axis(lo - 0.04 * (hi - lo), hi + 0.04 * (hi - lo), 16, 744)
    scene = Scene(WIDTH, ROW * len(grids) + 6)
    for k, (title, (s, z, codes)) in enumerate(grids.items()):
        _ruler(scene, values, title, float(s), int(z), codes, x, 14 + k * ROW)
    return scene


def _ruler(scene, values, title, s, z, codes, x, top):
    landed = land(values, s, z, codes)
    used = {q for q, _ in landed}
    base, dots = top + 84, top + 46
    words = f"{title}: step {number(s)}, {len(used)} of {len(codes)} marks in use"
    scene.text(x.start, top + 4, words, size=14, bold=True, anchor="start")
    scene.line(x.start, base, x.end, base, "muted", 1)
    gap = x(s) - x(0)
    for q in codes:
        at = x(s * (q - z))
        scene.line(at, base - 6, at, base + 6, "blue", 2)
        scene.circle(at, base, 4.5, "blue" if q in used else "paper", "blue", 1.6)
        if gap > 20 or q in (codes[0], codes[-1], z):
            scene.text(at, base + 24, number(q), size=12, color="blue", bold=q == z)
    for value, (_, back) in zip(values, landed, strict=True):
        off = abs(back - value) > 0.5001 * s
        color = "red" if off else "ink"
        scene.line(x(value), dots + 5, x(back), base - 7, color, 1.8 if off else 1.2, (5, 3) if off else None)
        if off:
            scene.diamond(x(value), dots, 6, "red")
        else:
            scene.circle(x(value), dots, 4.5, "ink")
        scene.text(x(value), dots - 11, number(value), size=12, color=color)
