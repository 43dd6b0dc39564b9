"""Learned rounding: whether a weight goes up or down is found by descent on what its whole block computes.

    q = clip(round(w / s + V) + z),   ŵ = s (q - z),   s and z of the range low · min(w) … high · max(w) of each group

V in [-½, ½], one number a weight, and low and high in [0, 1], one a group, are learned; w is not. Gradients go through
the rounding, and only their signs count, at a rate that falls from 1/iters to 0, so that V can just reach ½:
Cheng et al., "Optimize Weight Rounding via Signed Gradient Descent" (SignRound, 2023, arXiv 2309.05516; the tool is
AutoRound). That nearest is not best, and that rounding can be learned: Nagel et al., "Up or Down?" (AdaRound, 2020).
"""

from __future__ import annotations

import random
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from course_lib.calibrate.blocks import Call, run
from course_lib.formats.integer import Integer
from course_lib.formats.registry import Grid, store_scale
from course_lib.qtensor import QTensor, gather_blocks, split_blocks, spread
from course_lib.scheme import Scheme


class Rounding(nn.Module):
    """A weight w (out, in) on its grid, with what is learned of it: V (out, in), and low and high, one a block.

    V = 0 and low = high = 1 is `rtn`. `forward()` is ŵ, float32, with gradients straight through; `qtensor()` is what
    will be stored, and decodes to the same bits.

    signed  for symmetric="full", which has one level more below 0 than above: the steps get a sign, so that the largest
            |w| of a group sits on that level (AutoRound's own symmetric grid, and llama.cpp's)

    >>> fake = Rounding(torch.tensor([[0.4, 0.4, 1.0]]), Scheme.int(2))
    >>> _ = fake.V.data.copy_(torch.tensor([[0.0, 0.2, 0.0]]))
    >>> fake.qtensor().codes.tolist()
    [[0, 1, 1]]
    """

    def __init__(self, w: Tensor, scheme: Scheme, signed: bool = False) -> None:
        super().__init__()
        if signed and scheme.symmetric != "full":
            raise ValueError(f'signed steps need a scheme with symmetric="full", got {scheme.name}')
        self.scheme, self.signed, self.shape = scheme, signed, tuple(w.shape)
        self.split = split_blocks(w.detach().float(), scheme.block)  # (R, br, C, bc)
        blocks = gather_blocks(self.split)  # (R, C, br·bc)
        self.lo, self.hi = blocks.amin(-1).clamp(max=0), blocks.amax(-1).clamp(min=0)
        self.V = nn.Parameter(torch.zeros_like(self.split).reshape(self.shape))
        self.low, self.high = (nn.Parameter(torch.ones_like(self.lo)) for _ in range(2))

    def forward(self) -> Tensor:
        q, step, zero = self._codes()
        return (spread(step) * (q if zero is None else q - spread(zero))).reshape(self.shape)

    @torch.no_grad()
    def qtensor(self) -> QTensor:
        """Codes, scales and zero points as the scheme stores them."""
        grid, (q, *_) = self._grid(), self._codes()
        codes = q.to(torch.int8 if grid.zero_point is None else torch.uint8).reshape(self.shape)
        return QTensor(codes, grid.scale, grid.zero_point, self.scheme, self.shape)

    @torch.no_grad()
    def clip_(self) -> None:
        """Bring V, low and high back to where they may be."""
        self.V.clamp_(-0.5, 0.5)
        self.low.clamp_(0, 1)
        self.high.clamp_(0, 1)

    def _codes(self) -> tuple[Tensor, Tensor, Tensor | None]:
        """q (R, br, C, bc), steps and zero points (R, C), all float32 and with gradients."""
        lo, hi, n = self.lo * self.low, self.hi * self.high, 2**self.scheme.bits - 1
        grid = self._grid()
        step, zero = _passing(grid.step, self._raw_step(lo, hi)), grid.zero_point
        if zero is not None:
            zero = _passing(zero.float(), -lo / step) if self.scheme.symmetric is False else zero.float()
        x = self.split / spread(step) + self.V.reshape(self.split.shape)
        q = _passing(x.round(), x)
        if zero is None:
            return q.clamp(-(n // 2), n // 2), step, None
        return (q + spread(zero)).clamp(0, n), step, zero

    @torch.no_grad()
    def _grid(self) -> Grid:
        lo, hi = self.lo * self.low, self.hi * self.high
        if not self.signed:
            return self.scheme.codec.from_range(lo, hi, self.scheme)
        raw = self._raw_step(lo, hi)
        grid = store_scale(raw.abs(), self.scheme)
        zero = torch.full_like(raw, 2 ** (self.scheme.bits - 1), dtype=torch.uint8)
        return grid._replace(scale=torch.where(raw < 0, -grid.scale, grid.scale), zero_point=zero)

    def _raw_step(self, lo: Tensor, hi: Tensor) -> Tensor:
        """Steps (R, C) before they are rounded to the scheme's dtype, as `Integer.from_range` has them."""
        n, top = 2**self.scheme.bits - 1, torch.maximum(-lo, hi)
        if self.signed:
            return torch.where(-lo > hi, top, -top) / ((n + 1) // 2)
        if self.scheme.symmetric is False:
            return (hi - lo) / n
        return 2 * top / n if self.scheme.symmetric == "full" else top / (n // 2)


def learn(
    block: nn.Module,
    calls: list[Call],
    targets: list[Tensor],
    linears: dict[str, nn.Linear],
    scheme: Scheme,
    iters: int = 200,
    rate: float | None = None,
    clip: bool = True,
    signed: bool = False,
    seed: int = 0,
    log: list | None = None,
) -> dict[str, QTensor]:
    """Name -> QTensor of linears of a block, so that the outputs of the block on `calls` are near `targets`.

    Each iteration takes one call, in an order that is shuffled each round (`seed`), and moves everything by ±rate:

        p ← p - rate · (1 - i/iters) · sign(∂/∂p mean (block(x) - target)²)

    Kept is the iterate of the smallest such loss, as in AutoRound. Those losses are of different calls, so that in the
    end all calls decide whether it is better than round to nearest, which is kept if not.

    rate    None is 1/iters        clip  learn low and high, too        log   gets the loss of every iteration
    Cost: a forward and a backward pass of the block an iteration. ValueError for what `check_options` refuses.
    """
    check_options(scheme, iters, rate, signed)
    paths = {module: name for name, module in block.named_modules()}
    fakes = {name: Rounding(linear.weight, scheme, signed) for name, linear in linears.items()}
    weights = {f"{paths[linear]}.weight": (fakes[name], linear.weight.dtype) for name, linear in linears.items()}
    learned = [p for fake in fakes.values() for p in ((fake.V, fake.low, fake.high) if clip else (fake.V,))]
    start = kept = [p.detach().clone() for p in learned]
    least, rate, order = float("inf"), 1 / max(iters, 1) if rate is None else rate, _order(len(calls), seed)
    for i in range(iters):
        at = next(order)
        with torch.enable_grad():
            loss = _loss(block, _rounded(weights), calls[at], targets[at])
            slopes = torch.autograd.grad(loss, learned, allow_unused=True)
        if log is not None:
            log.append(loss.item())
        if loss.item() < least:
            least, kept = loss.item(), [p.detach().clone() for p in learned]
        with torch.no_grad():
            for p, slope in zip(learned, slopes, strict=True):
                if slope is not None:  # an expert that this call does not reach stays as it is
                    p.sub_(rate * (1 - i / iters) * slope.sign())
        for fake in fakes.values():
            fake.clip_()
    _keep_better(block, weights, calls, targets, learned, (start, kept))
    return {name: fake.qtensor() for name, fake in fakes.items()}


def check_options(scheme: Scheme, iters=200, rate=None, signed=False, **_) -> None:
    """ValueError for a scheme without an integer grid and plain scales, or iters and rate that make no sense."""
    if not isinstance(scheme.codec, Integer) or scheme.scale_scheme is not None or scheme.tensor_scale:
        raise ValueError(f'"autoround" needs an integer scheme with plain scales, got {scheme.name}')
    if scheme.zero_dtype is not None:
        raise ValueError(f'"autoround" needs whole-number zero points (no zero_dtype), got {scheme.name}')
    if signed and scheme.symmetric != "full":
        raise ValueError(f'signed steps need a scheme with symmetric="full", got {scheme.name}')
    if isinstance(iters, bool) or not isinstance(iters, int) or iters < 0:
        raise ValueError(f"iters must be a whole number, 0 (round to nearest) or more, got {iters!r}")
    if rate is not None and not 0 < rate < float("inf"):
        raise ValueError(f"rate must be positive and finite, or None for 1/iters, got {rate!r}")


def _passing(value: Tensor, x: Tensor) -> Tensor:
    """`value`, to the bit, with the gradient of x, which lies near it."""
    return x + (value - x).detach()


def _order(n: int, seed: int) -> Iterator[int]:
    """0 … n-1 shuffled, and again, for ever."""
    shuffler, indices = random.Random(seed), list(range(n))
    while True:
        shuffler.shuffle(indices)
        yield from list(indices)


def _rounded(weights: dict) -> dict[str, Tensor]:
    return {name: fake().to(dtype) for name, (fake, dtype) in weights.items()}


def _loss(block: nn.Module, swapped: dict[str, Tensor], call: Call, target: Tensor) -> Tensor:
    """Mean squared error of the block's outputs with the rounded weights."""
    out = run(lambda hidden, **others: torch.func.functional_call(block, swapped, (hidden,), others), call)
    return (out.float() - target.float()).square().mean()


@torch.no_grad()
def _keep_better(block, weights, calls, targets, learned, candidates) -> None:
    """Set what is learned to the candidate of least squared error over all calls; the first, if they are equal."""
    totals = []
    for values in candidates:
        for p, value in zip(learned, values, strict=True):
            p.copy_(value)
        swapped, pairs = _rounded(weights), zip(calls, targets, strict=True)  # rounded once for all calls
        totals.append(sum(_loss(block, swapped, call, target).item() * target.numel() for call, target in pairs))
    best = candidates[0] if not totals[1] < totals[0] else candidates[1]
    for p, value in zip(learned, best, strict=True):
        p.copy_(value)
