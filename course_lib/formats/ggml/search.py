"""How ggml looks for scales: a few tries around the obvious one, each fitted by least squares, the best kept.

All arrays are (n, blocks) float32, one group a column: sums over axis 0 then add in C's order, and so give C's bits.
"""

from __future__ import annotations

import numpy as np

from course_lib.formats.ggml.block import first_largest, nearest_int

F = np.float32
EPS = F(1e-15)  # a group below this counts as zero
MAGIC = F(12582912.0)  # v + MAGIC - MAGIC rounds to the nearest integer, ties to even, for |v| < 2^22


def codes_of(v: np.ndarray, low: int, high: int, out: np.ndarray | None = None) -> np.ndarray:
    """Nearest integers of v, held in low … high, as float32."""
    out = np.add(v, MAGIC, out=out)
    np.subtract(out, MAGIC, out=out)
    return np.clip(out, F(low), F(high), out=out)


def symmetric(x: np.ndarray, nmax: int, w: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Scale and codes 0 … 2 nmax - 1 with x ≈ scale (code - nmax): least Σ w (x - scale l)², w = x² by default.

    The scale that maps the largest number on -nmax, and 18 neighbours of it; each gives integers l, and these the
    best scale Σwxl / Σwl². (C: make_qx_quants)
    """
    amax, top = first_largest(x)
    w = x * x if w is None else w
    wx, q, t = w * x, np.empty_like(x), np.empty_like(x)

    def fit(iscale):
        codes_of(np.multiply(x, iscale, out=q), -nmax, nmax - 1, out=q)
        sum_lx = np.add.reduce(np.multiply(wx, q, out=t), axis=0)
        np.multiply(w, q, out=t)
        return sum_lx, np.add.reduce(np.multiply(t, q, out=t), axis=0)

    iscale = F(-nmax) / top
    sum_lx, sum_l2 = fit(iscale)
    scale = np.divide(sum_lx, sum_l2, out=np.zeros_like(top), where=sum_l2 != 0)
    best, best_iscale = scale * sum_lx, iscale
    for step in (*range(-9, 0), *range(1, 10)):
        iscale = -(F(nmax) + F(0.1) * F(step)) / top
        sum_lx, sum_l2 = fit(iscale)
        better = (sum_l2 > 0) & (sum_lx * sum_lx > best * sum_l2)
        scale = np.where(better, sum_lx / sum_l2, scale)
        best = np.where(better, scale * sum_lx, best)
        best_iscale = np.where(better, iscale, best_iscale)
    codes = codes_of(x * best_iscale, -nmax, nmax - 1) + F(nmax)
    zero = amax < EPS
    codes[:, zero] = 0
    scale[zero] = 0
    return scale, codes.astype(np.uint8)


def affine(
    x: np.ndarray, w: np.ndarray, nmax: int, first: float, step: float, tries: int, mad=False, clamp=False
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scale, -minimum and codes 0 … nmax with x ≈ scale code + minimum, minimum <= 0: least Σ w error².

    Tries inverse scales (nmax + first + step k) / (max - minimum), k = 0 … tries; each gives codes, and these the
    best scale and minimum by weighted linear regression. A try that is taken moves the minimum from which the later
    ones start. mad: |error| instead of its square. (C: make_qkx2_quants; clamp=True: make_qkx3_quants)
    """
    ends = least, high = x.min(0), x.max(0)
    low = np.minimum(least, F(0))
    flat = high <= low if clamp else high == low
    sums = np.add.reduce(w, axis=0), np.add.reduce(w * x, axis=0)
    codes, t = np.empty_like(x), np.empty_like(x)
    start = minimum = low
    plain = chosen = iscale = F(nmax) / (high - low)
    scale = F(1) / iscale
    _encode(x, ends, iscale, minimum, nmax, False, codes)
    best = _error(x, w, codes, scale, minimum, mad, t)
    for k in range(tries + 1):
        iscale = (F(first) + F(step) * F(k) + F(nmax)) / (high - minimum)
        _encode(x, ends, iscale, minimum, nmax, clamp, codes)
        fits, this_scale, this_min = _regression(x, w, codes, sums, t)
        found = _error(x, w, codes, this_scale, this_min, mad, t)
        better = fits & (found < best)
        if better.any():
            best = np.where(better, found, best)
            start, chosen = np.where(better, minimum, start), np.where(better, iscale, chosen)
            scale, minimum = np.where(better, this_scale, scale), np.where(better, this_min, minimum)
    _encode(x, ends, chosen, start, nmax, clamp, codes)
    codes[:, flat | (np.isinf(plain) & (chosen == plain))] = 0
    return np.where(flat, F(0), scale), -np.where(flat, low, minimum), codes.astype(np.uint8)


def _encode(x, ends, iscale, minimum, nmax, clamp, out):
    """Codes 0 … nmax of (x - minimum) iscale, into out; beyond 2^22 they are what C's rounding leaves there."""
    np.multiply(np.subtract(x, minimum, out=out), iscale, out=out)
    if clamp:  # before rounding, and NaN becomes 0
        codes_of(np.fmax(out, F(0)), 0, nmax, out=out)
        return
    wild = ~(np.abs(iscale) * np.maximum(*(np.abs(end - minimum) for end in ends)) < F(4e6))
    strange = nearest_int(out[:, wild]).clip(0, nmax) if wild.any() else 0
    codes_of(out, 0, nmax, out=out)
    out[:, wild] = strange


def _error(x, w, codes, scale, minimum, mad, t):
    """Σ w |scale code + minimum - x|, or of its square; t is scratch."""
    np.subtract(np.add(np.multiply(codes, scale, out=t), minimum, out=t), x, out=t)
    (np.abs if mad else np.square)(t, out=t)
    return np.add.reduce(np.multiply(t, w, out=t), axis=0)


def _regression(x, w, codes, sums, t):
    """(whether there is one, scale, minimum <= 0) of x on codes under weights w; sums is Σw and Σwx, t scratch."""
    sum_w, sum_x = sums
    sum_l = np.add.reduce(np.multiply(w, codes, out=t), axis=0)
    sum_l2 = np.add.reduce(t * codes, axis=0)
    sum_xl = np.add.reduce(np.multiply(t, x, out=t), axis=0)
    determinant = sum_w * sum_l2 - sum_l * sum_l
    scale = (sum_w * sum_xl - sum_x * sum_l) / determinant
    minimum = (sum_l2 * sum_x - sum_l * sum_xl) / determinant
    above = minimum > 0
    return determinant > 0, np.where(above, sum_xl / sum_l2, scale), np.where(above, F(0), minimum)


def positive(x: np.ndarray, nmax: int, w: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Scale and codes 0 … nmax of numbers >= 0, such as the scales of a super-block: least Σ w (x - scale l)².

    Nine scales are tried; then each code in turn may still move if that lowers the error, five rounds at most.
    (C: make_qp_quants)
    """
    top = np.maximum(x.max(0), F(0))
    zero = top < EPS

    def squared_error(iscale):
        q = np.minimum(nearest_int(x * iscale), nmax).astype(F)
        d = x - (F(1) / iscale) * q
        return np.add.reduce(w * d * d, axis=0)

    iscale = F(nmax) / top
    best = squared_error(iscale)
    for step in (-4, -3, -2, -1, 1, 2, 3, 4):
        tried = (F(0.1) * F(step) + F(nmax)) / top
        found = squared_error(tried)
        better = found < best
        best, iscale = np.where(better, found, best), np.where(better, tried, iscale)
    codes = np.minimum(nearest_int(x * iscale), nmax).astype(F)
    wx = w * x
    sum_lx, sum_l2 = np.add.reduce(wx * codes, axis=0), np.add.reduce(w * codes * codes, axis=0)
    sum_lx, sum_l2 = _improve(x, w, codes, sum_lx, sum_l2, None, nmax)
    scale = np.divide(sum_lx, sum_l2, out=np.zeros_like(top), where=sum_l2 > 0)
    codes[:, zero], scale[zero] = 0, 0
    return scale, codes.astype(np.uint8)


def signed(x: np.ndarray, nmax: int) -> tuple[np.ndarray, np.ndarray]:
    """Scale and codes 0 … 2 nmax - 1, x ≈ scale (code - nmax), where codes move one by one. (C: make_q3_quants)"""
    amax, top = first_largest(x)
    codes = codes_of(x * (F(-nmax) / top), -nmax, nmax - 1)
    w = x * x
    sum_lx, sum_l2 = np.add.reduce(w * x * codes, axis=0), np.add.reduce(w * codes * codes, axis=0)
    sum_lx, sum_l2 = _improve(x, w, codes, sum_lx, sum_l2, -nmax, nmax - 1)
    scale = np.divide(sum_lx, sum_l2, out=np.zeros_like(top), where=sum_l2 > 0)
    codes += F(nmax)
    zero = amax < EPS
    codes[:, zero], scale[zero] = 0, 0
    return scale, codes.astype(np.uint8)


def _improve(x, w, codes, sum_lx, sum_l2, low, high):
    """Move one code after another to where the least-squares error falls, five rounds at most; changes `codes`.

    low=None: codes of numbers >= 0. Only the groups in which something moved take part in the next round.
    """
    sums = np.stack([sum_lx, sum_l2])
    active = np.arange(x.shape[1])
    part, totals = [x, w * x, w, codes.copy()], sums.copy()
    for _ in range(5):
        changed = np.zeros(len(active), bool)
        for xi, wx, wi, code in zip(*part, strict=True):
            _move(xi, wx, wi, code, totals, changed, low, high)
        codes[:, active], sums[:, active] = part[3], totals
        again = np.flatnonzero(changed)
        if not len(again):
            break
        active = active[again]
        part, totals = [t.take(again, axis=1) for t in part], totals.take(again, axis=1)
    return sums


def _move(x, wx, w, code, totals, changed, low, high):
    """Try a better code for one number of each group, the sums of the others held fast; all arguments (groups,)."""
    slx, sl2 = wx * code, w * code
    np.subtract(totals[0], slx, out=slx)
    np.subtract(totals[1], np.multiply(sl2, code, out=sl2), out=sl2)
    new = x * sl2
    new = np.minimum(nearest_int(np.divide(new, slx, out=new)), high)
    new = (new if low is None else np.maximum(new, low)).astype(F)
    allowed = (new != code) & (slx > 0)
    at = np.flatnonzero(allowed if low is not None else allowed & (sl2 > 0))
    new, lx, l2 = new[at], totals[0][at], totals[1][at]
    slx, sl2 = slx[at] + wx[at] * new, sl2[at] + w[at] * new * new
    taken = (slx * slx * l2 > lx * lx * sl2) & (sl2 > 0)
    at = at[taken]
    code[at], totals[0][at], totals[1][at] = new[taken], slx[taken], sl2[taken]
    changed[at] = True
