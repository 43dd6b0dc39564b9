"""ggml's blocks, byte for byte: `quantize(x, "Q4_K")` gives what llama.cpp writes, `dequantize` what it reads."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from course_lib.formats.ggml import iq1, iq2, iq3, iq4, kquants, legacy, mxfp4, nvfp4, ternary
from course_lib.formats.ggml.block import BlockType

_MODULES = (legacy, kquants, iq4, mxfp4, nvfp4, ternary, iq3, iq2, iq1)
TYPES: dict[str, BlockType] = {t.name: t for module in _MODULES for t in module.TYPES}
BY_ID: dict[int, BlockType] = {t.type_id: t for t in TYPES.values()}
WRITTEN = tuple(name for name, t in TYPES.items() if t.is_written)


def block_type(name: str) -> BlockType:
    """The block type of this name, in upper or lower case; ValueError lists the known ones.

    >>> block_type("Q4_K").bits_per_weight
    4.5
    """
    found = {known.lower(): t for known, t in TYPES.items()}.get(name.lower() if isinstance(name, str) else name)
    if found is None:
        raise ValueError(f"type must be one of {', '.join(TYPES)}, got {name!r}")
    return found


def quantize(x, name: str, imatrix=None):
    """Blocks uint8 (rows, row_bytes) of x (rows, cols), the very bytes of ggml's quantize_chunk on x86-64.

    x        floating-point tensor or array; computed in float32
    imatrix  importance of each column, (cols,): mean square of the column's inputs; None for all alike

    A tensor gives a tensor, an array gives an array. ValueError for NaN or infinity, for rows that are not whole
    blocks, for an importance that is negative, not finite or of another length, for none where ggml wants one (IQ1_S,
    IQ2_XXS, IQ2_XS), and for numbers so large that ggml's search for a row of a codebook ends the process.

    >>> quantize(torch.linspace(-1, 1, 32)[None], "Q4_0")[0, :4].tolist()  # d = 0.125 as fp16, little-endian
    [0, 48, 128, 145]
    """
    kind = block_type(name)
    if not kind.is_written:
        raise ValueError(f"type must be one that the course writes, such as Q4_K, got {kind.name}, which llama.cpp"
                         " writes: `llama-quantize --imatrix FILE`, or ggml.native.quantize")  # fmt: skip
    values = _matrix(x)
    if imatrix is not None:
        imatrix = _importance(imatrix, values.shape[1])
        imatrix = imatrix if kind.uses_imatrix else None
    blocks = kind.quantize(values, imatrix)
    return torch.from_numpy(blocks).to(x.device) if isinstance(x, Tensor) else blocks


def dequantize(blocks, name: str):
    """float32 (rows, cols) of blocks uint8 (rows, row_bytes); a tensor for a tensor, an array for an array.

    >>> dequantize(quantize(torch.full((1, 32), 0.5), "Q8_0"), "Q8_0").unique().tolist()
    [0.499969482421875]
    """
    kind = block_type(name)
    data = blocks.detach().cpu().numpy() if isinstance(blocks, Tensor) else np.asarray(blocks)
    if data.dtype != np.uint8 or data.ndim != 2:
        raise ValueError(f"blocks must be uint8 (rows, row_bytes), got {data.dtype} of shape {data.shape}")
    values = kind.dequantize(data)
    return torch.from_numpy(values).to(blocks.device) if isinstance(blocks, Tensor) else values


def _matrix(x) -> np.ndarray:
    """x as a contiguous float32 matrix, or one clear sentence."""
    values = x.detach().float().cpu().numpy() if isinstance(x, Tensor) else np.asarray(x)
    if values.dtype.kind != "f" or values.ndim != 2 or values.size == 0:
        raise ValueError(f"x must be a floating-point matrix (rows, cols), got {values.dtype} of shape {values.shape}")
    values = np.ascontiguousarray(values, np.float32)
    if not np.isfinite(values).all():
        raise ValueError("x must be finite in float32, got NaN or infinity")
    return values


def _importance(imatrix, cols: int) -> np.ndarray:
    """imatrix as float32 (cols,), checked."""
    weights = imatrix.detach().float().cpu().numpy() if isinstance(imatrix, Tensor) else np.asarray(imatrix)
    weights = np.ascontiguousarray(weights, np.float32)
    if weights.shape != (cols,) or not np.isfinite(weights).all() or (weights < 0).any():
        raise ValueError(f"imatrix must hold {cols} finite numbers >= 0, one a column, got shape {weights.shape}")
    return weights
