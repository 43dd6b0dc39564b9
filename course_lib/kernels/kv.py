"""Attention of one new token over a cache of codes: FP8, INT8 or INT4, in pages, split over the sequence.

A page holds 2^p tokens of every KV head. Keys have a scale (and zero) per channel of a page, values one per token:

    score[t] = Σ_d q[d]·s_K[d]·(k[t, d] − z_K[d])       out[d] = Σ_t p[t]·s_V[t]·(v[t, d] − z_V[t])

Neither scale touches a code: s_K goes into the query once a page, s_V into the probabilities. Each program takes one
sequence, one KV head with the query heads that share it, and one part of the pages; it keeps a running softmax
(maximum, sum, weighted values). The parts are put together at the end, weighted by their own sums.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from torch import Tensor

from course_lib.kernels import ON_GPU, interpreter  # noqa: F401  interpreter is mended by its import

KINDS = {torch.int8: 8, torch.uint8: 4, torch.float8_e4m3fn: 8}  # uint8: two 4-bit codes, d and d + D/2


@dataclass(frozen=True, eq=False)
class Pages:
    """A paged cache of codes.

    ===============  ==================================  =========================================
    keys, values     (pages, size, heads, D or D/2)      int8, float8_e4m3fn, or uint8 (two 4-bit codes a byte)
    key_scale, _zero (pages, heads, D) float32           per channel of a page
    value_scale, _z  (pages, size, heads) float32        per token
    table            (sequences, pages of one) int32     which pages a sequence has, in its order
    lengths          (sequences,) int32                  tokens of each
    ===============  ==================================  =========================================
    """

    keys: Tensor
    values: Tensor
    key_scale: Tensor
    key_zero: Tensor
    value_scale: Tensor
    value_zero: Tensor
    table: Tensor
    lengths: Tensor

    def to(self, device) -> Pages:
        return Pages(**{name: value.to(device) for name, value in vars(self).items()})


@triton.jit
def codes(at, inside, HIGH: tl.constexpr, BITS: tl.constexpr, SIGNED: tl.constexpr, dtype: tl.constexpr):
    """A tile of codes in dtype, which holds each of them exactly; of two in a byte the low or the high one."""
    value = tl.load(at, mask=inside, other=0.0 if SIGNED else 0)
    if BITS == 4:
        value = (value >> 4) if HIGH else (value & 15)
    return value.to(tl.float32).to(dtype)


@triton.jit
def attend(q, keys, values, ks, kz, vs, vz, table, lengths, out, top, total, heads, most, window, scale,
           G: tl.constexpr, D: tl.constexpr, SIZE: tl.constexpr, BITS: tl.constexpr, SIGNED: tl.constexpr):  # fmt: skip
    """One part of one sequence and KV head -> out (parts, sequences, heads, G, D), top and total (…, G)."""
    sequence, head, part = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    parts = tl.num_programs(2)
    W: tl.constexpr = D // 2  # work on half the channels at a time: the two nibbles of a byte, or two halves of a row
    ROW: tl.constexpr = W if BITS == 4 else D
    UP: tl.constexpr = 0 if BITS == 4 else W
    kind = q.dtype.element_ty  # products of 16 bits on the matrix units, unless q has 32
    g, d, t = tl.arange(0, G), tl.arange(0, W), tl.arange(0, SIZE)
    length = tl.load(lengths + sequence)
    first = tl.maximum(length - window, 0)
    pages = tl.cdiv(length, SIZE)
    each = tl.cdiv(pages, parts)
    base = ((sequence * heads + head) * G + g[:, None]) * D + d[None, :]
    q0 = tl.load(q + base).to(tl.float32) * scale
    q1 = tl.load(q + base + W).to(tl.float32) * scale
    acc0, acc1 = tl.zeros((G, W), tl.float32), tl.zeros((G, W), tl.float32)
    m, s = tl.full((G,), -1e30, tl.float32), tl.zeros((G,), tl.float32)
    for i in range(part * each, tl.minimum(part * each + each, pages)):
        page = tl.load(table + sequence * most + i)
        token = i * SIZE + t
        known = (token < length) & (token >= first)
        row = ((page * SIZE + t) * heads + head) * ROW
        channel = (page * heads + head) * D + d
        a0 = q0 * tl.load(ks + channel)[None, :]
        a1 = q1 * tl.load(ks + channel + W)[None, :]
        shift = tl.sum(a0 * tl.load(kz + channel)[None, :] + a1 * tl.load(kz + channel + W)[None, :], axis=1)
        k0 = codes(keys + row[None, :] + d[:, None], known[None, :], False, BITS, SIGNED, kind)  # (W, SIZE)
        k1 = codes(keys + row[None, :] + UP + d[:, None], known[None, :], True, BITS, SIGNED, kind)
        score = (
            tl.dot(a0.to(kind), k0, input_precision="ieee")
            + tl.dot(a1.to(kind), k1, input_precision="ieee")
            - shift[:, None]
        )
        score = tl.where(known[None, :], score, -1e30)
        new = tl.maximum(m, tl.max(score, axis=1))
        old, p = tl.exp(m - new), tl.where(known[None, :], tl.exp(score - new[:, None]), 0.0)
        s = s * old + tl.sum(p, axis=1)
        p *= tl.load(vs + (page * SIZE + t) * heads + head, mask=known, other=0.0)[None, :]
        below = tl.sum(p * tl.load(vz + (page * SIZE + t) * heads + head, mask=known, other=0.0)[None, :], axis=1)
        p = p.to(kind)
        v0 = codes(values + row[:, None] + d[None, :], known[:, None], False, BITS, SIGNED, kind)
        v1 = codes(values + row[:, None] + UP + d[None, :], known[:, None], True, BITS, SIGNED, kind)
        acc0 = acc0 * old[:, None] + tl.dot(p, v0, input_precision="ieee") - below[:, None]
        acc1 = acc1 * old[:, None] + tl.dot(p, v1, input_precision="ieee") - below[:, None]
        m = new
    line = ((part * tl.num_programs(0) + sequence) * heads + head) * G + g
    tl.store(out + line[:, None] * D + d[None, :], acc0)
    tl.store(out + line[:, None] * D + W + d[None, :], acc1)
    tl.store(top + line, m)
    tl.store(total + line, s)


def decode_attention(q: Tensor, pages: Pages, window: int | None = None, parts: int | None = None) -> Tensor:
    """softmax(q Kᵀ/√D) V for one new token of each sequence, over the cached tokens (the last `window` of them).

    q (sequences, query heads, D), D a power of two from 32 on, query heads a multiple of the cache's; the result is
    like q. A sequence of length 0 gives zeros. ValueError for shapes that do not match, a length beyond its pages,
    a page that is not there.
    """
    check(q, pages)
    sequences, query_heads, width = q.shape
    _, size, heads, _ = pages.keys.shape
    shared = query_heads // heads
    group = max(16, triton.next_power_of_2(shared))  # a matrix instruction wants 16 rows
    padded = q.new_zeros((sequences, heads, group, width))
    padded[:, :, :shared] = q.reshape(sequences, heads, shared, width)
    parts = parts or (max(1, min(8, pages.table.shape[1] * size // 512)) if ON_GPU else 2)
    out = torch.empty((parts, *padded.shape), dtype=torch.float32, device=q.device)
    top, total = (torch.empty(out.shape[:-1], dtype=torch.float32, device=q.device) for _ in range(2))
    kind = pages.keys.dtype
    attend[(sequences, heads, parts)](
        padded, pages.keys, pages.values, pages.key_scale, pages.key_zero, pages.value_scale, pages.value_zero,
        pages.table, pages.lengths, out, top, total, heads, pages.table.shape[1], window or 2**30, 1 / math.sqrt(width),
        G=group, D=width, SIZE=size, BITS=KINDS[kind], SIGNED=kind == torch.float8_e4m3fn,
    )  # fmt: skip
    weight = torch.exp(top - top.amax(0))  # of each part
    y = (out * weight[..., None]).sum(0) / (total * weight).sum(0).clamp(min=1e-30)[..., None]
    return y[:, :, :shared].reshape(q.shape).to(q.dtype)


def check(q: Tensor, pages: Pages) -> None:
    count, size, heads, stored = pages.keys.shape
    if pages.keys.dtype not in KINDS or pages.values.dtype != pages.keys.dtype:
        got = f"{pages.keys.dtype} and {pages.values.dtype}"
        raise ValueError(f"keys and values must both be int8, float8_e4m3fn or uint8, got {got}")
    width = stored * (2 if pages.keys.dtype == torch.uint8 else 1)
    if q.dim() != 3 or q.shape[2] != width or q.shape[1] % heads or len(q) != len(pages.lengths):
        raise ValueError(f"q must be ({len(pages.lengths)}, a multiple of {heads}, {width}), got {tuple(q.shape)}")
    if width < 32 or width & (width - 1) or size < 16 or size & (size - 1):
        raise ValueError(f"channels and page size must be powers of two from 32 and 16 on, got {width} and {size}")
    room = pages.table.shape[1] * size
    if len(q) and not 0 <= int(pages.lengths.min()) <= int(pages.lengths.max()) <= room:
        raise ValueError(
            f"lengths must lie in 0…{room}, what a row of the table has room for, got {pages.lengths.tolist()}"
        )
    if pages.table.numel() and not 0 <= int(pages.table.min()) <= int(pages.table.max()) < count:
        raise ValueError(
            f"the table must name pages 0…{count - 1}, got {int(pages.table.min())}…{int(pages.table.max())}"
        )
