"""ggml's own C code, as the xllamacpp wheel carries it: the bytes that ours are held against."""

from __future__ import annotations

import ctypes
import functools
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from course_lib.formats import ggml


@functools.cache
def library() -> ctypes.CDLL:
    """The shared object with ggml in it; ImportError where xllamacpp is missing or, as on Windows, shows no C."""
    import xllamacpp

    files = sorted(Path(xllamacpp.__file__).parent.glob("xllamacpp*"))
    found = ctypes.CDLL(str(next(path for path in files if path.suffix in (".so", ".pyd"))))
    try:
        _declare(found)
    except AttributeError as error:
        raise ImportError(
            "this wheel of xllamacpp does not export ggml's C functions, as none for Windows does; those for Linux and "
            f"macOS do ({error})"
        ) from None
    found.ggml_cpu_init()  # fills the table of halves that products read
    return found


def _declare(found: ctypes.CDLL) -> None:
    pointer, size = ctypes.c_void_p, ctypes.c_int64
    found.ggml_quantize_chunk.restype = found.ggml_row_size.restype = ctypes.c_size_t
    found.ggml_quantize_chunk.argtypes = [ctypes.c_int, pointer, pointer, size, size, size, pointer]
    found.ggml_row_size.argtypes = [ctypes.c_int, size]
    found.ggml_quantize_requires_imatrix.restype = ctypes.c_bool
    found.quantize_row_q8_K_ref.argtypes = [pointer, pointer, size]
    found.ggml_vec_dot_q4_K_q8_K.argtypes = [
        ctypes.c_int, pointer, ctypes.c_size_t, pointer, ctypes.c_size_t, pointer, ctypes.c_size_t, ctypes.c_int
    ]  # fmt: skip


def quantize(x, name: str, imatrix=None) -> Tensor:
    """Blocks uint8 (rows, row_bytes) of x (rows, cols), written by ggml_quantize_chunk: any block type.

    imatrix: importance of each column, (cols,); ValueError where ggml wants one (IQ2_XXS, IQ2_XS, IQ1_S) and gets none.

    >>> quantize(torch.linspace(-1, 1, 32)[None], "Q4_0")[0, :4].tolist()
    [0, 48, 128, 145]
    """
    kind = ggml.block_type(name)
    x = np.ascontiguousarray(torch.as_tensor(x).detach().float().cpu().numpy())
    if x.ndim != 2 or x.shape[1] % kind.elements or not x.size or not np.isfinite(x).all():
        raise ValueError(f"x must be finite (rows, cols) with cols a multiple of {kind.elements}, got shape {x.shape}")
    weights = None if imatrix is None else np.ascontiguousarray(imatrix, np.float32)
    if weights is not None and weights.shape != x.shape[1:]:
        raise ValueError(f"imatrix must hold {x.shape[1]} numbers, one a column, got shape {weights.shape}")
    if weights is None and library().ggml_quantize_requires_imatrix(kind.type_id):
        raise ValueError(f"imatrix must be given for {kind.name}, which llama.cpp does not write without, got None")
    out = np.zeros((len(x), kind.row_bytes(x.shape[1])), np.uint8)
    of = None if weights is None else weights.ctypes.data
    library().ggml_quantize_chunk(kind.type_id, x.ctypes.data, out.ctypes.data, 0, *x.shape, of)
    return torch.from_numpy(out)


def q8_k(x: Tensor) -> Tensor:
    """Bytes uint8 (k/256, 292) of an input x (k,) by quantize_row_q8_K_ref."""
    x = np.ascontiguousarray(torch.as_tensor(x).detach().float().cpu().numpy())
    if x.ndim != 1 or x.size % 256 or not x.size:
        raise ValueError(f"x must be (k,) with k a multiple of 256, got shape {x.shape}")
    out = np.zeros((x.size // 256, 292), np.uint8)
    library().quantize_row_q8_K_ref(x.ctypes.data, out.ctypes.data, x.size)
    return torch.from_numpy(out)


def q4_k(blocks: Tensor, x: Tensor) -> Tensor:
    """y (rows,) of blocks uint8 (rows, row_bytes) of Q4_K and x (k,), a row a call of ggml_vec_dot_q4_K_q8_K."""
    inputs, rows = q8_k(x), blocks.contiguous()
    if rows.dim() != 2 or rows.shape[1] != len(inputs) * 144:
        raise ValueError(f"blocks must be (rows, {len(inputs) * 144}) bytes for this x, got shape {tuple(rows.shape)}")
    y = torch.zeros(len(rows))
    for i, row in enumerate(rows):
        at = y.data_ptr() + 4 * i
        library().ggml_vec_dot_q4_K_q8_K(256 * len(inputs), at, 0, row.data_ptr(), 0, inputs.data_ptr(), 0, 1)
    return y
