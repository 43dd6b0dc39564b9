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

from course_lib.kernels import ON_GPU, digits, interpreter  # noqa: F401  interpreter is mended by its import

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

    def check(self) -> None:
        """ValueError where a length is beyond its pages or a page is not there; waits for a GPU that holds them."""
        count, size = self.keys.shape[:2]
        room = self.table.shape[1] * size
        if len(self.lengths) and not 0 <= int(self.lengths.min()) <= int(self.lengths.max()) <= room:
            raise ValueError(
                f"lengths must lie in 0…{room}, what a row of the table has room for, got {self.lengths.tolist()}"
            )
        if self.table.numel() and not 0 <= int(self.table.min()) <= int(self.table.max()) < count:
            raise ValueError(
                f"the table must name pages 0…{count - 1}, got {int(self.table.min())}…{int(self.table.max())}"
            )


AMONG = tl.constexpr("prmt.b32 $0, i, 0x64646464, 0x4140; prmt.b32 $1, i, 0x64646464, 0x4342; "
                     "sub.f16x2 $0, $0, c; sub.f16x2 $1, $1, c; ")  # fmt: skip


@triton.jit
def unpacked(how: tl.constexpr, codes, zero):
    """Four codes at a time to float16, less zero."""
    TEXT: tl.constexpr = "{ .reg .b16 a, b; .reg .b32 i, c; " + how + "sub.f16x2 $0, $0, $3; sub.f16x2 $1, $1, $4; }"
    return tl.inline_asm_elementwise(TEXT, "=&r,=&r,r,r,r", [codes, zero], dtype=tl.float16, is_pure=False, pack=4)


@triton.jit
def numbers(codes, zero, HIGH: tl.constexpr, BITS: tl.constexpr, SIGNED: tl.constexpr, kind: tl.constexpr,
            ASM: tl.constexpr):  # fmt: skip
    """codes − zero as `kind`; of two codes in a byte the high or the low one. In float16 an integer code among the last
    bits of 1024 is 1024 + code: two subtractions make a number of it, and no slow conversion is needed.

    The assembly is four codes at a time, and is called impure so that codes are unpacked before they change threads:
    as halves they can go through shared memory 16 bytes at a time, as bytes one by one."""
    if ASM and kind == tl.float16:
        if SIGNED:
            return unpacked("mov.b32 {a, b}, $2; cvt.rn.f16x2.e4m3x2 $0, a; cvt.rn.f16x2.e4m3x2 $1, b; ", codes, zero)
        elif BITS == 8:
            return unpacked("xor.b32 i, $2, 0x80808080; mov.b32 c, 0x64806480; " + AMONG, codes, zero)
        elif HIGH:
            return unpacked("shr.u32 i, $2, 4; and.b32 i, i, 0x0F0F0F0F; mov.b32 c, 0x64006400; " + AMONG, codes, zero)
        else:
            return unpacked("and.b32 i, $2, 0x0F0F0F0F; mov.b32 c, 0x64006400; " + AMONG, codes, zero)
    elif SIGNED:
        return codes.to(kind) - zero
    else:
        u = codes.to(tl.int16) & 0xFF
        if BITS == 4:
            u = (u >> 4) if HIGH else (u & 15)
            return ((u | 0x6400).to(tl.float16, bitcast=True) - 1024.0).to(kind) - zero
        else:
            return (((u ^ 128) | 0x6400).to(tl.float16, bitcast=True) - 1152.0).to(kind) - zero


@triton.jit
def attend(q, keys, values, ks, kz, vs, vz, table, lengths, out, top, total, heads, most, count, window, scale,
           SHARED: tl.constexpr, G: tl.constexpr, D: tl.constexpr, SIZE: tl.constexpr, BITS: tl.constexpr,
           SIGNED: tl.constexpr, ASM: tl.constexpr):  # fmt: skip
    """One part of one sequence and KV head -> out (sequences, heads, SHARED, parts, D), top and total (…, parts)."""
    sequence, head, part = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    parts = tl.num_programs(2)
    kind: tl.constexpr = tl.float32 if q.dtype.element_ty == tl.float32 else tl.float16
    TWO: tl.constexpr = BITS == 4
    W: tl.constexpr = D // 2 if TWO else D  # bytes of a row
    g, d, t = tl.arange(0, G), tl.arange(0, W), tl.arange(0, SIZE)
    length = tl.load(lengths + sequence)
    first = tl.maximum(length - window, 0)
    low, pages = first // SIZE, tl.cdiv(tl.minimum(length, most * SIZE), SIZE)
    each = tl.cdiv(pages - low, parts)
    base = q + ((sequence * heads + head) * SHARED + g[:, None]) * D + d[None, :]
    q0 = tl.load(base, mask=(g < SHARED)[:, None], other=0.0).to(tl.float32) * scale
    acc0 = tl.zeros((G, W), tl.float32)
    if TWO:
        q1 = tl.load(base + W, mask=(g < SHARED)[:, None], other=0.0).to(tl.float32) * scale
        acc1 = tl.zeros((G, W), tl.float32)
    m = tl.full((G,), -1e30, tl.float32)
    sums, below = tl.zeros((G, SIZE), tl.float32), tl.zeros((G, SIZE), tl.float32)
    broken = length > most * SIZE  # more tokens than pages
    for i in range(low + part * each, tl.minimum(low + part * each + each, pages)):
        page = tl.load(table + sequence * most + i)
        broken |= (page < 0) | (page >= count)
        token = i * SIZE + t
        known = (token < length) & (token >= first) & (page >= 0) & (page < count)
        line = (page.to(tl.int64) * SIZE + t) * heads + head
        channel = (page * heads + head) * D + d
        k = tl.load(keys + line[:, None] * W + d[None, :], mask=known[:, None], other=0.0)
        v = tl.load(values + line[:, None] * W + d[None, :], mask=known[:, None], other=0.0)
        sv = tl.load(vs + line, mask=known, other=0.0)
        zv = tl.load(vz + line, mask=known, other=0.0)
        real = (page >= 0) & (page < count)
        a0 = (q0 * tl.load(ks + channel, mask=real, other=0.0)[None, :]).to(kind)
        z0 = tl.load(kz + channel, mask=real, other=0.0).to(kind)
        k0 = numbers(k, z0[None, :], False, BITS, SIGNED, kind, ASM)
        score = tl.dot(a0, k0.T, input_precision="ieee")
        if TWO:
            a1 = (q1 * tl.load(ks + channel + W, mask=real, other=0.0)[None, :]).to(kind)
            z1 = tl.load(kz + channel + W, mask=real, other=0.0).to(kind)
            score = tl.dot(a1, numbers(k, z1[None, :], True, BITS, SIGNED, kind, ASM).T, score, input_precision="ieee")
        size = tl.log2(tl.maximum(tl.abs(sv), 1e-30))  # s_V goes into the exponent: no weight is above 1
        score = tl.where(known[None, :], score, -1e30)
        new = tl.maximum(m, tl.max(score + size[None, :], axis=1))
        old = tl.exp2(m - new)
        p = tl.where(known[None, :], tl.exp2(score - new[:, None]), 0.0)
        w = tl.where(known[None, :], tl.exp2(score + size[None, :] - new[:, None]), 0.0)
        w *= tl.where(sv == 0.0, 0.0, tl.where(sv < 0.0, -1.0, 1.0))[None, :]
        sums = sums * old[:, None] + p
        below = below * old[:, None] + w * zv[None, :]
        w = w.to(kind)
        none = tl.zeros((1, W), kind)
        v0 = numbers(v, none, False, BITS, SIGNED, kind, ASM)
        acc0 = tl.dot(w, v0, acc0 * old[:, None], input_precision="ieee")
        if TWO:
            acc1 = tl.dot(
                w, numbers(v, none, True, BITS, SIGNED, kind, ASM), acc1 * old[:, None], input_precision="ieee"
            )
        m = new
    at = ((sequence * heads + head) * SHARED + g) * parts + part
    inside = g < SHARED
    under = tl.sum(below, axis=1)[:, None]
    tl.store(out + at[:, None] * D + d[None, :], acc0 - under, mask=inside[:, None])
    if TWO:
        tl.store(out + at[:, None] * D + W + d[None, :], acc1 - under, mask=inside[:, None])
    tl.store(top + at, tl.where(broken, float("nan"), m), mask=inside)
    tl.store(total + at, tl.sum(sums, axis=1), mask=inside)


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


def decode_attention(q: Tensor, pages: Pages, window: int | None = None, parts: int | None = None) -> Tensor:
    """softmax(q Kᵀ/√D) V for one new token of each sequence, over the cached tokens (the last `window` of them).

    q (sequences, query heads, D), D a power of two from 32 on, query heads a multiple of the cache's; the result is
    like q. A sequence of length 0 gives zeros. ValueError for shapes that do not match, and on a CPU for a length
    beyond its pages or a page that is not there; a GPU, which would have to be waited for, gives NaN for those:
    `Pages.check` asks it.
    """
    check(q, pages)
    if q.device.type == "cpu":
        pages.check()
    sequences, query_heads, width = q.shape
    count, size, heads, _ = pages.keys.shape
    shared, most = query_heads // heads, pages.table.shape[1]
    parts = parts or split(sequences * heads, most)
    out = torch.empty((sequences, query_heads, parts, width), dtype=torch.float32, device=q.device)
    top, total = (torch.empty(out.shape[:-1], dtype=torch.float32, device=q.device) for _ in range(2))
    kind, y = pages.keys.dtype, torch.empty_like(q, memory_format=torch.contiguous_format)
    if not q.numel():
        return y
    attend[(sequences, heads, parts)](
        q.contiguous(), pages.keys, pages.values, pages.key_scale, pages.key_zero, pages.value_scale, pages.value_zero,
        pages.table, pages.lengths, out, top, total, heads, most, count, window or 2**30,
        math.log2(math.e) / math.sqrt(width), SHARED=shared, G=max(16, triton.next_power_of_2(shared)), D=width,
        SIZE=size, BITS=KINDS[kind], SIGNED=kind == torch.float8_e4m3fn, ASM=digits.ASM,
    )  # fmt: skip
    together[(sequences * query_heads,)](out, top, total, y, parts, P=triton.next_power_of_2(parts), D=width)
    return y


def split(rows: int, most: int) -> int:
    """Parts of a sequence of up to `most` pages: enough programs for the GPU, at least two pages in each."""
    return max(1, min(PROGRAMS // rows, most // 2, 64)) if ON_GPU and rows else 2


PROGRAMS = 132 * 4  # four on each multiprocessor of an H100 or H200


def check(q: Tensor, pages: Pages) -> None:
    _, size, heads, stored = pages.keys.shape
    if pages.keys.dtype not in KINDS or pages.values.dtype != pages.keys.dtype:
        got = f"{pages.keys.dtype} and {pages.values.dtype}"
        raise ValueError(f"keys and values must both be int8, float8_e4m3fn or uint8, got {got}")
    width = stored * (2 if pages.keys.dtype == torch.uint8 else 1)
    if q.dim() != 3 or q.shape[2] != width or q.shape[1] % heads or len(q) != len(pages.lengths):
        raise ValueError(f"q must be ({len(pages.lengths)}, a multiple of {heads}, {width}), got {tuple(q.shape)}")
    if width < 32 or width & (width - 1) or size < 16 or size & (size - 1):
        raise ValueError(f"channels and page size must be powers of two from 32 and 16 on, got {width} and {size}")
