"""Attention of one new token over a cache of codes: FP8, INT8 or INT4, in pages, split over the sequence.

A page holds 2^p tokens of every KV head. Keys have a scale (and zero) per channel of a page, values one per token:

    score[t] = Σ_d q[d]·s_K[d]·(k[t, d] − z_K[d])       out[d] = Σ_t p[t]·s_V[t]·(v[t, d] − z_V[t])

Neither scale touches a code: s_K goes into the query once a page, s_V into the probabilities. Nor does a zero: what it
takes off is one number for all tokens of a page, or for all channels. Each program takes one sequence, one KV head with
the query heads that share it, and one part of the pages; it keeps a running softmax (maximum, sum, weighted values).
The parts are put together at the end, weighted by their own sums.

A program is one or two warps, since every step of a softmax over more is a barrier; while it works on a tile, the next
two are on their way into shared memory, and the page after them is looked up.
"""

from __future__ import annotations

import math

import torch
import triton
import triton.language as tl
from torch import Tensor
from triton.language.extra.cuda import gdc_launch_dependents, gdc_wait

from course_lib.kernels import ON_GPU, digits, fused, interpreter  # noqa: F401  interpreter is mended by its import
from course_lib.kernels.kv_codes import logarithm_and_inverse, numbers, pairs, power
from course_lib.kernels.kv_pages import KINDS, Pages, check, laid
from course_lib.kernels.measure.tune import quickest


@triton.jit
def fold(q, s, z, LIFT: tl.constexpr, kind: tl.constexpr):
    """q·s_K (H, G) as `kind`, and its products with what is to be taken off the codes."""
    a = (q * s[:, None]).to(kind)
    return a, a.to(tl.float32) * (z + LIFT)[:, None]


@triton.jit
def twice(x, TWICE: tl.constexpr):
    """Each column (H, G) beside itself, (H, 2G)."""
    return tl.reshape(tl.join(x, x), (x.shape[0], 2 * x.shape[1])) if TWICE else x


@triton.jit(do_not_specialize=["most", "count", "window"])
def attend(q, keys, values, ks, kz, vs, vz, table, lengths, out, top, total, most, count, window, scale,
           HEADS: tl.constexpr, SHARED: tl.constexpr, G: tl.constexpr, D: tl.constexpr, SIZE: tl.constexpr,
           BITS: tl.constexpr, SIGNED: tl.constexpr, HAS_ZERO: tl.constexpr, BY_HEAD: tl.constexpr, ASM: tl.constexpr,
           PDL: tl.constexpr, T: tl.constexpr, STAGES: tl.constexpr):  # fmt: skip
    """One part of one sequence and KV head -> out (sequences, heads, SHARED, parts, D), top and total (…, parts).

    Keys and values are read as halfwords of two or four codes. Halfword h holds channels 2h and 2h + 1 (8 bits), or
    2h, 2h + D/2, 2h + 1 and 2h + 1 + D/2 (4 bits): the codes at one place of all halfwords make one matrix. A matrix
    instruction has 8 columns: 4 query heads stand there twice, as neighbours in a thread, and the softmax takes one."""
    sequence, head, part = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    kind: tl.constexpr = tl.float32 if q.dtype.element_ty == tl.float32 else tl.float16
    FOUR: tl.constexpr = BITS == 4
    LIFT: tl.constexpr = 0.0 if SIGNED else 64.0 if FOUR else 384.0
    TWICE: tl.constexpr = G < 8
    N: tl.constexpr = 2 * G if TWICE else G
    H: tl.constexpr = D // 4 if FOUR else D // 2  # halfwords of a row
    FAR: tl.constexpr = D // 2 if FOUR else 1  # from the first to the second channel of a halfword
    TOKEN: tl.constexpr = 1 if BY_HEAD else HEADS  # rows from a token to the next
    HEAD: tl.constexpr = SIZE if BY_HEAD else 1
    g, t, h, c = tl.arange(0, G), tl.arange(0, T), tl.arange(0, H), 2 * tl.arange(0, H)
    length = tl.load(lengths + sequence)
    first = tl.maximum(length - window, 0)
    low, tiles = first // T, tl.cdiv(tl.minimum(length, most * SIZE), T)
    each = tl.cdiv(tiles - low, tl.num_programs(2))
    start = low + part * each
    mine = (g < SHARED)[None, :]
    base = q + ((sequence * HEADS + head) * SHARED + g[None, :]) * D + c[:, None]
    q0 = tl.load(base, mask=mine, other=0.0).to(tl.float32) * scale
    q1 = tl.load(base + FAR, mask=mine, other=0.0).to(tl.float32) * scale
    acc0, acc1 = tl.zeros((H, N), tl.float32), tl.zeros((H, N), tl.float32)
    if FOUR:
        q2 = tl.load(base + 1, mask=mine, other=0.0).to(tl.float32) * scale
        q3 = tl.load(base + 1 + FAR, mask=mine, other=0.0).to(tl.float32) * scale
        acc2, acc3 = tl.zeros((H, N), tl.float32), tl.zeros((H, N), tl.float32)
    m, sums = tl.full((G,), -1e30, tl.float32), tl.zeros((T, G), tl.float32)
    table += sequence * most
    entry = tl.load(table + tl.minimum(start * T // SIZE, most - 1), mask=start < tiles, other=0)
    broken = length > most * SIZE  # more tokens than pages
    for i in tl.range(start, tl.minimum(start + each, tiles), num_stages=STAGES):
        broken |= (entry < 0) | (entry >= count)
        page = tl.maximum(tl.minimum(entry, count - 1), 0).to(tl.int64)
        entry = tl.load(table + tl.minimum((i + 1) * T // SIZE, most - 1))  # for the next turn
        line = page * (SIZE * HEADS) + i * T % SIZE * TOKEN + head * HEAD
        k = tl.load(keys + line * H + t[:, None] * (TOKEN * H) + h[None, :])
        v = tl.load(values + line * H + t[None, :] * (TOKEN * H) + h[:, None])
        known = (i * T + t - first).to(tl.uint32) < (length - first).to(tl.uint32)
        sv = tl.load(vs + line + t * TOKEN, mask=known, other=0.0)
        channel = (page * HEADS + head) * D
        score = tl.zeros((T, N), tl.float32)
        if FOUR:
            s0, s2 = pairs(ks + channel, H)
            s1, s3 = pairs(ks + channel + FAR, H)
            z0, z2 = pairs(kz + channel, H)
            z1, z3 = pairs(kz + channel + FAR, H)
            a2, b2 = fold(q2, s2, z2, LIFT, kind)
            a3, b3 = fold(q3, s3, z3, LIFT, kind)
            score = tl.dot(numbers(k, 2, BITS, SIGNED, kind, ASM), twice(a2, TWICE), score, input_precision="ieee")
            score = tl.dot(numbers(k, 3, BITS, SIGNED, kind, ASM), twice(a3, TWICE), score, input_precision="ieee")
        else:
            s0, s1 = pairs(ks + channel, H)
            z0, z1 = pairs(kz + channel, H) if HAS_ZERO else (s0, s1)
        a0, b0 = fold(q0, s0, z0, LIFT, kind)
        a1, b1 = fold(q1, s1, z1, LIFT, kind)
        score = tl.dot(numbers(k, 0, BITS, SIGNED, kind, ASM), twice(a0, TWICE), score, input_precision="ieee")
        score = tl.dot(numbers(k, 1, BITS, SIGNED, kind, ASM), twice(a1, TWICE), score, input_precision="ieee")
        if TWICE:
            score, _ = tl.split(tl.reshape(score, (T, G, 2)))
        less = tl.sum(b0 + b1 + b2 + b3 if FOUR else b0 + b1, axis=0) if HAS_ZERO else tl.zeros((G,), tl.float32)
        size, inverse = logarithm_and_inverse(tl.maximum(tl.abs(sv), 1e-30), ASM)
        score += tl.where(known, size, -1e38)[:, None] - less[None, :]
        new = tl.maximum(m, tl.max(score, axis=0))
        old = power(m - new, ASM)[None, :]
        p = power(score - new[None, :], ASM)  # times |s_V|, and at most 1, so that float16 holds it
        sums = sums * old + p * inverse[:, None]
        w = (p * (sv * inverse)[:, None]).to(kind)
        if HAS_ZERO:
            zv = tl.load(vz + line + t * TOKEN, mask=known, other=0.0) + LIFT
            under = tl.sum(w.to(tl.float32) * zv[:, None], axis=0)[None, :]
        else:
            under = tl.zeros((1, G), tl.float32)
        w, old, under = twice(w, TWICE), twice(old, TWICE), twice(under, TWICE)
        acc0 = tl.dot(numbers(v, 0, BITS, SIGNED, kind, ASM), w, acc0 * old - under, input_precision="ieee")
        acc1 = tl.dot(numbers(v, 1, BITS, SIGNED, kind, ASM), w, acc1 * old - under, input_precision="ieee")
        if FOUR:
            acc2 = tl.dot(numbers(v, 2, BITS, SIGNED, kind, ASM), w, acc2 * old - under, input_precision="ieee")
            acc3 = tl.dot(numbers(v, 3, BITS, SIGNED, kind, ASM), w, acc3 * old - under, input_precision="ieee")
        m = new
    if PDL:
        gdc_launch_dependents()
    n = tl.arange(0, N)
    who = n // 2 if TWICE else n
    row = ((sequence * HEADS + head) * SHARED + who) * tl.num_programs(2) + part
    to, mine = out + row[None, :] * D + c[:, None], ((who < SHARED) & (n % 2 == 0 if TWICE else True))[None, :]
    tl.store(to, acc0, mask=mine)
    tl.store(to + FAR, acc1, mask=mine)
    if FOUR:
        tl.store(to + 1, acc2, mask=mine)
        tl.store(to + 1 + FAR, acc3, mask=mine)
    row = ((sequence * HEADS + head) * SHARED + g) * tl.num_programs(2) + part
    tl.store(top + row, tl.where(broken, float("nan"), m), mask=g < SHARED)
    tl.store(total + row, tl.sum(sums, axis=0), mask=g < SHARED)


@triton.jit(do_not_specialize=["parts"])
def together(out, top, total, y, parts, P: tl.constexpr, D: tl.constexpr, C: tl.constexpr, PDL: tl.constexpr):
    """The parts of one query head, weighted by their own maxima and sums -> C channels of y (query heads, D)."""
    row, p, d = tl.program_id(0), tl.arange(0, P), tl.program_id(1) * C + tl.arange(0, C)
    if PDL:
        gdc_wait()
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

    q (sequences, query heads, D), D a power of two from 32 on (4 bits: 64), query heads a multiple of the cache's; the
    result is like q; with_lse adds log2 of each head's Σ exp, (sequences, query heads), by which it can be joined with
    attention over other tokens. A sequence of length 0 gives zeros. ValueError for shapes that do not match, and on a
    CPU for a length beyond its pages or a page that is not there; a GPU, which would have to be waited for, gives NaN
    for those: `Pages.check` asks it. A page's slots after the length may hold any code but fp8's NaN.
    """
    check(q, pages)
    if q.device.type == "cpu":
        pages.check()
    if not q.numel():
        return (torch.empty_like(q), q.new_zeros(q.shape[:2], dtype=torch.float32)) if with_lse else torch.empty_like(q)
    q, rows, size = q.contiguous(), len(q) * pages.keys.shape[2], pages.keys.shape[1]
    large = pages.table.numel() * size >= 2**15  # tokens: enough to measure
    key = ("kv", pages.keys.dtype, q.dtype, q.shape[2], q.shape[1] // pages.keys.shape[2], size, rows >= 32)
    tiles = TILES[KINDS[pages.keys.dtype]]
    tile = quickest(key, tiles, lambda tile: launch(q, pages, window, parts, tile)) if large else tiles[0]
    y, top, total = launch(q, pages, window, parts, tile)
    if with_lse:
        most = top.amax(-1, keepdim=True)
        return y, most[..., 0] + torch.log2((total * torch.exp2(top - most)).sum(-1))
    return y


# For codes of so many bits: tokens at a time, stages, warps, and programs that a multiprocessor of an H100 or H200 has
# at once. Each of its quarters has registers for so many warps, and one program more would be a second wave.
NAMES = ("T", "STAGES", "num_warps", "resident")
CHOICES = {8: ((64, 3, 2, 4), (32, 3, 1, 8)), 4: ((64, 3, 1, 8), (64, 3, 2, 6))}
TILES = {bits: [dict(zip(NAMES, tile, strict=True)) for tile in tiles] for bits, tiles in CHOICES.items()}


def launch(q: Tensor, pages: Pages, window: int | None, parts: int | None, tile: dict):
    """(result, each part's maximum, each part's sum)."""
    (sequences, query_heads, width), (count, size, heads, _) = q.shape, pages.keys.shape
    shared, most = query_heads // heads, pages.table.shape[1]
    tile = tile | {"T": min(tile["T"], size)}
    parts = parts or split(sequences * heads, most, 132 * tile["resident"])
    del tile["resident"]
    out = torch.empty((sequences, query_heads, parts, width), dtype=torch.float32, device=q.device)
    top, total = (torch.empty(out.shape[:-1], dtype=torch.float32, device=q.device) for _ in range(2))
    kind, y, by_head = pages.keys.dtype, torch.empty_like(q), pages.keys.transpose(1, 2).is_contiguous()
    keys, values, vs = (laid(t, by_head) for t in (pages.keys, pages.values, pages.value_scale))
    has_zero = pages.key_zero is not None
    ks = pages.key_scale.contiguous()
    kz, vz = (pages.key_zero.contiguous(), laid(pages.value_zero, by_head)) if has_zero else (ks, vs)
    attend[(sequences, heads, parts)](
        q, keys.view(torch.int16), values.view(torch.int16), ks, kz, vs, vz, pages.table.contiguous(), pages.lengths,
        out, top, total, most, count, window or 2**30, math.log2(math.e) / math.sqrt(width), HEADS=heads,
        SHARED=shared, G=4 if shared <= 4 else max(8, triton.next_power_of_2(shared)), D=width, SIZE=size,
        BITS=KINDS[kind], SIGNED=kind == torch.float8_e4m3fn, HAS_ZERO=has_zero, BY_HEAD=by_head, ASM=digits.ASM,
        PDL=fused.PDL, **tile,
    )  # fmt: skip
    together[(sequences * query_heads, width // 32)](
        out, top, total, y, parts, P=triton.next_power_of_2(parts), D=width, C=32, PDL=fused.PDL,
        **fused.launch(),
    )  # fmt: skip
    return y, top, total


def split(rows: int, most: int, programs: int) -> int:
    """Parts of a sequence of up to `most` pages: `programs` in all, but at least two pages in each."""
    return max(1, min(programs // rows, most // 2, 128)) if ON_GPU else 2
