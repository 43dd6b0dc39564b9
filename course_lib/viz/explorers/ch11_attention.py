"""Chapter 11: keys in a few bits, by channel or by token, and what becomes of the attention that reads them."""

import functools
from dataclasses import dataclass

import numpy as np

from course_lib.viz.axis import Axis, number
from course_lib.viz.colormap import heat
from course_lib.viz.controls import Steps
from course_lib.viz.explorer import Explorer
from course_lib.viz.scene import Scene

BITS = (("2 bits", "int2"), ("4 bits", "int4"), ("8 bits", "int8"), ("FP8", "fp8"))
AXES = (("a channel", "channel"), ("a token", "token"))
WINDOWS = (("none", 0), ("32 tokens", 32), ("64 tokens", 64))
NAMES = {"channel": "per channel", "token": "per token"}
KEY_TOP, MOVED_TOP = 2.0, 0.05
WIDTH, HEIGHT, SIDE, MAP_Y, GAP = 760, 400, 210, 44, 38


@dataclass(frozen=True)
class Moved:
    """One setting: keys and their error (tokens × channels), |â - a| (queries × tokens), and both axes' shares."""

    bits: str
    axis: str
    window: int
    keys: np.ndarray
    off: np.ndarray
    moved: np.ndarray
    shares: dict  # axis -> % of the attention that goes to other tokens than before
    output: float  # ‖ô - o‖ / ‖o‖, in %


class Attention(Explorer):
    """Bits, axis and window; three heat maps and two bars."""

    name = "attention"
    controls = (
        Steps("bits", "keys and values in", BITS, "int2"),
        Steps("axis", "a range for each", AXES, "token"),
        Steps("window", "left as they are", WINDOWS, 0),
    )

    def __init__(self, sample=None, **start):
        """sample: a course_lib.kvcache.attention.Sample; by default 128 planted tokens with three loud channels."""
        from course_lib.kvcache import attention

        self.sample = attention.planted() if sample is None else _checked(sample)
        self.tried = functools.cache(self._tried)
        super().__init__(**start)

    def _tried(self, bits, axis, window):
        from course_lib.evaluate import one_thread
        from course_lib.kvcache import KVFormat, attention

        with one_thread():
            return attention.outcome(self.sample, KVFormat(bits, key_axis=axis, residual=window, scale=None))

    def numbers(self, bits, axis, window):
        both = {a: self.tried(bits, a, window) for _, a in AXES}
        now, s = both[axis], self.sample
        shares = {a: 100 * found.weight_error for a, found in both.items()}
        off, moved = (now.keys - s.keys).abs(), (now.weights - s.weights).abs()
        return Moved(
            bits, axis, window, s.keys.abs().numpy(), off.numpy(), moved.numpy(), shares, 100 * now.output_error
        )

    def sentence(self, m):
        label = dict((v, k) for k, v in BITS)[m.bits]
        here, other = m.shares[m.axis], m.shares["token" if m.axis == "channel" else "channel"]
        how = "with one scale for all" if m.bits == "fp8" else f"with a range for each {m.axis}"
        text = (
            f"Keys in {label}, {how}: {number(here, 2)} % of the attention goes to other tokens than before, and the "
            f"output is off by {number(m.output, 2)} %."
        )
        if m.bits != "fp8":
            text += (
                f" With a range for each {'token' if m.axis == 'channel' else 'channel'} {number(other, 2)} % of the "
                "attention would go elsewhere."
            )
        if m.window:
            text += f" The last {m.window} tokens are as they were."
        return text

    def draw(self, m):
        scene = Scene(WIDTH, HEIGHT)
        top = float(np.quantile(m.keys, 0.995)) or 1.0
        maps = (
            ("keys: |k|", m.keys, top, "channels"),
            ("error of the keys: |k̂ − k|", m.off, KEY_TOP, "channels"),
            ("attention that moved: |â − a|", m.moved, MOVED_TOP, "tokens"),
        )
        for k, (title, values, top, across) in enumerate(maps):
            _map(scene, 26 + k * (SIDE + GAP), title, values, top, across, "tokens" if k < 2 else "queries")
        _bars(scene, m)
        return scene


def _checked(sample):
    if not hasattr(sample, "queries") or len(sample.keys) % 32:
        raise ValueError("attention(sample): a Sample of queries, keys and values, of a multiple of 32 tokens")
    return sample


def _map(scene, x, title, values, top, across, down):
    """A heat map with its title, its two axes and the end of its colour scale."""
    scene.text(x, MAP_Y - 26, title, size=13, bold=True, anchor="start")
    scene.image(x, MAP_Y, SIDE, SIDE, heat(values, top))
    scene.rect(x, MAP_Y, SIDE, SIDE, color="faint", line=1)
    scene.image(x + SIDE - 92, MAP_Y - 18, 56, 9, heat(np.linspace(0, top, 32)[None, :], top))
    scene.text(x + SIDE - 97, MAP_Y - 10, "0", size=11, color="muted", anchor="end")
    scene.text(x + SIDE - 31, MAP_Y - 10, f"≥ {number(top, 2)}", size=11, color="muted", anchor="start")
    scene.text(x + SIDE / 2, MAP_Y + SIDE + 17, f"{across} →", size=12, color="muted")
    scene.text(x, MAP_Y - 10, f"{down} ↓", size=12, color="muted", anchor="start")


def _bars(scene, m):
    """The share of the attention that moved, for both axes at these bits; the chosen one is filled."""
    y, x = 312, Axis(0, 100, 250, 640)
    scene.text(
        26, y, "share of the attention that goes to other tokens than before", size=14, bold=True, anchor="start"
    )
    for k, axis in enumerate(("channel", "token")):
        top, value, chosen = y + 16 + 32 * k, m.shares[axis], axis == m.axis
        name = "one scale for all" if m.bits == "fp8" else f"a range {NAMES[axis]}"
        scene.text(240, top + 16, name, size=13, anchor="end", bold=chosen)
        scene.rect(
            x.start, top, max(2, x(value) - x.start), 22, fill="orange" if chosen else None, color="orange", line=1.6
        )
        scene.text(x(value) + 8, top + 16, f"{number(value, 2)} %", size=13, anchor="start", bold=chosen)
        if m.bits == "fp8":
            break


def attention(sample=None, **start):
    """The explorer of chapter 11: `attention()`, or `attention(sample, bits="int2", axis="token", window=0)`."""
    return Attention(sample, **start)
