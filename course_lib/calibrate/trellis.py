"""Two bits a weight by a trellis: make the weights Gaussian, then round them in tiles, each making up for the last.

    w̃ = Rᵀ_out w R_in,   H̃ = Rᵀ_in H R_in        random Hadamard matrices on both sides: "incoherence"
    ŵ = R_out · s · C(states) · Rᵀ_in

Tseng et al., "QTIP" (2024), arXiv 2406.11235, algorithm BlockLDLQ: GPTQ's feedback, 16 columns at a time. What QTIP
does after that, training signs and norms, is not done here.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from course_lib.calibrate.blocks import Flow, blocks_of, inputs_of
from course_lib.calibrate.calibration import batches_for
from course_lib.calibrate.gptq import inverse_factor
from course_lib.calibrate.linear import QuantLinear
from course_lib.calibrate.order import order_of
from course_lib.calibrate.rotation import hadamard
from course_lib.calibrate.solve import named, round_in_place
from course_lib.calibrate.stats import Running, evaluating, require_all
from course_lib.calibrate.targets import DEFAULT_SKIP, linears_of
from course_lib.formats import trellis
from course_lib.formats.trellis import TILE
from course_lib.progress import each

GAIN = 0.96  # rms of the weights over that of all levels, tried at 2 bits: the path takes the outer levels less often


@dataclass(frozen=True, eq=False, repr=False)
class TrellisWeight:
    """A weight (out, in) as it is stored; `dequantize` reads nothing else.

    ========  =====================  ============================================================
    packed    (tiles, 32·k) uint8    the streams of the tiles, row by row of tiles; 256 weights each
    signs     (out + in)/8 uint8     those of R_out, then those of R_in, one bit each
    scale     () float32             s
    ========  =====================  ============================================================

    bits is k; code and L say what a state stands for.
    """

    packed: Tensor
    signs: Tensor
    scale: Tensor
    shape: tuple[int, int]
    bits: int
    code: str
    L: int

    @property
    def nbytes(self) -> int:
        """Bytes stored: streams, signs and scale."""
        return self.packed.numel() + self.signs.numel() + 4

    @property
    def bits_per_weight(self) -> float:
        """8 · nbytes over the number of weights."""
        return 8 * self.nbytes / (self.shape[0] * self.shape[1])

    def dequantize(self) -> Tensor:
        """The weights (out, in), float32, turned back. (`Turned` turns the inputs and outputs instead.)"""
        signs = 1.0 - 2 * torch.from_numpy(np.unpackbits(self.signs.cpu().numpy())).float()
        left, right = (sign[:, None] * hadamard(len(sign)) for sign in signs.split(self.shape))
        turned = self.scale.cpu() * trellis.matrix(self.packed, self.shape, self.bits, self.code, self.L)
        return (left @ turned @ right.T).to(self.packed.device)

    def form(self) -> Turned:
        """What a kernel reads; ValueError where none knows these bits, code and L."""
        from course_lib.kernels import trellis as kernel

        packed = kernel.pack(self.packed, self.scale, self.shape, self.bits, self.code, self.L)
        bits = self.signs[:, None] >> torch.arange(7, -1, -1, device=self.signs.device) & 1
        left, right = (1 - 2 * bits.flatten().to(torch.int8)).split(self.shape)
        return Turned(packed, replace(self, packed=self.packed.new_empty(0)), left.clone(), right.clone())

    def __repr__(self) -> str:
        return f"TrellisWeight({self.code}, L={self.L}, shape={self.shape}, {self.bits_per_weight:.3f} bits/weight)"


@dataclass(frozen=True, eq=False)
class Turned:
    """A form of `kernels.weights`: inputs and outputs are turned instead of the weight, y = R_out · s · C · Rᵀ_in x."""

    packed: object  # kernels.trellis.PackedTrellis, whose module imports triton
    rest: TrellisWeight  # without its streams
    left: Tensor  # the signs of R_out, int8
    right: Tensor  # of R_in
    kernel: ClassVar[str] = "trellis"
    most: ClassVar[int | None] = None

    def multiply(self, x: Tensor) -> Tensor:
        """y (tokens, out): one token straight from the stream, more by torch with the levels decoded to x's dtype."""
        from course_lib.kernels import trellis as kernel

        turned = turn(x.float() * self.right)
        if len(x) == 1:
            y = kernel.gemv(turned[0], self.packed)[None]
        else:
            y = turned.to(x.dtype) @ kernel.dequantize(self.packed, x.dtype).T
        return (turn(y.float()) * self.left).to(x.dtype)

    def restore(self) -> TrellisWeight:
        from course_lib.kernels import trellis as kernel

        return replace(self.rest, packed=kernel.streams_of(self.packed))


def turn(x: Tensor) -> Tensor:
    """x (tokens, n) times `hadamard(n)`, in two small products, since H_ab = H_a ⊗ H_b.

    >>> turn(torch.tensor([[1.0, 0.0, 0.0, 0.0]])).round(decimals=4).tolist()
    [[0.5, 0.5, 0.5, 0.5]]
    """
    n = x.shape[1]
    a = 1 << (n.bit_length() - 1) // 2
    return (_hadamard_on(a, x.device) @ x.view(-1, a, n // a) @ _hadamard_on(n // a, x.device)).view(x.shape)


@functools.lru_cache(maxsize=32)
@torch.inference_mode(False)
def _hadamard_on(n: int, device: torch.device) -> Tensor:
    return hadamard(n).to(device)


def block_ldlq(w: Tensor, H: Tensor, tile: Callable[[Tensor], Tensor], columns: int, percdamp: float = 0.01) -> Tensor:
    """ŵ for w (out, in): `columns` columns at a time go through `tile`, and the others make up for their error.

        E = (w_b - ŵ_b) U_bb⁻¹        w_j ← w_j - E U_bj   for j behind b        UᵀU = (H + percdamp · …)⁻¹

    tile  (out, columns) -> the same, rounded. With one column and a scalar quantizer this is `gptq`.
    """
    w, U = w.clone(), inverse_factor(H, percdamp)
    out = torch.empty_like(w)
    for a in range(0, w.shape[1], columns):
        b = a + columns
        out[:, a:b] = tile(w[:, a:b])
        E = torch.linalg.solve_triangular(U[a:b, a:b], w[:, a:b] - out[:, a:b], upper=True, left=False)
        w[:, b:] -= E @ U[a:b, b:]
    return out


def by_trellis(
    w: Tensor, H: Tensor, bits: int, code: str = "1mad", L: int = 12, seed: int = 0, percdamp: float = 0.01
) -> TrellisWeight:
    """Quantize w (out, in) so that tr(Δw · H · Δwᵀ) stays small, H (in, in) as `hessian`: `bits` and a little a weight.

    code, L  as in `formats.trellis.levels`; time doubles with each bit of L. seed draws the signs of both rotations.
    ValueError unless out and in are powers of two, at least 16, and H fits; or where H is not positive definite.
    """
    table = trellis.levels(code, L)
    if not isinstance(w, Tensor) or w.dim() != 2 or not w.is_floating_point() or not torch.isfinite(w).all():
        raise ValueError("w must be a finite floating-point matrix (out, in)")
    rows, cols = w.shape
    if any(n < TILE or n & (n - 1) for n in (rows, cols)):
        raise ValueError(f"w must have powers of two of rows and columns, at least {TILE}, got {tuple(w.shape)}")
    if H.shape != (cols, cols):
        raise ValueError(f"H must have shape ({cols}, {cols}), w's columns, got {tuple(H.shape)}")
    left, right = hadamard(rows, 2 * seed), hadamard(cols, 2 * seed + 1)
    turned, H = left.T @ w.detach().float() @ right, right.T @ H.float() @ right
    scale = turned.square().mean().sqrt() / (GAIN * table.square().mean().sqrt())
    packed, memory = [], trellis.room(TILE * TILE)

    def tile(part: Tensor) -> Tensor:
        x = (part / scale).nan_to_num()  # a weight of zeros has scale 0, and any path does
        states = trellis.encode(x.reshape(-1, TILE * TILE), table, bits, memory=memory)
        packed.append(trellis.pack(states, bits, L))
        return scale * table[states].view(part.shape)

    block_ldlq(turned, H, tile, TILE, percdamp)
    streams = torch.stack(packed, 1).flatten(0, 1)  # tiles row by row
    signs = np.packbits(torch.cat([left[:, 0], right[:, 0]]).numpy() < 0)
    return TrellisWeight(streams, torch.from_numpy(signs), scale, (rows, cols), bits, code, L)


def trellis_model(
    model: nn.Module,
    calibration,
    bits: int | Callable[[str], int] = 2,
    skip: Iterable[str] = DEFAULT_SKIP,
    progress: bool | None = None,
    **options,
) -> nn.Module:
    """A copy of `model` whose linears hold a TrellisWeight each: the blocks in turn, as `quantize_model(…, "gptq")`.

    calibration as in `collect`; bits of every linear, or a function of its name; options are those of `by_trellis`.
    The copy works with `generate`, and `model_bytes` counts what it would take in a file.
    """
    result = copy.deepcopy(model)
    linears, batches = linears_of(result, skip), batches_for(model, calibration)
    width = bits if callable(bits) else lambda name: bits
    blocks, done = blocks_of(result, linears), {}
    with evaluating(result):
        flow = Flow(result, list(blocks), batches)
        for _, inside in each(blocks, "trellis", progress):
            for group in order_of(inside, flow.block, next(flow.calls())) if inside else []:
                found = inputs_of(group, flow.block, flow.calls(), lambda: Running(sample_rows=0))
                require_all(found, group)
                for name, linear in group.items():
                    w, H = linear.weight, found[name].H
                    done[name] = named(name, by_trellis, w, H, width(name), seed=len(done), **options)
                    round_in_place(linear, done[name])
            flow.advance()
    for name, weight in done.items():
        result.set_submodule(name, QuantLinear(weight, linears[name].bias, None, linears[name].weight.dtype))
    return result
