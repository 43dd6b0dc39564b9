"""GPTQ: round one column at a time, and let the columns still to come make up for the error."""

from __future__ import annotations

import functools

import torch
from torch import Tensor

from course_lib import observers
from course_lib.qtensor import QTensor, gather_blocks, quantize, split_blocks
from course_lib.qtensor import block_size as block_sizes
from course_lib.scheme import Scheme

_MSE = functools.partial(observers.mse, norm=2.4, steps=100, maxshrink=0.8, joint=True)  # the original's quant.py


def gptq(
    w: Tensor,
    H: Tensor,
    scheme: Scheme,
    percdamp: float = 0.01,
    block_size: int = 128,
    act_order: bool = False,
    static_groups: bool = False,
    mse: bool = False,
) -> QTensor:
    """Quantize w (out, in) so that tr(Δw · H · Δwᵀ), the error of the outputs, stays small; H (in, in) as `hessian`.

    Column i is rounded with all its rows at once, and its error e moves on to the columns j > i:

        e = (w_i - q_i) / U_ii        w_j ← w_j - U_ij · e        UᵀU = (H + percdamp · mean(diag H) · I)⁻¹

    (Frantar et al., "GPTQ", 2022, algorithm 1.) A group's grid is found on the weights as they stand when its first
    column is reached, whatever the block size. Columns whose input was always 0 (H_ii = 0) end at exactly 0,
    do not count in mean(diag H), and take it as their H_ii. (The authors' code and GPTQModel give them 1 and count it:
    where the other inputs are quiet, that damps those away.)

    block_size     columns whose errors reach the rest of w in one matrix product; changes the speed, not the answer
    act_order      columns by falling H_ii; a group is then made of columns of like importance, and g_idx says which
    static_groups  all grids are found on w beforehand, in the order of w: with act_order, g_idx stays trivial
    mse            a group's range is searched: least sum of |Δw|^2.4 (100 steps, shrunk by at most 0.8)

    Cost in multiply-adds: tokens · in² / 2 for H, 2/3 · in³ for U, out · in² / 2 for the updates; beside them `in`
    short passes over `out` numbers (benchmarks/gptq_speed.py measures it). ValueError for shapes that do not fit, NaN,
    and an H that is not positive definite at this percdamp.

    >>> H = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.9], [0.0, 0.9, 1.0]])  # inputs 2 and 3 go together
    >>> w, s = torch.tensor([[1.0, 0.4, 0.4]]), Scheme.int(2)  # levels -1, 0, 1
    >>> quantize(w, s).codes.tolist(), gptq(w, H, s).codes.tolist()
    ([[1, 0, 0]], [[1, 0, 1]])
    """
    w, H = prepared(w, H, scheme, percdamp, block_size)
    order = torch.argsort(H.diagonal(), descending=True) if act_order else torch.arange(len(H), device=w.device)
    U = inverse_factor(H[order][:, order] if act_order else H, percdamp)
    grids = _Grids(w, scheme, order, static_groups, _MSE if mse else None)
    codes = _solve(w[:, order].T.contiguous(), U, grids, block_size)  # (in, out), in the order of `order`
    return grids.qtensor(codes[torch.argsort(order)].T.contiguous())


def inverse_factor(H: Tensor, percdamp: float = 0.01) -> Tensor:
    """Upper triangular U with UᵀU = (H + percdamp · mean(diag H) · I)⁻¹, the Cholesky factor that GPTQ reads rows of.

    With J the reversal of rows: JHJ = LLᵀ gives U = J L⁻¹ J, one factorization and one triangular inverse, where
    the paper factorizes, inverts and factorizes again. ValueError where H is not positive definite.

    >>> inverse_factor(torch.tensor([[4.0, 0.0], [0.0, 16.0]]), percdamp=0).tolist()
    [[0.5, 0.0], [0.0, 0.25]]
    """
    n = len(H)
    damped = H.flip(0, 1).contiguous()  # contiguous copy: H stays as it was
    damped.diagonal().add_(percdamp * H.diagonal().mean())
    L, failed = torch.linalg.cholesky_ex(damped)
    noise = 4 * n**0.5 * torch.finfo(H.dtype).eps if percdamp == 0 else 0.0  # a pivot this small is rounding error
    if failed or (L.diagonal().square() <= noise * damped.diagonal()).any():
        raise ValueError(
            f"H ({n}, {n}) is not positive definite at percdamp={percdamp:g}: fewer tokens than columns, or columns"
            " that depend on each other; give more calibration text or percdamp=0.01"
        )
    eye = torch.eye(n, dtype=H.dtype, device=H.device)
    return torch.linalg.solve_triangular(L, eye, upper=False).flip(0, 1).contiguous()


class _Grids:
    """Step and zero point of every group: found when its first column is reached, or all at once (static)."""

    def __init__(self, w: Tensor, scheme: Scheme, order: Tensor, static: bool, observer):
        if scheme.scale_scheme is not None and not static:
            raise ValueError("scheme quantizes its scales, all groups together, so that they must be known beforehand:"
                             " pass static_groups=True")  # fmt: skip
        self.scheme, self.observer, self.shape = scheme, observer, tuple(w.shape)
        self.rows, self.cols = block_sizes(w.shape, scheme.block)
        self.static = static
        self.group_of = (order if static else torch.arange(len(order), device=w.device)) // self.cols  # by place
        self.g_idx = self.group_of[torch.argsort(order)].to(torch.int32)  # by column
        self.steps: list[Tensor] = []  # (out,) each
        self.zeros: list[Tensor | None] = []
        self.parts: list[tuple] = []  # scale and zero point as stored, (out/rows, groups found)
        whole = quantize(w, scheme, observer) if static or scheme.tensor_scale else None
        self.tensor_scale = None if whole is None else whole.tensor_scale
        if static:
            self._keep(whole.scale, whole.zero_point, whole.step)

    def reach(self, place: int, wt: Tensor) -> None:
        """Find the grid of the group that begins at this place; wt (in, out) is the weights as they now stand."""
        if self.static or place % self.cols:
            return
        blocks = gather_blocks(split_blocks(wt[place : place + self.cols].T, (self.rows, -1)))  # (R, 1, rows·cols)
        grid = self.scheme.codec.grid(blocks, self.scheme, self.observer, self.tensor_scale)
        self._keep(grid.scale, grid.zero_point, grid.step)

    def qtensor(self, codes: Tensor) -> QTensor:
        """The result, from codes (out, in)."""
        scale, zero = self.parts[0]
        if len(self.parts) > 1:
            scale = torch.cat([scale for scale, _ in self.parts], dim=1)
            zero = None if zero is None else torch.cat([zero for _, zero in self.parts], dim=1)
        trivial = self.static or torch.equal(self.g_idx, self.g_idx.sort().values)
        g_idx = None if trivial else self.g_idx
        return QTensor(codes, scale, zero, self.scheme, self.shape, g_idx, self.tensor_scale)

    def _keep(self, scale, zero: Tensor | None, step: Tensor) -> None:
        self.parts.append((scale, zero))
        for t, out in ((step, self.steps), (zero, self.zeros)):  # (R, C) -> C rows of (out,)
            rows = [None] * step.shape[1] if t is None else t.repeat_interleave(self.rows, dim=0).T.contiguous()
            out.extend(rows)


def _solve(wt: Tensor, U: Tensor, grids: _Grids, block_size: int) -> Tensor:
    """Codes (in, out) of wt (in, out), which is overwritten: rows here are the columns of the text above."""
    codec, group_of, diagonal = grids.scheme.codec, grids.group_of.tolist(), U.diagonal().tolist()
    codes, errors = [], torch.empty_like(wt)
    for lo, hi in _blocks(len(wt), grids.cols, block_size):
        for a in range(lo, hi, min(grids.cols, hi - lo)):
            b = min(a + grids.cols, hi)
            wt[a:b].addmm_(U[lo:a, a:b].T, errors[lo:a], alpha=-1)  # what this block owes its next group
            grids.reach(a, wt)
            factors = U[a:b, a:b].T.contiguous()
            for i in range(a, b):
                now = torch.addmv(wt[i], errors[a:i].T, factors[i - a, : i - a], alpha=-1)
                step, zero = grids.steps[group_of[i]], grids.zeros[group_of[i]]
                codes.append(codec.encode(now, step, zero))
                torch.div(now.sub_(codec.decode(codes[i], step, zero)), diagonal[i], out=errors[i])
        wt[hi:].addmm_(U[lo:hi, hi:].T, errors[lo:hi], alpha=-1)  # the lazy batch update
    return torch.stack(codes)


def _blocks(columns: int, group: int, block_size: int) -> list[tuple[int, int]]:
    """Spans of at most about block_size columns, so that a group lies in one of them or begins with one.

    >>> _blocks(10, 2, 5), _blocks(10, 5, 3)
    ([(0, 4), (4, 8), (8, 10)], [(0, 3), (3, 5), (5, 8), (8, 10)])
    """
    if group <= block_size:
        block_size, group = block_size // group * group, columns
    ends = [min(at + block_size, start + group) for start in range(0, columns, group)
            for at in range(start, min(start + group, columns), block_size)]  # fmt: skip
    return list(zip([0, *ends[:-1]], ends, strict=True))


def prepared(w, H, scheme, percdamp, block_size) -> tuple[Tensor, Tensor]:
    """Float32 copies of w and H in which dead columns are 0 in w and average on H's diagonal; or one sentence."""
    if not isinstance(w, Tensor) or w.dim() != 2 or not w.is_floating_point():
        raise ValueError(f"w must be a floating-point matrix (out, in), got {_said(w)}")
    if not isinstance(H, Tensor) or H.shape != (w.shape[1], w.shape[1]):
        raise ValueError(f"H must have shape ({w.shape[1]}, {w.shape[1]}), w's columns, got {_said(H)}")
    if not isinstance(scheme, Scheme):
        raise TypeError(f"scheme must be a Scheme, such as Scheme.int(4, group=128), got {type(scheme).__name__}")
    if not 0 <= percdamp < float("inf"):
        raise ValueError(f"percdamp must be 0 or a small positive share of H's mean diagonal, got {percdamp!r}")
    if not isinstance(block_size, int) or block_size < 1:
        raise ValueError(f"block_size must be a whole number of columns, at least 1, got {block_size!r}")
    w, H = w.detach().to(torch.float32, copy=True), H.detach().to(w.device, torch.float32, copy=True)
    for name, t in (("w", w), ("H", H)):
        if not torch.isfinite(t).all():
            raise ValueError(f"{name} must be finite in float32, got NaN or infinity")
    dead = H.diagonal() == 0
    H.diagonal()[dead] = 1 if dead.all() else H.diagonal()[~dead].mean()  # a fixed 1 would damp quiet inputs away
    w[:, dead] = 0
    return w, H


def _said(value) -> str:
    return f"{value.dtype} of shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
