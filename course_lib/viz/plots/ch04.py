"""Pictures of chapter 04: who shares a scale, which bit belongs to which code, and what stored bits buy (Scenes)."""

import torch

from course_lib.viz.axis import Axis, number
from course_lib.viz.scene import Scene

WIDTH = 760
HUES = ("blue", "orange", "purple", "green")
SHAPES = ("disc", "diamond", "ring", "square")


def fences(rows=6, cols=12, g=4):
    """The same matrix three times, fenced in by what shares a scale: the tensor, a row, a group of g columns."""
    scene, cell, top = Scene(WIDTH, 190), 15, 48
    kinds = (("per tensor", rows, cols), ("per channel", 1, cols), ("per group", 1, g))
    for k, (title, high, wide) in enumerate(kinds):
        x0 = 16 + k * 252
        scene.text(x0, 24, title, size=15, bold=True, anchor="start")
        for r in range(0, rows, high):
            for c in range(0, cols, wide):
                shade = HUES[(r // high + c // wide) % 2]
                _block(scene, x0 + c * cell, top + r * cell, wide * cell, high * cell, shade)
        scales = (rows // high) * (cols // wide)
        words = f"{scales} scale{'s' * (scales > 1)} for {rows * cols} weights"
        scene.text(x0, top + rows * cell + 24, words, size=14, anchor="start")
        share = {0: "everything shares it", 1: "a row shares it", 2: f"{g} neighbours in a row share it"}[k]
        scene.text(x0, top + rows * cell + 43, share, size=13, color="muted", anchor="start")
    return scene


def _block(scene, x, y, wide, high, color):
    """A fenced block with its cells drawn in."""
    scene.rect(x, y, wide, high, fill=color, opacity=0.22)
    for k in range(1, round(wide / 15)):
        scene.line(x + 15 * k, y, x + 15 * k, y + high, "faint", 0.6)
    for k in range(1, round(high / 15)):
        scene.line(x, y + 15 * k, x + wide, y + 15 * k, "faint", 0.6)
    scene.rect(x + 1, y + 1, wide - 2, high - 2, color=color, line=2)


def bit_stream(widths=(4, 2, 3), n_bytes=3):
    """Which bit of which byte holds which code, lowest bit first; a code across two bytes is hatched."""
    scene, box, left = Scene(WIDTH, 34 + 74 * len(widths)), 26, 108
    for j in range(n_bytes):
        x = left + j * 8 * box
        scene.bracket(x + 3, x + 8 * box - 3, 24, "muted", 1.5, 5)
        scene.text(x + 4 * box, 16, f"byte {j}, bits 0 … 7", size=13, color="muted")
    for k, b in enumerate(widths):
        y = 40 + 74 * k
        scene.text(left - 12, y + 22, f"{b}-bit codes", size=14, bold=True, anchor="end")
        for i in range(n_bytes * 8 // b):
            _code(scene, left + i * b * box, y, b * box, i, i * b // 8 != (i * b + b - 1) // 8)
        for at in range(n_bytes * 8 + 1):
            x, border = left + at * box, at % 8 == 0
            scene.line(x, y + (0 if border else 27), x, y + (44 if border else 33), "ink", 2.4 if border else 0.8)
        scene.text(left, y + 58, _told(b, n_bytes), size=13, color="muted", anchor="start")
    return scene


def _code(scene, x, y, wide, i, straddles):
    color = ("blue", "purple")[i % 2]
    scene.rect(x, y, wide, 34, fill=color, opacity=0.25)
    if straddles:
        scene.hatch(x, y, wide, 34, "red", gap=8)
    scene.rect(x + 1, y + 1, wide - 2, 32, color="red" if straddles else color, line=1.8)
    scene.text(x + wide / 2, y + 22, f"q{i}", size=14, bold=True, halo=straddles)


def _told(b, n_bytes):
    n = n_bytes * 8 // b
    if 8 % b == 0:
        return f"{8 // b} codes a byte, {32 // b} in a 32-bit word"
    return f"{n} codes in {n_bytes} bytes (hatched: across a border), 32 codes in three 32-bit words"


def trade(series, ylabel="KL to the 16-bit model, nats a token"):
    """KL against stored bits a weight, one line a way of spending them: {way: [(name, bits, kl), …]} (log axis)."""
    points = [p for line in series.values() for p in line]
    bits, kls = [p[1] for p in points], [p[2] for p in points]
    scene = Scene(WIDTH, 400)
    x = Axis(min(bits) - 0.35, max(bits) + 0.6, 74, 744)
    y = Axis(min(kls) / 1.8, max(kls) * 1.8, 340, 56, log=True)
    scene.text(12, 18, ylabel, size=14, bold=True, anchor="start")
    scene.text(x.end, 386, "stored bits a weight, scales included", size=13, color="muted", anchor="end")
    for tick in [m * 10.0**k for k in range(-6, 3) for m in (1, 3)]:
        if y.lo <= tick <= y.hi:
            scene.line(x.start, y(tick), x.end, y(tick), "faint", 1)
            scene.text(x.start - 8, y(tick) + 4, number(tick), size=12, color="muted", anchor="end")
    for tick in range(2, 17):
        if x.lo <= tick <= x.hi:
            scene.line(x(tick), y.start, x(tick), y.start + 5, "muted", 1)
            scene.text(x(tick), y.start + 20, tick, size=12, color="muted")
    left = 74
    for k, (way, line) in enumerate(series.items()):
        _line(scene, line, x, y, k)
        _dot(scene, left + 6, 38, k)
        scene.text(left + 18, 42, way, size=13, anchor="start")
        left += 40 + 7.4 * len(way)
    return scene


def _line(scene, line, x, y, k):
    spots = [(x(bits), y(kl)) for _, bits, kl in line]
    scene.path(spots, HUES[k % 4], 2.2)
    below = k % 3 == 2  # the third line writes below and to the left of its marks, the others above and to the right
    before = 0.0
    for (name, _, _), (px, py) in zip(line, spots, strict=True):
        _dot(scene, px, py, k)
        at = (px - 8, py + 18, "end") if below else (px + 7, py - 8, "start")
        if 0 < px - before < 26 and not below:  # no room beside the label before
            at = (px, py + 20, "middle")
        before = px
        scene.text(at[0], at[1], name, size=12, anchor=at[2], halo=True)


def _dot(scene, px, py, k):
    """A mark whose shape, not only its colour, tells the line."""
    shape, color = SHAPES[k % 4], HUES[k % 4]
    if shape == "diamond":
        scene.diamond(px, py, 7, color, "paper")
    elif shape == "square":
        scene.rect(px - 5, py - 5, 10, 10, fill=color, color="paper", line=1.2)
    else:
        scene.circle(px, py, 5.5, "paper" if shape == "ring" else color, color, 2.2)


def tails(errors, title="A small p: most weights come closer, a few end far away", marks=(0.5, 0.1, 0.01, 0.001)):
    """Share of weights that are off by more than x, one line a search: {name: |errors| in steps, any shape} (log axis).

    The marks on a line are the errors that these shares of the weights exceed.
    """
    lines = {name: e.flatten().sort(descending=True).values for name, e in errors.items()}
    shares = 10 ** torch.linspace(0, -4, 81)
    scene, most = Scene(WIDTH, 380), max(line[int(len(line) * 1e-4)].item() for line in lines.values())
    x, y = Axis(0, 1.1 * most, 86, 744), Axis(1e-4, 1.0, 320, 78, log=True)
    scene.text(12, 20, title, size=16, bold=True, anchor="start")
    scene.text(x.end, 366, "error, in steps of the whole range", size=13, color="muted", anchor="end")
    scene.text(12, 366, "upwards: the share of weights that are off by more", size=13, color="muted", anchor="start")
    for tick, name in ((1.0, "all"), (0.1, "1 in 10"), (0.01, "1 in 100"), (1e-3, "1 in 1,000"), (1e-4, "1 in 10,000")):
        scene.line(x.start, y(tick), x.end, y(tick), "faint", 1)
        scene.text(x.start - 6, y(tick) + 4, name, size=12, color="muted", anchor="end")
    for tick in x.ticks(6):
        scene.text(x(tick), y.start + 20, number(tick), size=12, color="muted")
    left = x.start
    for k, (name, line) in enumerate(lines.items()):
        over = [line[min(len(line) - 1, int(len(line) * share))].item() for share in shares]
        scene.path([(x(v), y(share)) for v, share in zip(over, shares.tolist(), strict=True)], HUES[k % 4], 2.2)
        for share in marks:
            _dot(scene, x(line[int(len(line) * share)].item()), y(share), k)
        _dot(scene, left + 6, 48, k)
        scene.text(left + 18, 52, name, size=13, anchor="start")
        left += 44 + 7.4 * len(name)
    return scene
