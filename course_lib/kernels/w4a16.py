"""y = x Wᵀ with W in int4 and x in 16 bits: the torch reference, and one dispatch over the kernels."""

from __future__ import annotations

import torch
from torch import Tensor

from course_lib.kernels import ON_GPU, packing
from course_lib.kernels.packing import PackedInt4
from course_lib.kernels.pieces import in_pieces

PARTS = 4  # of a row, in the split version
DTYPES = (torch.float16, torch.bfloat16, torch.float32)


def reference(x: Tensor, packed: PackedInt4) -> Tensor:
    """x (..., k) times the dequantized weight (n, k), summed in float32: what every kernel must give."""
    return (x.float() @ packing.unpack(packed).T).to(x.dtype)


def choose(m: int, packed: PackedInt4, device: str) -> str:
    """The kernel that `linear` runs for m tokens: torch or gemm.

    >>> choose(1, PackedInt4(None, None, None, (8192, 8192), 128), "cuda")
    'gemm'
    """
    if device == "cpu" or m == 0:
        return "torch"
    return "gemm"


def linear(x: Tensor, packed: PackedInt4, kernel: str | None = None) -> Tensor:
    """y (..., n) = x (..., k) · W_hatᵀ in x's dtype, by the kernel that `choose` names, or the one that is named here.

    kernel: "torch", "gemv-1" … "gemv-5" (one token), "gemm". On a CPU they run in Triton's interpreter.
    ValueError for another name, for several tokens in a GEMV, for shapes, dtypes or devices that do not match.

    >>> from course_lib import Scheme, quantize
    >>> packed = packing.pack(quantize(torch.randn(16, 128), Scheme.int(4, group=32)))
    >>> x = torch.randn(128)
    >>> torch.allclose(linear(x, packed, "gemm"), reference(x, packed), atol=1e-2)
    True
    """
    check(x, packed)
    n, k = packed.shape
    rows = x.reshape(-1, k)
    kernel = kernel or choose(len(rows), packed, x.device.type)
    if kernel == "torch" or not len(rows):
        return reference(x, packed)
    rows = rows if packed.order is None else rows[:, packed.order]
    if kernel == "gemm":
        from course_lib.kernels.gemm import run

        y = in_pieces(lambda part: run(part.contiguous(), packed), rows, n)
    elif kernel in {f"gemv-{v}" for v in range(1, 6)}:
        if len(rows) != 1:
            raise ValueError(f"{kernel} multiplies one token; x has {len(rows)}: name gemm, or no kernel")
        y = gemv(rows[0].contiguous(), packed, int(kernel[-1]))
    else:
        raise ValueError(f"kernel must be torch, gemv-1 to gemv-5, or gemm, got {kernel!r}")
    return y.reshape(*x.shape[:-1], n)


def check(x: Tensor, packed: PackedInt4) -> None:
    k = packed.shape[1]
    if x.dim() == 0 or x.shape[-1] != k:
        raise ValueError(f"x must have {k} columns, as the weight {packed.shape} has, got shape {tuple(x.shape)}")
    if x.dtype not in DTYPES:
        raise ValueError(f"x must be float16, bfloat16 or float32, got {x.dtype}")
    if x.device != packed.words.device:
        raise ValueError(f"x is on {x.device}, the weight on {packed.words.device}; move one of them")


def gemv(x: Tensor, packed: PackedInt4, version: int) -> Tensor:
    """One token through version 1…5: x (k,) -> y (n,)."""
    from course_lib.kernels import gemv as kernels

    n, k = packed.shape
    layout = packing.arguments(packed)
    if layout["RUNS"] % 4:
        raise ValueError(f"gemv-{version} takes groups of {4 * packed.run} or more, got {packed.group}: name gemm")
    layout = {"W": layout.pop("R") // 2, "GB": layout.pop("RUNS") // 4} | layout
    tile = {"BN": 32, "BB": 4} if ON_GPU else {"BN": 128, "BB": 16}
    parts = PARTS if version == 5 else 1
    layout["EVEN"] = n % tile["BN"] == 0 and k % (8 * layout["W"] * tile["BB"]) == 0
    y = x.new_empty((parts, n) if version == 5 else (n,), dtype=torch.float32 if version == 5 else x.dtype)
    zero = packed.scale if packed.zero is None else packed.zero
    grid = (-(-n // tile["BN"]), parts)
    kernels.VERSIONS[version][grid](x, packed.words, packed.scale, zero, y, n, k, kernels.ONE, **layout, **tile)
    return y.sum(0).to(x.dtype) if version == 5 else y
