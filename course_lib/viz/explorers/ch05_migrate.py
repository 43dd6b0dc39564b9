"""Chapter 05: every channel's range in inputs and weights, before and after SmoothQuant, and the outputs' error."""

import functools
from dataclasses import dataclass

import numpy as np

from course_lib.viz.axis import Axis, number
from course_lib.viz.controls import Choice, Slider, Steps
from course_lib.viz.explorer import Explorer
from course_lib.viz.scene import Scene

CONTRACTS = (("W8A8", (8, 8)), ("W4A8", (4, 8)), ("W4A4", (4, 4)))  # (bits of weights, bits of inputs)
SHARES = (("all tokens share one", "tensor"), ("each token has its own", None))
ALPHAS = tuple(k / 20 for k in range(21))
TOKENS, SHOWN = 32, 64
WIDTH, HEIGHT = 760, 452
LEFT, RIGHT = 64, 500


@dataclass(frozen=True)
class Ranges:
    """One setting: largest |x| and |w| of each channel, loudest input first, before and after; relative errors."""

    alpha: float
    bits: tuple
    x_before: np.ndarray
    w_before: np.ndarray
    x_after: np.ndarray
    w_after: np.ndarray
    plain: float  # ‖y_hat − y‖ / ‖y‖ without smoothing
    curve: tuple  # the same for each of ALPHAS


@functools.cache
def example():
    """x (32, 64) and w (64, 64), made up: three channels of x are loud, and their columns of w rather small."""
    import torch

    rng = np.random.default_rng(5)
    x, w = rng.standard_normal((TOKENS, 64)), rng.standard_normal((64, 64))
    x, w = x * np.exp(0.4 * rng.standard_normal(64)), w * np.exp(0.3 * rng.standard_normal(64))
    for channel, factor in ((9, 60.0), (30, 35.0), (51, 22.0)):
        x[:, channel] *= factor
        w[:, channel] /= factor**0.7
    return torch.from_numpy(x).float(), torch.from_numpy(w).float()


def error(x, w, y, bits, share):
    """‖y_hat − y‖ / ‖y‖ where y_hat multiplies x and w (one scale a row) after rounding both."""
    from course_lib.calibrate import quantize_activations
    from course_lib.scheme import Scheme

    rounded = quantize_activations(x, Scheme.int(bits[1], group=share))
    return float((rounded @ quantize_activations(w, Scheme.int(bits[0])).T - y).norm() / y.norm())


class Migrate(Explorer):
    """Ranges of 64 channels on a log axis, and the error of the layer's outputs at every α."""

    name = "migrate"

    def __init__(self, x=None, w=None, **start):
        """x (tokens, in) and w (out, in) of a layer; by default a made-up one with three loud channels."""
        if (x is None) != (w is None):
            raise ValueError("migrate(x, w): give both, the inputs (tokens, in) and the weights (out, in), or neither")
        self.x, self.w = example() if x is None else _checked(x, w)
        self.controls = (
            Slider("alpha", "alpha", 0, 1, 0.05, 0.5),
            Steps("bits", "contract", CONTRACTS, (8, 8)),
            Choice("share", "scales of inputs", SHARES, "tensor"),
        )
        self.errors = functools.cache(self._errors)
        super().__init__(**start)

    def _errors(self, bits, share):
        """(error without smoothing, errors at ALPHAS)."""
        from course_lib.calibrate.smoothquant import migration_scales
        from course_lib.evaluate import one_thread

        with one_thread():
            y, x_max, w_max = self.x @ self.w.T, self.x.abs().amax(0), self.w.abs().amax(0)
            scales = [migration_scales(x_max, w_max, alpha) for alpha in ALPHAS]
            found = [error(self.x / s, self.w * s, y, bits, share) for s in scales]
            return error(self.x, self.w, y, bits, share), tuple(found)

    def numbers(self, alpha, bits, share):
        from course_lib.calibrate.smoothquant import migration_scales

        alpha = ALPHAS[round(20 * float(alpha))]
        x_max, w_max = self.x.abs().amax(0), self.w.abs().amax(0)
        s = migration_scales(x_max, w_max, alpha)
        order = x_max.argsort(descending=True)
        few = order[np.unique(np.linspace(0, len(order) - 1, min(SHOWN, len(order))).round().astype(int))]
        few[: min(8, len(few))] = order[: min(8, len(few))]  # the loud ones are what it is about: show them all
        parts = [t[few].numpy() for t in (x_max, w_max, x_max / s, w_max * s)]
        return Ranges(alpha, bits, *parts, *self.errors(bits, share))

    def sentence(self, r):
        name = next(label for label, bits in CONTRACTS if bits == r.bits)
        now = r.curve[ALPHAS.index(r.alpha)]
        inputs, weights = (f"{reach(new)} (before: {reach(old)})" for old, new in
                           ((r.x_before, r.x_after), (r.w_before, r.w_after)))  # fmt: skip
        verdict = f"{number(r.plain / now, 2)} times less than" if now < 0.95 * r.plain else "no better than"
        if now > 1.05 * r.plain:
            verdict = f"{number(now / r.plain, 2)} times more than"
        return (
            f"α = {number(r.alpha)}: the loudest input channel reaches {inputs} times as far as the middle one, the"
            f" largest weights {weights}. Under {name} the outputs are off by {number(100 * now, 2)} %, {verdict}"
            f" without smoothing ({number(100 * r.plain, 2)} %)."
        )

    def draw(self, r):
        scene = Scene(WIDTH, HEIGHT)
        _ranges(scene, r.x_before, r.x_after, 42, "inputs: largest |x| of a channel", "blue")
        _ranges(scene, r.w_before, r.w_after, 258, "weights: largest |w| of the same channel", "green")
        scene.text((LEFT + RIGHT) / 2, HEIGHT - 6, "channels, the loudest input first", size=12, color="muted")
        _curve(scene, r)
        return scene


def reach(ranges):
    """How many times as far as the middle range the largest one reaches, in words."""
    return number(float(ranges.max() / max(np.median(ranges), 1e-12)), 2)


def _checked(x, w):
    """x (≤ 32 tokens, in) and w (out, in) as float32, or one clear sentence."""
    x, w = (t.detach().float().cpu() for t in (x, w))
    if x.dim() != 2 or w.dim() != 2 or x.shape[1] != w.shape[1]:
        raise ValueError(f"migrate(x, w): x (tokens, in) and w (out, in), got {tuple(x.shape)} and {tuple(w.shape)}")
    if not (x.isfinite().all() and w.isfinite().all()):
        raise ValueError("migrate(x, w): both must hold finite numbers")
    import torch

    rows = torch.linspace(0, len(x) - 1, min(TOKENS, len(x))).round().long()
    return x[rows], w


def _ranges(scene, before, after, top, title, color):
    """One panel: a hollow diamond where a channel's range was, a filled mark where it is, a line between."""
    both = np.concatenate([before, after]).clip(1e-6)
    y = Axis(both.min() / 1.3, both.max() * 1.3, top + 150, top, log=True)
    x = Axis(0, len(before) - 1, LEFT + 8, RIGHT - 8)
    scene.text(LEFT - 52, top - 20, title, size=14, bold=True, anchor="start")
    for tick in (m * 10.0**k for k in range(-7, 7) for m in (1, 3)):
        if y.lo <= tick <= y.hi:
            scene.line(LEFT, y(tick), RIGHT, y(tick), "faint", 1)
            scene.text(LEFT - 8, y(tick) + 4, number(tick), size=11, color="muted", anchor="end")
    for k, (old, new) in enumerate(zip(before.clip(1e-6), after.clip(1e-6), strict=True)):
        scene.line(x(k), y(old), x(k), y(new), color, 1.2)
        scene.diamond(x(k), y(old), 4, "paper", "muted", 1.1)
        scene.circle(x(k), y(new), 2.8, color, None)
    scene.diamond(RIGHT - 150, top - 24, 4, "paper", "muted", 1.1).text(RIGHT - 140, top - 20, "before", size=12,
                                                                       anchor="start")  # fmt: skip
    scene.circle(RIGHT - 72, top - 24, 3.4, color, None).text(RIGHT - 62, top - 20, "after", size=12, anchor="start")


def _curve(scene, r):
    """Error of the outputs at every α (log axis), the chosen one marked, and the level without smoothing."""
    x, errors = Axis(0, 1, 566, 740), (r.plain, *r.curve)
    y = Axis(100 * min(errors) / 1.5, 100 * max(errors) * 1.5, 300, 42, log=True)
    scene.text(536, 22, "error of the outputs, %", size=14, bold=True, anchor="start")
    for tick in (m * 10.0**k for k in range(-4, 4) for m in (1, 2, 5)):
        if y.lo <= tick <= y.hi:
            scene.line(x.start, y(tick), x.end, y(tick), "faint", 1)
            scene.text(x.start - 8, y(tick) + 4, number(tick), size=11, color="muted", anchor="end")
    for tick in (0, 0.5, 1):
        scene.text(x(tick), y.start + 18, number(tick), size=12, color="muted")
    scene.text((x.start + x.end) / 2, y.start + 38, "α", size=13, color="muted")
    plain = y(100 * r.plain)
    scene.line(x.start, plain, x.end, plain, "red", 1.8, dash=(6, 4))
    below = r.plain > min(r.curve)  # the curve lies there, mostly: write on the other side
    scene.text(x.end, plain + (-7 if below else 16), "not smoothed", size=12, color="red", anchor="end", halo=True)
    scene.path([(x(a), y(100 * e)) for a, e in zip(ALPHAS, r.curve, strict=True)], "ink", 2)
    scene.diamond(x(r.alpha), y(100 * r.curve[ALPHAS.index(r.alpha)]), 8, "ink", "paper")
    scene.text(556, 368, "α = 0: the weights made even", size=12, color="muted", anchor="start")
    scene.text(556, 388, "α = 1: the inputs made even", size=12, color="muted", anchor="start")


def migrate(x=None, w=None, **start):
    """The explorer of chapter 05: `migrate()`, or `migrate(x=inputs, w=weights, alpha=0.5, bits=(4, 8))`."""
    return Migrate(x, w, **start)
