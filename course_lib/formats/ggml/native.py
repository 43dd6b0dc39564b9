"""ggml's own C code, as the xllamacpp wheel carries it: the bytes that ours are held against."""

from __future__ import annotations

import ctypes
import functools
from pathlib import Path

import numpy as np
import torch
from torch import Tensor


@functools.cache
def library() -> ctypes.CDLL:
    """The shared object with ggml in it; ModuleNotFoundError where xllamacpp is not installed."""
    import xllamacpp

    files = sorted(Path(xllamacpp.__file__).parent.glob("xllamacpp*"))
    found = ctypes.CDLL(str(next(path for path in files if path.suffix in (".so", ".pyd"))))
    pointer, size = ctypes.c_void_p, ctypes.c_int64
    found.ggml_quantize_chunk.restype = found.ggml_row_size.restype = ctypes.c_size_t
    found.ggml_quantize_chunk.argtypes = [ctypes.c_int, pointer, pointer, size, size, size, pointer]
    found.ggml_row_size.argtypes = [ctypes.c_int, size]
    return found


def quantize(x, name: str, imatrix=None) -> Tensor:
    """Blocks uint8 (rows, row_bytes) of x (rows, cols), written by ggml_quantize_chunk; types that need no imatrix.

    >>> quantize(torch.linspace(-1, 1, 32)[None], "Q4_0")[0, :4].tolist()
    [0, 48, 128, 145]
    """
    import gguf

    kind = gguf.GGMLQuantizationType[name]
    elements, _ = gguf.GGML_QUANT_SIZES[kind]
    x = np.ascontiguousarray(torch.as_tensor(x).detach().float().cpu().numpy())
    if x.ndim != 2 or x.shape[1] % elements or not x.size or not np.isfinite(x).all():
        raise ValueError(f"x must be finite (rows, cols) with cols a multiple of {elements}, got shape {x.shape}")
    weights = None if imatrix is None else np.ascontiguousarray(imatrix, np.float32)
    if weights is not None and weights.shape != x.shape[1:]:
        raise ValueError(f"imatrix must hold {x.shape[1]} numbers, one a column, got shape {weights.shape}")
    out = np.zeros((len(x), library().ggml_row_size(kind.value, x.shape[1])), np.uint8)
    of = None if weights is None else weights.ctypes.data
    library().ggml_quantize_chunk(kind.value, x.ctypes.data, out.ctypes.data, 0, *x.shape, of)
    return torch.from_numpy(out)
