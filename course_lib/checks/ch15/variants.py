"""Answers to ch15.who_made that do one step another way: what its known mistakes are made of."""

import torch


def variant(slack=0.55, ends=True, signed=True, spread=None, top=None, q4=None, narrowed=None, scaled=None,
            loud=None, order=None):  # fmt: skip
    """who_made with a step done another way: a function in place of the right one, or a number.

    spread(s, g) lays out scales, top(w, g) is a group's largest weight, loud(x) a column's loudness; q4(share, q, s),
    narrowed(share, off) and scaled(slope, loud, share) say yes or no; order(moved, loud, w, share) is "gptq" or
    "act-order". share is 1 where s = max|w|/7.5.
    """

    def wrong(w, q, s, x):
        g = w.shape[1] // s.shape[1]
        share, per_weight = 7.5 * s.abs() / (top or _largest)(w, g), (spread or _spread)(s, g)
        off = (q - w / (per_weight if signed else per_weight.abs())).abs()
        moved = (off > slack) & ((q > -8) & (q < 7) if ends else torch.ones_like(q, dtype=torch.bool))
        if not moved.any():
            if (q4 or _is_q4)(share, q, s):
                return "q4_0"
            return "mse" if (narrowed or _is_narrowed)(share, off) else "rtn"
        loudness = (loud or _loudness)(x)
        slope = (per_weight * q * w).sum(0) / (w * w).sum(0)
        if (scaled or _is_scaled)(slope, loudness, share):
            return "awq"
        return (order or in_order)(moved, loudness, w, share)

    return wrong


def _spread(s, g):
    return s.repeat_interleave(g, 1)


def _largest(w, g):
    return w.abs().reshape(len(w), -1, g).amax(2)


def _loudness(x):
    return x.abs().mean(0)


def _is_q4(share, q, s):
    return bool(((share - 0.9375).abs() < 0.01).all())


def _is_narrowed(share, off):
    return bool((share < 0.98).any())


def _is_scaled(slope, loud, share):
    return bool(torch.corrcoef(torch.stack([slope, loud]))[0, 1] > 0.7)


def in_order(moved, loud, w, share):
    """The right way: are more moved codes late by place, or late by loudness?"""
    return later(moved, loud.argsort(descending=True))


def later(moved, order):
    """ "gptq" where more moved codes stand late than come late in this order of columns."""
    late = moved.shape[1] // 2
    return "gptq" if moved[:, late:].sum() > moved[:, order[late:]].sum() else "act-order"


def by_weight_error(w, q, s, x):
    """From the mean squared error of the weights, in steps."""
    g = w.shape[1] // s.shape[1]
    s = s.repeat_interleave(g, 1)
    error = ((s * q - w) / s.abs()).square().mean()  # 1/12 for rounding to nearest
    return "rtn" if error < 0.09 else "mse" if error < 0.1 else "gptq" if error < 0.3 else "awq"


def by_output_error(w, q, s, x):
    """From the error of the outputs, against that of the nearest codes."""
    g = w.shape[1] // s.shape[1]
    s = s.repeat_interleave(g, 1)
    nearest = s * torch.round(w / s).clamp(-8, 7)
    ours, plain = ((x @ (v - w).T).square().mean() for v in (s * q, nearest))
    return "rtn" if torch.isclose(ours, plain, rtol=1e-3) else "gptq" if ours < plain else "awq"
