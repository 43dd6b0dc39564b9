"""Attention of one new token over a cache of codes: FP8, INT8 or INT4, in pages, split over the sequence.

A page holds 2^p tokens of every KV head. Keys have a scale (and zero) per channel of a page, values one per token:

    score[t] = Σ_d q[d]·s_K[d]·(k[t, d] − z_K[d])       out[d] = Σ_t p[t]·s_V[t]·(v[t, d] − z_V[t])

Neither scale touches a code: s_K goes into the query once a page, s_V into the probabilities. Each program takes one
sequence, one KV head with the query heads that share it, and one part of the pages; it keeps a running softmax
(maximum, sum, weighted values). The parts are put together at the end, weighted by their own sums.
"""

from __future__ import annotations

import math

import torch
import triton
import triton.language as tl
from torch import Tensor

from course_lib.kernels import ON_GPU, digits, interpreter  # noqa: F401  interpreter is mended by its import
from course_lib.kernels.kv_pages import KINDS, Pages, check
from course_lib.kernels.measure.tune import quickest


def text(how: str, less: str) -> str:
    """PTX: $0 = what `how` makes of the two halfwords in $1, less $2, as float16."""
    return f"{{ .reg .b32 t, c; .reg .b16 b; {how} {less} }}"


ZERO = "sub.f16x2 $0, $0, $2;"
FP8 = tl.constexpr([[text(f"prmt.b32 t, $1, 0, {choice}; cvt.u16.u32 b, t; cvt.rn.f16x2.e4m3x2 $0, b;", less)
                     for choice in ("0x4420", "0x4431")] for less in ("", ZERO)])  # fmt: skip
INT8 = tl.constexpr([[text(f"shr.u32 t, $1, {shift}; lop3.b32 $0, t, 0x00FF00FF, 0x64806480, 0x6A;", less)
                      for shift in (0, 8)]
                     for less in ("", "mov.b32 c, 0x64806480; sub.f16x2 $0, $0, c; " + ZERO)])  # fmt: skip
INT4 = tl.constexpr([[text(f"{shift}; lop3.b32 $0, t, 0x03C003C0, 0x4C004C00, 0xEA;", less)
                      for shift in ("shl.b32 t, $1, 6", "shl.b32 t, $1, 2", "shr.u32 t, $1, 2", "shr.u32 t, $1, 6")]
                     for less in ("", ZERO)])  # fmt: skip


@triton.jit
def numbers(w, j: tl.constexpr, zero, LESS: tl.constexpr, BITS: tl.constexpr, SIGNED: tl.constexpr,
            kind: tl.constexpr, ASM: tl.constexpr):  # fmt: skip
    """Code j of each halfword plus `lift` as `kind`, less zero where LESS (which takes the lift off, too).

    In float16 a code of 4 bits among the first bits of 16 is 16 + code, one of 8 bits among the last of 1024 is
    1024 + 128 + code: no conversion, two neighbours at a time."""
    if ASM and kind == tl.float16:
        zero = tl.broadcast_to(zero, w.shape)
        if SIGNED:
            return tl.inline_asm_elementwise(FP8[LESS][j], "=r,r,r", [w, zero], tl.float16, True, 2)
        elif BITS == 8:
            return tl.inline_asm_elementwise(INT8[LESS][j], "=r,r,r", [w, zero], tl.float16, True, 2)
        else:
            return tl.inline_asm_elementwise(INT4[LESS][j], "=r,r,r", [w, zero], tl.float16, True, 2)
    else:
        code = (w.to(tl.int32) >> (BITS * j)) & (255 if BITS == 8 else 15)
        if SIGNED:
            value = code.to(tl.uint8).to(tl.float8e4nv, bitcast=True).to(tl.float32)
        elif BITS == 8:
            value = code.to(tl.int8).to(tl.float32) + (0.0 if LESS else 1152.0)
        else:
            value = code.to(tl.float32) + 16.0
        return (value - zero.to(tl.float32)).to(kind) if LESS else value.to(kind)


@triton.jit
def add_scores(score, w, j: tl.constexpr, q, ks, kz, channel, BITS: tl.constexpr, SIGNED: tl.constexpr,
               kind: tl.constexpr, ASM: tl.constexpr):  # fmt: skip
    """score (tokens, G) + keys · q over the channels of code j."""
    a = q * tl.load(ks + channel)[:, None]
    z = (tl.load(kz + channel) + (16.0 if BITS == 4 else 0.0)).to(kind)[None, :]
    return tl.dot(numbers(w, j, z, True, BITS, SIGNED, kind, ASM), a.to(kind), score, input_precision="ieee")


@triton.jit
def attend(q, keys, values, ks, kz, vs, vz, table, lengths, out, top, total, heads, most, count, window, scale,
           SHARED: tl.constexpr, G: tl.constexpr, D: tl.constexpr, SIZE: tl.constexpr, BITS: tl.constexpr,
           SIGNED: tl.constexpr, ASM: tl.constexpr, T: tl.constexpr, STAGES: tl.constexpr):  # fmt: skip
    """One part of one sequence and KV head -> out (sequences, heads, SHARED, parts, D), top and total (…, parts).

    Keys and values are read as halfwords of two or four codes. Halfword h holds channels 2h and 2h + 1 (8 bits), or
    2h, 2h + D/2, 2h + 1 and 2h + 1 + D/2 (4 bits): the codes at one place of all halfwords make one matrix."""
    sequence, head, part = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    parts = tl.num_programs(2)
    kind: tl.constexpr = tl.float32 if q.dtype.element_ty == tl.float32 else tl.float16
    FOUR: tl.constexpr = BITS == 4
    H: tl.constexpr = D // 4 if FOUR else D // 2  # halfwords of a row
    FAR: tl.constexpr = D // 2 if FOUR else 1  # from the first to the second channel of a halfword
    g, t, c = tl.arange(0, G), tl.arange(0, T), 2 * tl.arange(0, H)
    length = tl.load(lengths + sequence)
    first = tl.maximum(length - window, 0)
    low, tiles = first // T, tl.cdiv(tl.minimum(length, most * SIZE), T)
    each = tl.cdiv(tiles - low, parts)
    mine = (g < SHARED)[None, :]
    base = q + ((sequence * heads + head) * SHARED + g[None, :]) * D + c[:, None]
    q0 = tl.load(base, mask=mine, other=0.0).to(tl.float32) * scale
    q1 = tl.load(base + FAR, mask=mine, other=0.0).to(tl.float32) * scale
    acc0, acc1 = tl.zeros((H, G), tl.float32), tl.zeros((H, G), tl.float32)
    if FOUR:
        q2 = tl.load(base + 1, mask=mine, other=0.0).to(tl.float32) * scale
        q3 = tl.load(base + 1 + FAR, mask=mine, other=0.0).to(tl.float32) * scale
        acc2, acc3 = tl.zeros((H, G), tl.float32), tl.zeros((H, G), tl.float32)
    m = tl.full((G,), -1e30, tl.float32)
    sums, below = tl.zeros((T, G), tl.float32), tl.zeros((T, G), tl.float32)
    none = tl.zeros((1, 1), kind)
    LIFT: tl.constexpr = 0.0 if SIGNED else 16.0 if FOUR else 1152.0
    broken = length > most * SIZE  # more tokens than pages
    for i in tl.range(low + part * each, tl.minimum(low + part * each + each, tiles), num_stages=STAGES):
        page = tl.load(table + sequence * most + i * T // SIZE)
        broken |= (page < 0) | (page >= count)
        page = tl.maximum(tl.minimum(page, count - 1), 0)
        token = i * T + t
        known = (token < length) & (token >= first)
        line = (page.to(tl.int64) * SIZE + i * T % SIZE + t) * heads + head
        channel = (page * heads + head) * D + c
        at = line[:, None] * H + tl.arange(0, H)[None, :]
        k = tl.load(keys + at)
        v = tl.load(values + at)
        sv = tl.where(known, tl.load(vs + line), 0.0)
        zv = tl.where(known, tl.load(vz + line), 0.0) + LIFT
        score = tl.zeros((T, G), tl.float32)
        score = add_scores(score, k, 0, q0, ks, kz, channel, BITS, SIGNED, kind, ASM)
        score = add_scores(score, k, 1, q1, ks, kz, channel + FAR, BITS, SIGNED, kind, ASM)
        if FOUR:
            score = add_scores(score, k, 2, q2, ks, kz, channel + 1, BITS, SIGNED, kind, ASM)
            score = add_scores(score, k, 3, q3, ks, kz, channel + 1 + FAR, BITS, SIGNED, kind, ASM)
        score = tl.where(known[:, None], score, -1e38)
        size = tl.log2(tl.maximum(tl.abs(sv), 1e-30))[:, None]
        new = tl.maximum(m, tl.max(score + size, axis=0))  # no weight p·s_V is above 1, so that float16 holds it
        old = tl.exp2(m - new)[None, :]
        p = tl.exp2(score - new[None, :])
        w = (p * sv[:, None]).to(kind)
        sums = sums * old + p
        below = below * old + w.to(tl.float32) * zv[:, None]
        acc0 = tl.dot(numbers(v, 0, none, False, BITS, SIGNED, kind, ASM).T, w, acc0 * old, input_precision="ieee")
        acc1 = tl.dot(numbers(v, 1, none, False, BITS, SIGNED, kind, ASM).T, w, acc1 * old, input_precision="ieee")
        if FOUR:
            acc2 = tl.dot(numbers(v, 2, none, False, BITS, SIGNED, kind, ASM).T, w, acc2 * old, input_precision="ieee")
            acc3 = tl.dot(numbers(v, 3, none, False, BITS, SIGNED, kind, ASM).T, w, acc3 * old, input_precision="ieee")
        m = new
    row = ((sequence * heads + head) * SHARED + g) * parts + part
    to = out + row[None, :] * D + c[:, None]
    under = tl.sum(below, axis=0)[None, :]
    tl.store(to, acc0 - under, mask=mine)
    tl.store(to + FAR, acc1 - under, mask=mine)
    if FOUR:
        tl.store(to + 1, acc2 - under, mask=mine)
        tl.store(to + 1 + FAR, acc3 - under, mask=mine)
    tl.store(top + row, tl.where(broken, float("nan"), m), mask=g < SHARED)
    tl.store(total + row, tl.sum(sums, axis=0), mask=g < SHARED)


@triton.jit
def together(out, top, total, y, parts, P: tl.constexpr, D: tl.constexpr):
    """The parts of one query head, weighted by their own maxima and sums -> y (query heads, D)."""
    row, p, d = tl.program_id(0), tl.arange(0, P), tl.arange(0, D)
    tops = tl.load(top + row * parts + p, mask=p < parts, other=-1e30)
    weight = tl.where(p < parts, tl.exp2(tops - tl.max(tops, axis=0)), 0.0)
    sums = tl.sum(weight * tl.load(total + row * parts + p, mask=p < parts, other=0.0), axis=0)
    values = tl.load(out + (row * parts + p[:, None]) * D + d[None, :], mask=(p < parts)[:, None], other=0.0)
    whole = tl.sum(values * weight[:, None], axis=0)
    whole = tl.where(sums == 0.0, 0.0, whole / tl.where(sums == 0.0, 1.0, sums))
    tl.store(y + row * D + d, whole.to(y.dtype.element_ty))


def decode_attention(q: Tensor, pages: Pages, window: int | None = None, parts: int | None = None,
                     with_lse: bool = False):  # fmt: skip
    """softmax(q Kᵀ/√D) V for one new token of each sequence, over the cached tokens (the last `window` of them).

    q (sequences, query heads, D), D a power of two from 32 on, query heads a multiple of the cache's; the result is
    like q; with_lse adds log2 of each head's Σ exp, (sequences, query heads), by which it can be joined with attention
    over other tokens. A sequence of length 0 gives zeros. ValueError for shapes that do not match, and on a CPU for a
    length beyond its pages or a page that is not there; a GPU, which would have to be waited for, gives NaN for those:
    `Pages.check` asks it. A page's slots after the length may hold any code but fp8's NaN.
    """
    check(q, pages)
    if q.device.type == "cpu":
        pages.check()
    if not q.numel():
        return (torch.empty_like(q), q.new_zeros(q.shape[:2], dtype=torch.float32)) if with_lse else torch.empty_like(q)
    q, rows, size = q.contiguous(), len(q) * pages.keys.shape[2], pages.keys.shape[1]
    large = pages.table.numel() * size >= 2**15  # tokens: enough to measure
    key = ("kv", pages.keys.dtype, q.dtype, q.shape[2], q.shape[1] // pages.keys.shape[2], size, rows >= 32)
    tile = quickest(key, TILES, lambda tile: launch(q, pages, window, parts, tile)) if large else TILES[0]
    y, top, total = launch(q, pages, window, parts, tile)
    if with_lse:
        most = top.amax(-1, keepdim=True)
        return y, most[..., 0] + torch.log2((total * torch.exp2(top - most)).sum(-1))
    return y


TILES = [  # tokens at a time, stages, warps, and programs that a multiprocessor of an H100 or H200 may hold at once
    {"T": tokens, "STAGES": stages, "num_warps": warps, "resident": resident}
    for tokens, stages, warps, resident in (
        (64, 2, 2, 4), (64, 1, 2, 4), (64, 1, 2, 6), (32, 1, 1, 8), (32, 1, 1, 12), (32, 1, 2, 6), (32, 1, 2, 8)
    )
]  # fmt: skip


def launch(q: Tensor, pages: Pages, window: int | None, parts: int | None, tile: dict):
    """(result, each part's maximum, each part's sum)."""
    (sequences, query_heads, width), (count, size, heads, _) = q.shape, pages.keys.shape
    shared, most = query_heads // heads, pages.table.shape[1]
    tile = tile | {"T": min(tile["T"], size)}
    parts = parts or split(sequences * heads, most, 132 * tile["resident"])
    del tile["resident"]
    out = torch.empty((sequences, query_heads, parts, width), dtype=torch.float32, device=q.device)
    top, total = (torch.empty(out.shape[:-1], dtype=torch.float32, device=q.device) for _ in range(2))
    kind, y = pages.keys.dtype, torch.empty_like(q)
    attend[(sequences, heads, parts)](
        q, halfwords(pages.keys), halfwords(pages.values), pages.key_scale, pages.key_zero, pages.value_scale,
        pages.value_zero, pages.table, pages.lengths, out, top, total, heads, most, count, window or 2**30,
        math.log2(math.e) / math.sqrt(width), SHARED=shared, G=max(8, triton.next_power_of_2(shared)), D=width,
        SIZE=size, BITS=KINDS[kind], SIGNED=kind == torch.float8_e4m3fn, ASM=digits.ASM, **tile,
    )  # fmt: skip
    together[(sequences * query_heads,)](out, top, total, y, parts, P=triton.next_power_of_2(parts), D=width)
    return y, top, total


def split(rows: int, most: int, programs: int) -> int:
    """Parts of a sequence of up to `most` pages: `programs` in all, but at least two pages in each."""
    return max(1, min(programs // rows, most // 2, 128)) if ON_GPU else 2


def halfwords(codes: Tensor) -> Tensor:
    return codes.contiguous().view(torch.int16)
