"""Products in whole numbers, as llama.cpp's CPU code makes them: the input is rounded, too, and no block is decoded.

With 256 numbers of an input x ≈ d₈ x₈ (Q8_K: a float32 scale, int8 numbers) a super-block of Q4_K, w = d sc q − dmin m,
gives

    Σ w x  ≈  d d₈ Σ_j sc_j (Σ_i q_i x₈_i)  −  dmin d₈ Σ_j m_j (Σ_i x₈_i)        j: sub-blocks of 32, i: within one

in which both inner sums are whole. The right ones do not depend on the weights: Q8_K stores them, 16 numbers each.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from course_lib.formats.ggml.block import first_largest, nearest_int
from course_lib.formats.ggml.fields import split_scales
from course_lib.formats.ggml.kquants import Q4_K

F = np.float32
Q8_K = np.dtype([("d", "<f4"), ("qs", "i1", 256), ("bsums", "<i2", 16)])  # 292 bytes; only in memory, never in a file


def q8_k(x: Tensor) -> np.ndarray:
    """Records (k/256,) of an input x (k,), each as ggml's `quantize_row_q8_K_ref` makes it.

    x₈ = round(x · (−127 / largest)), d₈ = largest / −127, where largest is the number of largest size, with its sign.

    >>> record = q8_k(torch.linspace(-1, 1, 256))[0]
    >>> record["qs"][[0, 255]].tolist(), int(record["bsums"].sum())
    ([-127, 127], 0)
    """
    flat = np.asarray(torch.as_tensor(x).detach().float().cpu(), F)
    if flat.ndim != 1 or not len(flat) or len(flat) % 256 or not np.isfinite(flat).all():
        got = f"shape {tuple(flat.shape)}" if np.isfinite(flat).all() else "NaN or infinity"
        raise ValueError(f"x must be finite (k,) with k a multiple of 256, got {got}")
    columns = np.ascontiguousarray(flat.reshape(-1, 256).T)  # a block a column
    size, largest = first_largest(columns)
    iscale = np.divide(F(-127), largest, out=np.zeros_like(largest), where=size > 0)
    records = np.zeros(columns.shape[1], Q8_K)
    records["qs"] = np.minimum(nearest_int(columns * iscale), 127).T
    records["d"] = np.divide(F(1), iscale, out=np.zeros_like(iscale), where=size > 0)
    records["bsums"] = records["qs"].reshape(-1, 16, 16).sum(2, dtype=np.int16)
    return records


def q4_k(blocks: Tensor, x: Tensor) -> Tensor:
    """y (rows,) float32 of blocks uint8 (rows, row_bytes) of Q4_K and x (k,): whole numbers until a super-block's end.

    >>> from course_lib.formats import ggml
    >>> w, x = torch.linspace(-1, 1, 256)[None], torch.linspace(0, 1, 256)
    >>> round((w @ x).item(), 1), round(q4_k(ggml.quantize(w, "Q4_K"), x).item(), 1)
    (43.0, 43.1)
    """
    x8 = q8_k(x)
    if blocks.dim() != 2 or blocks.shape[1] != len(x8) * Q4_K.dtype.itemsize:
        wanted = len(x8) * Q4_K.dtype.itemsize
        raise ValueError(f"blocks must be (rows, {wanted}) bytes of Q4_K for this x, got shape {tuple(blocks.shape)}")
    records = np.ascontiguousarray(blocks.cpu().numpy()).reshape(-1).view(Q4_K.dtype)
    sc, m = (part.reshape(len(blocks), -1, 8).astype(np.int32) for part in split_scales(records["scales"]))
    qs = records["qs"].reshape(len(blocks), -1, 4, 1, 32)
    q = np.concatenate([qs & 15, qs >> 4], axis=3).reshape(len(blocks), -1, 8, 32)
    products = np.einsum("rbji,bji->rbj", q.astype(np.int32), x8["qs"].reshape(-1, 8, 32).astype(np.int32))
    sums = x8["bsums"].reshape(-1, 8, 2).sum(2, dtype=np.int32)  # (k/256, 8), once for all rows
    steps, offsets = (sc * products).sum(2), (m * sums).sum(2)  # (rows, k/256), whole
    d, dmin = (records[name].reshape(len(blocks), -1).astype(F) for name in ("d", "dmin"))
    return torch.from_numpy(((d * steps - dmin * offsets) * x8["d"]).astype(F).sum(1, dtype=F))
