"""Plots of chapter 01: the error of one weight on a grid, and what a smaller step buys and costs."""

import numpy as np

from course_lib.viz.look import new_figure, styled
from course_lib.viz.palette import light


def errors(w, s, bits):
    """ŵ − w for weights w (n,) on the symmetric grid of step s: ŵ = s·clip(round(w/s), ±qmax), qmax = 2^(bits−1) − 1.

    >>> errors(np.array([0.73, 0.97]), 0.1, 4).round(2).tolist()
    [-0.03, -0.27]
    """
    qmax = 2 ** (bits - 1) - 1
    w = np.asarray(w, dtype=float)
    return s * np.clip(np.round(w / s), -qmax, qmax) - w


@styled
def error_by_weight(s, bits):
    """The error of every weight that a grid may meet: a saw-tooth within ±s/2, then a ramp without an end."""
    qmax = 2 ** (bits - 1) - 1
    reach = s * (qmax + 0.5)
    w = np.linspace(-1.6 * reach, 1.6 * reach, 4001)
    error = errors(w, s, bits)
    inside = np.abs(w) <= reach
    figure, axes = new_figure(3.2)
    axes.axhspan(-s / 2, s / 2, color=light("sky"), alpha=0.6, linewidth=0)
    jumps = np.where(inside & (np.abs(np.diff(error, prepend=error[0])) < s / 2), error, np.nan)
    axes.plot(w, jumps, color=light("blue"))
    for side in (w <= -reach, w >= reach):
        axes.plot(w[side], error[side], color=light("red"), linestyle="--")
    axes.axhline(0, color=light("ink"), linewidth=0.8)
    axes.annotate(f"rounding: never outside ±s/2 = ±{s / 2:.3g}", (0, s / 2), (0, 8), textcoords="offset points",
                  ha="center", color=light("blue"), weight="bold")  # fmt: skip
    ramp = (-1.45 * reach, 0.45 * reach + s / 2)
    axes.annotate("clipping: grows with the weight", ramp, (12, 0), textcoords="offset points", color=light("red"),
                  weight="bold")  # fmt: skip
    axes.set(title=f"The error of one weight, s = {s:g}, {bits} bits", xlabel="weight w", ylabel="error ŵ − w")
    return figure


def error_parts(w, s, bits):
    """(rounding, clipping) parts of the mean squared error of w (n,): clipped weights lie beyond s·(qmax + ½)."""
    w = np.asarray(w, dtype=float).ravel()
    squared = errors(w, s, bits) ** 2
    clipped = np.abs(w) > s * (2 ** (bits - 1) - 0.5)
    return squared[~clipped].sum() / w.size, squared[clipped].sum() / w.size


@styled
def error_by_step(w, bits, label="max|w| on the last mark"):
    """Mean squared error of w (n,) against the step, split into its two parts; the step from max|w| is marked."""
    w = np.asarray(w, dtype=float).ravel()
    top = np.abs(w).max() / (2 ** (bits - 1) - 1)
    steps = np.linspace(0.15, 1.15, 81) * top
    rounding, clipping = np.array([error_parts(w, s, bits) for s in steps]).T
    total = rounding + clipping
    figure, axes = new_figure(3.4)
    axes.plot(steps, total, color=light("ink"), label="both together")
    axes.plot(steps, rounding, "--", color=light("blue"), label="from rounding")
    axes.plot(steps, clipping, ":", color=light("red"), label="from clipping")
    best = int(total.argmin())
    axes.plot(steps[best], total[best], "o", color=light("ink"))
    axes.annotate("smallest error", (steps[best], total[best]), (0, 10), textcoords="offset points", ha="center")
    at = sum(error_parts(w, top, bits))
    axes.plot(top, at, "D", color=light("blue"))
    axes.annotate(label, (top, at), (0, 9), textcoords="offset points", ha="right", color=light("blue"), weight="bold")
    axes.set(title=f"A smaller step rounds finer and clips more, {bits} bits", xlabel="step s")
    axes.set(ylabel="mean squared error", ylim=(0, 2.2 * at))
    axes.legend(loc="upper left", bbox_to_anchor=(0.3, 1))
    return figure
