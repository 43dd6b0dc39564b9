"""HQQ: no data, but a search. The scale stays where the range puts it; the zero point goes where errors are small."""

from __future__ import annotations

import torch
from torch import Tensor

from course_lib.formats.integer import Integer, store_zero
from course_lib.formats.registry import store_scale
from course_lib.qtensor import QTensor, gather_blocks, quantize, split_blocks, spread
from course_lib.scheme import Scheme


def hqq(w: Tensor, scheme: Scheme, p: float = 0.7, beta: float = 10.0, kappa: float = 1.0, iters: int = 20) -> QTensor:
    """Quantize w (out, in) without calibration data, with a real zero point for each block that is searched.

    Sought is the z of least Σ |w - ŵ|^p, ŵ = s (q - z), q = clip(round(w / s + z)), s = (max - min) / (2^b - 1).
    Half-quadratic splitting gives the error a variable of its own, e, and takes turns (Badri & Shaji, "Half-Quadratic
    Quantization of Large Machine Learning Models", 2023):

        e ← shrink(w - ŵ),   shrink(x) = sign(x) · max(0, |x| - |x|^(p-1) / β)        argmin |e|^p + β/2 (e - w + ŵ)²
        z ← mean over the block of q - (w - e) / s,   β ← κ β

    until `iters` turns are done or the mean |w - ŵ| of all of w grows. What shrinks to 0 is pulled towards its code;
    what keeps its e, an outlier, pulls no longer. Only errors above β^(-1/(2-p)) keep one: 0.17 with these defaults,
    which are those of hqq 0.2.8 (it names κ = 1.01, and its default solver does not apply it). Where all errors are
    smaller, p has no say, and z is a plain least-squares fit.

    scheme is an integer one with a zero_dtype, one block of a row a scale: Scheme.int(4, False, 64, zero_dtype=...).
    In float32 the result is that of hqq 0.2.8 with axis=1, except that hqq gives a block whose range is at most 1e-4
    the step 1, and no other a step below 5e-5. Codes are computed with s and z as they are stored; hqq rounds those
    to 16 bits afterwards. Cost: iters round trips of w. ValueError for another scheme and for options out of range.

    >>> s = Scheme.int(2, False, 5, zero_dtype=torch.float32)
    >>> w = torch.tensor([[0.0, 1.2, 1.2, 1.2, 3.0]])  # nearest marks: 0, 1, 1, 1, 3
    >>> [[round(v, 2) for v in method(w, s).dequantize()[0].tolist()] for method in (quantize, hqq)]
    [[0.0, 1.0, 1.0, 1.0, 3.0], [0.12, 1.12, 1.12, 1.12, 3.12]]
    """
    _check(scheme, p, beta, kappa, iters)
    quantize(w, scheme)  # its complaints about w are the ones to hear
    split = split_blocks(w.detach().float(), scheme.block)
    blocks = gather_blocks(split)  # (out, groups, g)
    inverse, zero = solve(blocks, 2**scheme.bits - 1, p, beta, kappa, iters)
    grid = store_scale(1 / inverse, scheme)
    stored = store_zero(zero, scheme)
    codes = scheme.codec.encode(split, spread(grid.step), spread(stored)).reshape(w.shape)
    return QTensor(codes, grid.scale, stored, scheme, tuple(w.shape), tensor_scale=grid.tensor_scale)


def solve(blocks: Tensor, n: int, p: float, beta: float, kappa: float, iters: int) -> tuple[Tensor, Tensor]:
    """1/s and z, each (...), of blocks (..., g) with codes 0 … n; the operations and their order are those of hqq."""
    lo, hi = blocks.amin(-1, keepdim=True), blocks.amax(-1, keepdim=True)
    inverse = torch.where(hi > lo, n / (hi - lo), 1.0)
    zero, least = -lo * inverse, torch.inf
    for _ in range(iters):
        q = torch.round(blocks * inverse + zero).clamp_(0, n)
        error = blocks - (q - zero) / inverse
        zero = torch.mean(q - (blocks - shrink(error, beta, p)) * inverse, dim=-1, keepdim=True)
        now = error.abs().mean().item()
        if not now < least:
            break
        least, beta = now, beta * kappa
    return inverse[..., 0], zero[..., 0]


def shrink(x: Tensor, beta: float, p: float) -> Tensor:
    """sign(x) · max(0, |x| - |x|^(p-1) / β), which stands for the e of least |e|^p + β/2 (e - x)².

    For p = 1 it is that e, soft thresholding. For p < 1 it is near it: large x stay nearly alone, small ones become 0.

    >>> [[round(v, 2) for v in shrink(torch.tensor([0.1, 1.0, 10.0]), 2.0, p).tolist()] for p in (1.0, 0.5)]
    [[0.0, 0.5, 9.5], [0.0, 0.5, 9.84]]
    """
    size = x.abs()
    return (size - size.pow(p - 1) * (1 / beta)).clamp_(min=0).mul_(torch.sign(x))


def _check(scheme: Scheme, p: float, beta: float, kappa: float, iters: int) -> None:
    if not isinstance(scheme, Scheme):
        raise TypeError(f"scheme must be a Scheme, such as Scheme.int(4, False, 64), got {type(scheme).__name__}")
    if not isinstance(scheme.codec, Integer) or scheme.zero_dtype is None or scheme.block[0] != 1:
        raise ValueError("scheme must be an integer one with real zero points and blocks of one row, as Scheme.int(4,"
                         f" False, 64, zero_dtype=torch.float16) is, got {scheme.name!r}")  # fmt: skip
    if not 0 < p <= 1:
        raise ValueError(f"p must be above 0 and at most 1, got {p!r}")
    if not 0 < beta < float("inf"):
        raise ValueError(f"beta must be positive, got {beta!r}")
    if not 1 <= kappa < float("inf"):
        raise ValueError(f"kappa must be at least 1, got {kappa!r}")
    if isinstance(iters, bool) or not isinstance(iters, int) or iters < 1:
        raise ValueError(f"iters must be a whole number of turns, at least 1, got {iters!r}")
