"""What `fused.products` does, for weights in int4 or E4M3: y = W(g ∘ x) / √(mean x² + ε), x + W h, or silu(gate) · up.

One token in bfloat16; 8-bit weights are W8A16 here. Each lane multiplies what it has loaded (`lane_kernel`). A norm
is split: whoever adds to x writes g ∘ x and the squares of its part as well, and the next product divides by the root.
While a kernel waits for the one ahead it asks for weights of the next: memory is not idle while attention runs.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import torch
import triton
from torch import Tensor

from course_lib.kernels import ON_GPU, digits, fused, lane_kernel, lane_stay
from course_lib.kernels.packing import PackedInt4

# Pieces of 16 words of a row, rows and as many others, tiles on their way, warps: each was the quickest somewhere.
# Then, not timed yet: programs that stay (`lane_stay`), so many a multiprocessor, whether they ask first, registers
CANDIDATES = (
    (8, 8, 2, 8, 0, 0, 0), (4, 8, 2, 4, 0, 0, 0), (2, 8, 2, 2, 0, 0, 0), (4, 8, 4, 4, 0, 0, 0), (8, 8, 2, 8, 2, 0, 128),
    (8, 8, 2, 8, 2, 1, 128), (4, 8, 2, 4, 4, 1, 128), (4, 8, 4, 4, 2, 1, 0), (4, 8, 4, 4, 3, 1, 168),
)  # fmt: skip
NAMES = ("NB", "ROWS", "DEPTH", "num_warps", "STAY", "ASK", "maxnreg")
TILE = {"NB": 8, "ROWS": 8, "DEPTH": 2, "num_warps": 8} if ON_GPU else {"NB": 16, "ROWS": 16, "DEPTH": 2}
CHOSEN: dict[tuple[int, int, int], dict[str, int]] = {}  # bits and shape of a weight: the tile that was quickest here
AHEAD = 32768  # bytes of gates, and as many of what they gate, that each program of o asks for


def named(tile: tuple[int, ...]) -> dict[str, int]:
    return dict(zip(NAMES, tile, strict=True))


def tiles() -> list[dict[str, int]]:
    """The candidates by name."""
    return [named(tile) for tile in CANDIDATES]


@dataclass(frozen=True, eq=False)
class Codes:
    """A weight in E4M3: codes (n, k), a float32 scale a row."""

    codes: Tensor
    scale: Tensor


@dataclass(frozen=True, eq=False)
class Normal:
    """What a norm makes of x (1, k), but for the division: h = g ∘ x, and parts of Σ x², float32."""

    h: Tensor
    squares: Tensor
    eps: float


def key(w: PackedInt4 | Codes) -> tuple[int, int, int]:
    """(bits, n, k) of a weight."""
    return (4, *w.shape) if isinstance(w, PackedInt4) else (8, *w.codes.shape)


def words(w: PackedInt4 | Codes) -> Tensor:
    return w.words if isinstance(w, PackedInt4) else w.codes.view(torch.int32)


def fits(w: PackedInt4 | Codes) -> bool:
    """Whether `products` takes this weight: a token's pairs lie together, and a block lies in one group."""
    if isinstance(w, Codes):
        return w.codes.is_contiguous() and w.codes.shape[1] % 8 == 0
    one = len(w.scale) == 1 or w.group % (4 * w.run) == 0
    return w.zero is None and w.order is None and w.shape[1] % 8 == 0 and one


@functools.cache
def multiprocessors(device: torch.device) -> int:
    return torch.cuda.get_device_properties(device).multi_processor_count if device.type == "cuda" else 1


def share(ahead: PackedInt4 | Codes | None, gated: bool, programs: int) -> tuple[int, int, int]:
    """(stride, programs in a strip, bytes a program) with which `programs` fetch a weight, or its gates' first rows."""
    if ahead is None or not AHEAD:
        return 0, 1, 0
    if not gated:
        return 0, programs, words(ahead).nbytes // programs // 16 * 16
    strips = 2 * len(ahead.words) if isinstance(ahead, PackedInt4) else 2
    stride, each = words(ahead).nbytes // strips, programs // strips
    if programs % strips:  # some would ask beyond the weight's end
        return 0, 1, 0
    return stride, each, min(AHEAD, stride // each // 16 * 16)


def products(x: Tensor | Normal, w: PackedInt4 | Codes, gated: bool = False, add: Tensor | None = None,
             norm: Tensor | None = None, eps: float = 0.0, ahead: PackedInt4 | Codes | None = None,
             ahead_gated: bool = False) -> Tensor | Normal:  # fmt: skip
    """y (1, n) of x (1, k), or of a Normal; or add + y in place of `add`, and with `norm` the Normal of that.

    ahead: a weight whose reading may begin. ValueError for shapes, weights and (on a GPU) dtypes that do not fit.
    """
    bits, rows, k = key(w)
    normal = x if isinstance(x, Normal) else Normal(x, w.scale, 0.0)
    if normal.h.shape != (1, k) or not fits(w):
        raise ValueError(f"x must be (1, {k}) for a weight that fits, got {tuple(normal.h.shape)}")
    if digits.ASM and normal.h.dtype != torch.bfloat16:  # whose pairs the matrix instructions take as they lie
        raise ValueError(f"x must be bfloat16 on a GPU, got {normal.h.dtype}")
    tile = CHOSEN.get(key(w), TILE)
    if bits == 4 and 32 * tile["NB"] < w.run:  # a block is more pieces than a tile
        tile = TILE
    n, tall = (rows // 2, tile["ROWS"]) if gated else (rows, 2 * tile["ROWS"])
    run, runs = (w.run, 1 << 30 if len(w.scale) == 1 else w.group // w.run) if bits == 4 else (32, 4)
    sets, parts = -(-n // tall), len(normal.squares)
    y = normal.h.new_empty(1, n) if add is None else add
    after = Normal(torch.empty_like(y), torch.empty(sets, dtype=torch.float32, device=y.device), eps)
    even = n % tall == 0 and k % (512 // bits * tile["NB"] * tile["DEPTH"]) == 0 and (bits == 8 or k % (4 * run) == 0)
    stay = tile.get("STAY", 0)
    programs = min(sets, stay * multiprocessors(y.device)) if stay and even else sets
    staying = {"ASK": tile["ASK"]} | ({"maxnreg": tile["maxnreg"]} if tile["maxnreg"] else {}) if stay else {}
    stride, each, size = share(ahead, ahead_gated, programs)
    (lane_stay if stay else lane_kernel).products[(programs,)](
        normal.h, normal.squares, words(w), w.scale, y, y if norm is None else norm, after.h, after.squares,
        words(w if ahead is None else ahead), n, k, parts, stride, each, size, normal.eps, BITS=bits, R=run, RUNS=runs,
        NORM=isinstance(x, Normal), GATED=gated, ADD=add is not None, NEXT=norm is not None,
        P=triton.next_power_of_2(parts) if isinstance(x, Normal) else 1, EVEN=even, ASM=digits.ASM, PDL=fused.PDL,
        **{name: tile[name] for name in tile if name in NAMES[:4]}, **fused.launch(), **staying)  # fmt: skip
    return y if norm is None else after


def start(tokens: Tensor, embedding: Tensor, norm: Tensor, eps: float) -> tuple[Tensor, Normal]:
    """(x (1, k), its Normal) of one token."""
    k = embedding.shape[1]
    x, h = embedding.new_empty(1, k), embedding.new_empty(1, k)
    squares = torch.empty(-(-k // 16), dtype=torch.float32, device=x.device)
    lane_kernel.begin[(len(squares),)](tokens, embedding, norm, x, h, squares, k, BLOCK=16)
    return x, Normal(h, squares, eps)
