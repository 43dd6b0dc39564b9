"""What flows into each linear: the curvature H, the size of every channel, and a few rows to look at."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from course_lib.calibrate.calibration import batches_for
from course_lib.calibrate.experts import apart
from course_lib.calibrate.targets import linears_of
from course_lib.progress import bar

SAMPLE_ROWS = 512


@dataclass(frozen=True, repr=False)
class Stats:
    """Statistics of the inputs x (tokens, in) of one linear, in float32; H and rows may be None/empty when not wanted.

    ===========  ==========  ================================================================
    H            (in, in)    2/n · xᵀx, the Hessian of the output error in each row of w; or None
    mean_abs     (in,)       mean |x|, what AWQ calls salience
    max_abs      (in,)       max |x|, what SmoothQuant migrates
    mean_square  (in,)       mean x², the diagonal of H / 2, what an imatrix weighs with
    rows         (≤512, in)  evenly spaced rows of x
    tokens                   n
    ===========  ==========  ================================================================
    """

    H: Tensor | None
    mean_abs: Tensor
    max_abs: Tensor
    mean_square: Tensor
    rows: Tensor
    tokens: int

    def __repr__(self) -> str:
        return f"Stats({self.tokens} tokens, {len(self.mean_abs)} channels{'' if self.H is None else ', with H'})"


def hessian(x: Tensor) -> Tensor:
    """H = 2/n · xᵀx, (in, in) float32, from x (tokens, in): the second derivative of mean ‖Δw·x‖² in a row of w.

    Equation (2) of Frantar et al., "Optimal Brain Compression" (2022), averaged over tokens, so that H does not grow
    with them. Cost: tokens · in² / 2 multiply-adds.

    >>> hessian(torch.tensor([[1.0, 0.0], [0.0, 3.0]])).tolist()
    [[1.0, 0.0], [0.0, 9.0]]
    """
    if not isinstance(x, Tensor) or not x.is_floating_point() or x.dim() != 2 or len(x) == 0:
        got = f"{x.dtype} of shape {tuple(x.shape)}" if isinstance(x, Tensor) else type(x).__name__
        raise ValueError(f"x must be a floating-point tensor (tokens, in) with at least one token, got {got}")
    H = x.new_empty(x.shape[1], x.shape[1], dtype=torch.float32)
    return _accumulate(H, x.float(), 0, 1 / len(x))


class Running:
    """Stats as running means over batches x (tokens, in): memory does not grow with the tokens.

    After m more tokens, H ← n/(n+m) · H + 2/(n+m) · xᵀx. sample_rows: how many rows to keep of each batch.
    """

    def __init__(self, hessian: bool = True, sample_rows: int = SAMPLE_ROWS):
        self.hessian, self.sample_rows = hessian, sample_rows
        self.n, self.H, self.rows = 0, None, []

    def update(self, x: Tensor) -> None:
        """Take in x (..., in); ValueError for NaN or infinity."""
        x = x.detach().reshape(-1, x.shape[-1]).float()
        m = len(x)
        if m == 0:
            return
        if self.n == 0:
            self.mean_abs, self.max_abs, self.mean_square = (x.new_zeros(x.shape[1]) for _ in range(3))
            self.H = x.new_zeros(x.shape[1], x.shape[1]) if self.hessian else None
        old, new = self.n / (self.n + m), 1 / (self.n + m)
        size = x.abs()
        self.mean_abs.mul_(old).add_(size.sum(0), alpha=new)
        self.max_abs = torch.maximum(self.max_abs, size.amax(0))
        if not torch.isfinite(self.mean_abs).all():
            bad = (~torch.isfinite(self.mean_abs)).nonzero()[0].item()
            raise ValueError(f"its inputs must be finite, got NaN or infinity in channel {bad}")
        if self.hessian:
            _accumulate(self.H, x, old, new)
        else:
            self.mean_square.mul_(old).add_(size.square_().sum(0), alpha=new)
        self.rows.append(_spaced(x, self.sample_rows))
        self.n += m

    def copy(self) -> Running:
        """The same, to go on from here on its own."""
        other = Running(self.hessian, self.sample_rows)
        other.n, other.rows = self.n, list(self.rows)
        for name in ("H", "mean_abs", "max_abs", "mean_square"):
            value = getattr(self, name, None)
            setattr(other, name, None if value is None else value.clone())
        return other

    def stats(self) -> Stats:
        """What has been seen so far."""
        rows = torch.cat(self.rows)
        rows = _spaced(rows, SAMPLE_ROWS)
        mean_square = self.H.diagonal() / 2 if self.hessian else self.mean_square
        return Stats(self.H, self.mean_abs, self.max_abs, mean_square, rows, self.n)


@contextmanager
def listening(linears: dict[str, nn.Linear], make: Callable[[], Running]) -> Iterator[dict[str, Running]]:
    """Inside the `with`, every linear's inputs, of all its calls, go into a Running.

    Linears share one as long as they are called with the same tensors (q, k, v). Yields name -> Running, in the order
    in which the linears first run.
    """
    found: dict[str, Running] = {}
    sharing: Counter[Running] = Counter()
    last: list = [None, None, None]  # the last tensor; what a linear had heard before it, and with it

    def hear(name: str, x: Tensor) -> None:
        before = found.get(name)
        if x is last[0] and before is last[1]:
            after = last[2]
        else:
            shared = before is not None and sharing[before] > 1  # the others may not be called with x
            after = make() if before is None else before.copy() if shared else before
            try:
                after.update(x)
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from error
            last[:] = x, object() if after is before else before, after
        sharing[after] += 1
        sharing[before] -= 1
        if sharing[before] < 1:
            del sharing[before]  # nobody's any more: its H is freed
        found[name] = after

    handles = [
        m.register_forward_pre_hook(lambda _, args, name=name: hear(name, args[0])) for name, m in linears.items()
    ]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


def require_all(found: dict[str, Running], linears: dict[str, nn.Linear]) -> None:
    """ValueError that names a linear which has seen no token."""
    silent = [name for name in linears if name not in found or found[name].n == 0]
    if silent:
        raise ValueError(
            f"{silent[0]} never ran on the calibration text ({len(silent)} of {len(linears)} linears did not): give"
            " more or other text, or add it to skip"
        )


def collect(
    model: nn.Module,
    calibration,
    names: Iterable[str] | None = None,
    hessian: bool = True,
    progress: bool | None = None,
    unheard: str = "error",
) -> dict[str, Stats]:
    """Name -> Stats of the inputs of every linear (or of those in `names`) while the model reads `calibration`.

    calibration  "prose", "code", "task", the path of a text file, a list of texts (the tokenizer beside the model's
                 checkpoint reads them), or token tensors (rows, length) such as calibration_batches returns
    unheard      what becomes of a linear that never ran, such as an expert that no token was sent to: "error", or
                 "empty", Stats of zeros over 0 tokens

    One batch of activations is in memory at a time. Linears that share an input (q, k, v) share one Stats. Fused
    experts are heard one by one, each on its own tokens: "….experts.3.up_proj".
    ValueError for tokens outside the vocabulary, text shorter than one window, NaN inputs and a linear that never ran.
    """
    if unheard not in ("error", "empty"):
        raise ValueError(f"unheard must be 'error' or 'empty', got {unheard!r}")
    batches = batches_for(model, calibration)
    rows = -(-SAMPLE_ROWS // len(batches))
    with apart(model):
        linears = linears_of(model) if names is None else {name: model.get_submodule(name) for name in names}
        with evaluating(model), listening(linears, lambda: Running(hessian, rows)) as found:
            for ids in bar(batches, "reading", progress):
                model(input_ids=ids, use_cache=False)
    if unheard == "error":
        require_all(found, linears)
    done = {part: part.stats() for part in set(found.values()) if part.n}
    return {name: done.get(found.get(name)) or _nothing(linear, hessian) for name, linear in linears.items()}


def _nothing(linear: nn.Linear, hessian: bool) -> Stats:
    """Stats of a linear that heard nothing."""
    zero = linear.weight.new_zeros(linear.in_features, dtype=torch.float32)
    return Stats(torch.diag(zero) if hessian else None, zero, zero, zero, zero[None][:0], 0)


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """No gradients, and the model in eval mode; what it was before is restored."""
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(was_training)


def _accumulate(H: Tensor, x: Tensor, old: float, new: float) -> Tensor:
    """H ← old · H + 2 · new · xᵀx in place, computed above the diagonal in strips and mirrored below it."""
    for a in range(0, len(H), 256):
        b = min(a + 256, len(H))
        H[a:b, a:].addmm_(x[:, a:b].T, x[:, a:], beta=old, alpha=2 * new)
        H[b:, a:b] = H[a:b, b:].T
    return H


def _spaced(x: Tensor, n: int) -> Tensor:
    """A copy of at most n rows of x, evenly spaced."""
    n = min(n, len(x))
    return x[:0].clone() if n == 0 else x[torch.arange(n, device=x.device) * len(x) // n]
