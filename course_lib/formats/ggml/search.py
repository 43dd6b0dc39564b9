"""How ggml looks for scales: a few tries around the obvious one, each fitted by least squares, the best kept.

All arrays are (n, blocks) float32, one group a column: sums over axis 0 then add in C's order, and so give C's bits.
"""

from __future__ import annotations

import numpy as np

from course_lib.formats.ggml.block import first_largest, nearest_int, total

F = np.float32
EPS = F(1e-15)  # a group below this counts as zero


def codes_of(v: np.ndarray, low: int, high: int, out: np.ndarray | None = None) -> np.ndarray:
    """Nearest integers of v, ties to even, held in low … high, as float32."""
    out = np.rint(v, out=out)
    return out.clip(F(low), F(high), out=out)


def any_codes_of(v: np.ndarray, low: int, high: int) -> np.ndarray:
    """The same for v that may be NaN or beyond 2^22, where codes are what C's rounding leaves there; changes v."""
    if v.min() > F(-4e6) and v.max() < F(4e6):
        return codes_of(v, low, high, out=v)
    return nearest_int(v).clip(low, high).astype(F)


def symmetric(x: np.ndarray, nmax: int, w: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Scale and codes 0 … 2 nmax - 1 with x ≈ scale (code - nmax): least Σ w (x - scale l)², w = x² by default.

    The scale that maps the largest number on -nmax, and 18 neighbours of it; each gives integers l, and these the
    best scale Σwxl / Σwl². (C: make_qx_quants)
    """
    amax, top = first_largest(x)
    w = x * x if w is None else w
    wx, q = w * x, np.empty_like(x)

    def fit(iscale):
        codes_of(np.multiply(x, iscale, out=q), -nmax, nmax - 1, out=q)
        return total(wx, q), total(w, q, q)

    best_iscale = F(-nmax) / top
    sum_lx, sum_l2 = fit(best_iscale)
    scale = np.divide(sum_lx, sum_l2, out=np.zeros_like(top), where=sum_l2 != 0)
    best = scale * sum_lx
    for step in (*range(-9, 0), *range(1, 10)):
        iscale = -(F(nmax) + F(0.1) * F(step)) / top
        sum_lx, sum_l2 = fit(iscale)
        better = (sum_l2 > 0) & (sum_lx * sum_lx > best * sum_l2)
        np.putmask(scale, better, sum_lx / sum_l2)
        np.putmask(best, better, scale * sum_lx)
        np.putmask(best_iscale, better, iscale)
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
    least, high = x.min(0), x.max(0)
    low = np.minimum(least, F(0))
    flat = high <= low if clamp else high == low
    sums = total(w), total(w, x)
    codes, t = np.empty_like(x), np.empty_like(x)
    plain = F(nmax) / (high - low)
    start, minimum, chosen, scale = low.copy(), low.copy(), plain.copy(), F(1) / plain
    _encode(x, least, plain, low, nmax, False, codes)
    best = _error(x, w, codes, scale, low, mad, t)
    for k in range(tries + 1):
        iscale = (F(first) + F(step) * F(k) + F(nmax)) / (high - minimum)
        _encode(x, least, iscale, minimum, nmax, clamp, codes)
        fits, this_scale, this_min = _regression(x, w, codes, sums)
        found = _error(x, w, codes, this_scale, this_min, mad, t)
        better = fits & (found < best)
        for kept, new in (
            (best, found), (start, minimum), (chosen, iscale), (scale, this_scale), (minimum, this_min),
        ):  # fmt: skip
            np.putmask(kept, better, new)
    _encode(x, least, chosen, start, nmax, clamp, codes)
    codes[:, flat | (np.isinf(plain) & (chosen == plain))] = 0
    return np.where(flat, F(0), scale), -np.where(flat, low, minimum), codes.astype(np.uint8)


def _encode(x, least, iscale, minimum, nmax, clamp, out):
    """Codes 0 … nmax of (x - minimum) iscale, into out; beyond 2^22 they are what C's rounding leaves there."""
    np.multiply(np.subtract(x, minimum, out=out), iscale, out=out)
    if clamp:  # before rounding, and NaN becomes 0
        codes_of(np.fmax(out, F(0), out=out), 0, nmax, out=out)
        return
    if (np.abs((least - minimum) * iscale) < F(4e6)).all():  # at the other end it is nmax or so
        codes_of(out, 0, nmax, out=out)
    else:
        out[:] = any_codes_of(out, 0, nmax)


def _error(x, w, codes, scale, minimum, mad, t):
    """Σ w |scale code + minimum - x|, or of its square; t is scratch."""
    np.subtract(np.add(np.multiply(codes, scale, out=t), minimum, out=t), x, out=t)
    return total(np.abs(t, out=t), w) if mad else total(t, t, w)


def _regression(x, w, codes, sums):
    """(whether there is one, scale, minimum <= 0) of x on codes under weights w; sums is Σw and Σwx."""
    sum_w, sum_x = sums
    sum_l, sum_l2, sum_xl = total(w, codes), total(w, codes, codes), total(w, codes, x)
    determinant = sum_w * sum_l2 - sum_l * sum_l
    scale = (sum_w * sum_xl - sum_x * sum_l) / determinant
    minimum = (sum_l2 * sum_x - sum_l * sum_xl) / determinant
    above = minimum > 0
    np.putmask(scale, above, sum_xl / sum_l2)
    np.putmask(minimum, above, F(0))
    return determinant > 0, scale, minimum


def positive(x: np.ndarray, nmax: int, w: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Scale and codes 0 … nmax of numbers >= 0, such as the scales of a super-block: least Σ w (x - scale l)².

    Nine scales are tried; then each code in turn may still move if that lowers the error, five rounds at most.
    C keeps a code in a byte without sign, so that -1 becomes 255 where it is read again. (C: make_qp_quants)
    """
    top = np.maximum(x.max(0), F(0))
    zero = top < EPS

    def squared_error(iscale, q):
        d = x - (F(1) / iscale) * q.astype(F)
        return total(w, d, d)

    iscale = F(nmax) / top
    best = squared_error(iscale, nearest_int(x * iscale) & 255)
    for step in (-4, -3, -2, -1, 1, 2, 3, 4):
        tried = (F(0.1) * F(step) + F(nmax)) / top
        found = squared_error(tried, np.minimum(nearest_int(x * tried), nmax))
        better = found < best
        best, iscale = np.where(better, found, best), np.where(better, tried, iscale)
    codes = np.minimum(nearest_int(x * iscale), nmax).astype(F)
    sums = np.stack([total(w, x, codes), total(w, codes, codes)])
    sum_lx, sum_l2 = _improve(x, w, np.mod(codes, F(256), out=codes), sums, -(2**22), nmax, bytewise=True)
    scale = np.divide(sum_lx, sum_l2, out=np.zeros_like(top), where=sum_l2 > 0)
    codes[:, zero], scale[zero] = 0, 0
    return scale, codes.astype(np.uint8)


def signed(x: np.ndarray, nmax: int) -> tuple[np.ndarray, np.ndarray]:
    """Scale and codes 0 … 2 nmax - 1, x ≈ scale (code - nmax), where codes move one by one. (C: make_q3_quants)"""
    amax, top = first_largest(x)
    codes = codes_of(x * (F(-nmax) / top), -nmax, nmax - 1)
    w = x * x
    sums = np.stack([total(w, x, codes), total(w, codes, codes)])
    sum_lx, sum_l2 = _improve(x, w, codes, sums, -nmax, nmax - 1)
    scale = np.divide(sum_lx, sum_l2, out=np.zeros_like(top), where=sum_l2 > 0)
    codes += F(nmax)
    zero = amax < EPS
    codes[:, zero], scale[zero] = 0, 0
    return scale, codes.astype(np.uint8)


def _improve(x, w, codes, sums, low, high, bytewise=False):
    """Move codes to where the least-squares error falls; changes `codes` and `sums`, Σwxl and Σwl², and returns these.

    C goes round the numbers of a group, five times at most, and moves what can be improved while the others stay.
    Few can: all are looked at together, and in each group the next one in turn is moved, until a round moves none.
    """
    size, groups = len(x), np.arange(x.shape[1])  # the groups in which something may still move
    passed = np.zeros(len(groups), int)
    part = x, w, codes, *sums
    while len(groups):
        new, wx, lx, l2 = _better_codes(*part, low, high)
        found = np.flatnonzero(new != part[2])
        row, at = np.divmod(found, len(groups))
        new, lx, l2, wx, w_at = (t.take(found) for t in (new, lx, l2, wx, part[1]))
        good, old_lx, old_l2 = (lx > 0) & ((l2 > 0) | (not bytewise)), part[3][at], part[4][at]
        lx, l2 = lx + wx * new, l2 + w_at * new * new
        turn = passed[at] + (row - passed[at]) % size  # how many numbers C has passed when it comes to this one
        good &= (l2 > 0) & (lx * lx * old_l2 > old_lx * old_lx * l2) & (turn < 5 * size)
        first = np.full(len(groups), 5 * size)
        np.minimum.at(first, at[good], turn[good])
        taken = np.flatnonzero(good & (turn == first[at]))
        groups, passed, lx, l2 = groups[at[taken]], turn[taken] + 1, lx[taken], l2[taken]
        kept = np.mod(new[taken], F(256)) if bytewise else new[taken]
        codes[row[taken], groups], sums[0, groups], sums[1, groups] = kept, lx, l2
        part = *(t.take(groups, axis=1) for t in (x, w, codes)), lx, l2
    return sums


def _better_codes(x, w, codes, sum_lx, sum_l2, low, high):
    """What each code had better be while the others are held fast; wx; Σwxl and Σwl² of the others."""
    wx = w * x
    lx, l2 = wx * codes, w * codes
    np.subtract(sum_lx, lx, out=lx)
    np.subtract(sum_l2, np.multiply(l2, codes, out=l2), out=l2)
    v = x * l2
    return any_codes_of(np.divide(v, lx, out=v), low, high), wx, lx, l2
