"""Chapter 07: columns scaled up by loudness^α before rounding: each channel's part of the error, and its sum."""

import functools
import math
from dataclasses import dataclass

import numpy as np

from course_lib.viz.axis import Axis, number
from course_lib.viz.controls import Slider, Steps
from course_lib.viz.explorer import Explorer
from course_lib.viz.scene import Scene

ALPHAS = tuple(k / 20 for k in range(20))
BITS = (("2 bits", 2), ("3 bits", 3), ("4 bits", 4))
GROUPS = (("a row", None), ("16 weights", 16))
SHOWN = 32
WIDTH, HEIGHT = 760, 430
LEFT, RIGHT = 64, 480


@dataclass(frozen=True)
class Errors:
    """One setting; the channels that are shown run from the loudest to the quietest."""

    alpha: float
    bits: int
    loud: np.ndarray  # mean |x| of each channel
    plain: np.ndarray  # its part of the squared error of the outputs at α = 0, in % of the whole at α = 0
    now: np.ndarray  # the same at α
    curve: tuple  # ‖x Δwᵀ‖ / ‖x wᵀ‖ at each of ALPHAS
    channels: int  # of the layer
    quarter: float  # what the loudest quarter of all channels adds to the error at α = 0, in %


@functools.cache
def example():
    """x (256, 32) and w (64, 32), made up: the loudness of channels falls off from 12 to about one half."""
    import torch

    rng = np.random.default_rng(7)
    loud = 0.5 + 11.5 * np.exp(-np.arange(32) / 4.5)
    x = rng.standard_normal((256, 32)) * rng.permutation(loud)
    return torch.from_numpy(x).float(), torch.from_numpy(rng.standard_normal((64, 32))).float()


class Protect(Explorer):
    """α from 0 to 0.95: bars of error by channel, and the error of the whole layer."""

    name = "protect"

    def __init__(self, x=None, w=None, **start):
        """x (tokens, in) and w (out, in) of a layer; by default a made-up one of 32 channels."""
        if (x is None) != (w is None):
            raise ValueError("protect(x, w): give both, the inputs (tokens, in) and the weights (out, in), or neither")
        self.x, self.w = example() if x is None else _checked(x, w)
        self.controls = (
            Slider("alpha", "alpha", 0, 0.95, 0.05, 0.5),
            Steps("bits", "weights", BITS, 3),
            Steps("group", "one scale for", GROUPS, None),
        )
        self.tried = functools.cache(self._tried)
        super().__init__(**start)

    def _tried(self, bits, group):
        """(squared error by channel and the relative error of the outputs) at each of ALPHAS."""
        from course_lib.calibrate import rtn
        from course_lib.calibrate.awq import scales
        from course_lib.evaluate import one_thread
        from course_lib.scheme import Scheme

        scheme = Scheme.int(bits, group=group if self.w.shape[1] % (group or 1) == 0 else None)
        loud, power, whole = self.x.abs().mean(0), self.x.square().sum(0), (self.x @ self.w.T).norm()
        found = []
        with one_thread():
            for alpha in ALPHAS:
                s = scales(loud, alpha)
                delta = rtn(self.w * s, scheme).dequantize() / s - self.w
                parts = power * delta.square().sum(0)  # the sum of these is the error, but for what cancels
                found.append((parts.numpy(), float((self.x @ delta.T).norm() / whole)))
        return tuple(found)

    def numbers(self, alpha, bits, group):
        alpha = ALPHAS[round(20 * float(alpha))]
        tried, loud = self.tried(bits, group), self.x.abs().mean(0).numpy()
        order = np.argsort(-loud)
        before, after = (tried[k][0][order] for k in (0, ALPHAS.index(alpha)))
        part = 100 / (before.sum() or 1)
        curve, quarter = tuple(e for _, e in tried), part * float(before[: math.ceil(len(loud) / 4)].sum())
        now = slice(SHOWN)
        return Errors(alpha, bits, loud[order][now], part * before[now], part * after[now], curve, len(loud), quarter)

    def sentence(self, e):
        now, plain, best = e.curve[ALPHAS.index(e.alpha)], e.curve[0], min(e.curve)
        if e.alpha == 0:
            told = f"that is plain rounding. The loudest quarter of the channels makes {number(e.quarter, 2)} % of it"
        elif abs(now - plain) < 0.0005 * plain or now == plain:
            told = "as much as with plain rounding"
        elif plain == 0:
            told = "and plain rounding is exact here"
        else:
            word = "less" if now < plain else "more"
            told = f"{number(100 * abs(1 - now / plain), 2)} % {word} than plain rounding's {number(100 * plain, 3)} %"
        where = number(ALPHAS[e.curve.index(best)])
        return (
            f"α = {number(e.alpha)}: at {e.bits} bits the outputs are off by {number(100 * now, 3)} %, {told}."
            f" The least error, {number(100 * best, 3)} %, is at α = {where}."
        )

    def draw(self, e):
        scene = Scene(WIDTH, HEIGHT)
        _loudness(scene, e)
        _bars(scene, e)
        _curve(scene, e)
        return scene


def _checked(x, w):
    """x (≤ 256 tokens, in) and w (out, in) as float32, or one clear sentence."""
    x, w = (t.detach().float().cpu() for t in (x, w))
    if x.dim() != 2 or w.dim() != 2 or x.shape[1] != w.shape[1]:
        raise ValueError(f"protect(x, w): x (tokens, in) and w (out, in), got {tuple(x.shape)} and {tuple(w.shape)}")
    if not (x.isfinite().all() and w.isfinite().all()):
        raise ValueError("protect(x, w): both must hold finite numbers")
    if not (x @ w.T).any():
        raise ValueError("protect(x, w): the outputs x @ w.T must not all be 0, for errors are measured against them")
    import torch

    return x[torch.linspace(0, len(x) - 1, min(256, len(x))).round().long()], w


def _loudness(scene, e):
    """Mean |x| of each channel as a step of bars."""
    top, high = 40, 96
    y, x = Axis(0, float(e.loud.max()) * 1.05, top + high, top), Axis(0, len(e.loud), LEFT, RIGHT)
    scene.text(LEFT - 52, top - 16, "how loud a channel is: mean |x|", size=14, bold=True, anchor="start")
    for tick in y.ticks(3):
        scene.line(LEFT, y(tick), RIGHT, y(tick), "faint", 1)
        scene.text(LEFT - 8, y(tick) + 4, number(tick), size=11, color="muted", anchor="end")
    for k, v in enumerate(e.loud):
        scene.rect(x(k) + 1.5, y(v), x(1) - x(0) - 3, y(0) - y(v), fill="blue")


def _bars(scene, e):
    """Each channel's part of the error: a hollow bar at α = 0, a filled one at α."""
    top, high = 196, 176
    both = max(float(e.plain.max()), float(e.now.max())) or 1.0
    y, x = Axis(0, 1.08 * both, top + high, top), Axis(0, len(e.loud), LEFT, RIGHT)
    scene.text(LEFT - 52, top - 18, "its part of the squared error, %", size=14, bold=True, anchor="start")
    for tick in y.ticks(4):
        scene.line(LEFT, y(tick), RIGHT, y(tick), "faint", 1)
        scene.text(LEFT - 8, y(tick) + 4, number(tick), size=11, color="muted", anchor="end")
    for k, (old, new) in enumerate(zip(e.plain, e.now, strict=True)):
        wide = x(1) - x(0)
        scene.rect(x(k) + 3, y(new), wide - 6, y(0) - y(new), fill="orange")
        scene.rect(x(k) + 1.5, y(old), wide - 3, y(0) - y(old), color="muted", line=1.2)
    scene.rect(RIGHT - 170, top - 28, 12, 12, color="muted", line=1.2)
    scene.text(RIGHT - 153, top - 18, "plain (α = 0)", size=12, anchor="start")
    scene.rect(RIGHT - 62, top - 28, 12, 12, fill="orange").text(RIGHT - 45, top - 18, "at α", size=12, anchor="start")
    who = "channels" if e.channels == len(e.loud) else f"{len(e.loud)} of {e.channels} channels"
    scene.text((LEFT + RIGHT) / 2, HEIGHT - 32, f"{who}, the loudest first", size=12, color="muted")


def _curve(scene, e):
    """The error of the whole layer at every α."""
    percent = [100 * v for v in e.curve]
    x, spread = Axis(0, 1, 556, 740), (max(percent) - min(percent)) or 1.0
    y = Axis(min(percent) - 0.2 * spread, max(percent) + 0.15 * spread, 300, 44)
    scene.text(520, 24, "error of the outputs, %", size=14, bold=True, anchor="start")
    for tick in y.ticks(5):
        scene.line(x.start, y(tick), x.end, y(tick), "faint", 1)
        scene.text(x.start - 8, y(tick) + 4, number(tick), size=11, color="muted", anchor="end")
    for tick in (0, 0.5, 1):
        scene.text(x(tick), y.start + 18, number(tick), size=12, color="muted")
    scene.text((x.start + x.end) / 2, y.start + 38, "α", size=13, color="muted")
    scene.line(x.start, y(percent[0]), x.end, y(percent[0]), "red", 1.6, dash=(6, 4))
    scene.path([(x(a), y(v)) for a, v in zip(ALPHAS, percent, strict=True)], "ink", 2)
    best = min(range(len(percent)), key=percent.__getitem__)
    scene.circle(x(ALPHAS[best]), y(percent[best]), 5, "green", "paper")
    scene.diamond(x(e.alpha), y(percent[ALPHAS.index(e.alpha)]), 8, "ink", "paper")
    scene.diamond(534, 362, 6, "ink", "paper").text(548, 366, "the α chosen", size=12, color="muted", anchor="start")
    scene.circle(534, 384, 5, "green", "paper").text(548, 388, "the best one", size=12, color="muted", anchor="start")
    scene.line(524, 406, 543, 406, "red", 1.6, dash=(6, 4))
    scene.text(548, 410, "plain rounding", size=12, color="red", anchor="start")


def protect(x=None, w=None, **start):
    """The explorer of chapter 07: `protect()`, or `protect(x=inputs, w=weights, alpha=0.5, bits=3)`."""
    return Protect(x, w, **start)
