"""Decode attention over codes, as `course_lib.kernels.kv` computes it, with its loads two tiles ahead of its work.

What is different, and why, stands in `kv.py` beside this.
"""

from __future__ import annotations

import triton
import triton.language as tl
from triton.language.extra.cuda import gdc_launch_dependents, gdc_wait

from course_lib.kernels import interpreter  # noqa: F401  interpreter is mended by its import


def texts(*how: str) -> tl.constexpr:
    """PTX for each matrix: $0 = its codes in the two halfwords $1, plus a lift, as two float16."""
    return tl.constexpr([f"{{ .reg .b32 t; .reg .b16 b; {one} }}" for one in how])


def among(bits: str, mask: int, magic: int, lut: str = "0xEA") -> str:
    """`bits` under mask, put among (0xEA) or exclusive-or'ed into (0x6A) those of magic, in both halves."""
    return f"{bits}; lop3.b32 $0, t, 0x{mask:04X}{mask:04X}, 0x{magic:04X}{magic:04X}, {lut};"


FP8 = texts(*(f"prmt.b32 t, $1, 0, {c}; cvt.u16.u32 b, t; cvt.rn.f16x2.e4m3x2 $0, b;" for c in ("0x4420", "0x4431")))
INT8 = texts(*(among(bits, 0x03FC, 0x5E00, "0x6A") for bits in ("shl.b32 t, $1, 2", "shr.u32 t, $1, 6")))
PLACES = ("shl.b32 t, $1, 4", "mov.b32 t, $1", "shr.u32 t, $1, 4", "shr.u32 t, $1, 8")
INT4 = texts(*(among(bits, 0x00F0, 0x5400) for bits in PLACES))


@triton.jit
def numbers(w, j: tl.constexpr, BITS: tl.constexpr, SIGNED: tl.constexpr, kind: tl.constexpr, ASM: tl.constexpr):
    """Code j of each halfword plus a lift as `kind`.

    In float16 a code of 4 bits in the middle of the mantissa of 64 is 64 + code, one of 8 bits in that of 256 is
    256 + 128 + code: no conversion, two neighbours at a time."""
    if ASM and kind == tl.float16:
        if SIGNED:
            return tl.inline_asm_elementwise(FP8[j], "=r,r", [w], tl.float16, True, 2)
        elif BITS == 8:
            return tl.inline_asm_elementwise(INT8[j], "=r,r", [w], tl.float16, True, 2)
        else:
            return tl.inline_asm_elementwise(INT4[j], "=r,r", [w], tl.float16, True, 2)
    else:
        code = (w.to(tl.int32) >> (BITS * j)) & (255 if BITS == 8 else 15)
        if SIGNED:
            value = code.to(tl.uint8).to(tl.float8e4nv, bitcast=True).to(tl.float32)
        elif BITS == 8:
            value = code.to(tl.int8).to(tl.float32) + 384.0
        else:
            value = code.to(tl.float32) + 64.0
        return value.to(kind)


@triton.jit
def power(x, ASM: tl.constexpr):
    """2^x; on a GPU in one instruction, which gives 0 where a float32 would be subnormal."""
    if ASM:
        return tl.inline_asm_elementwise("ex2.approx.ftz.f32 $0, $1;", "=f,f", [x], tl.float32, True, 1)
    else:
        return tl.exp2(x)


@triton.jit
def logarithm_and_inverse(x, ASM: tl.constexpr):
    if ASM:
        return (tl.inline_asm_elementwise("lg2.approx.ftz.f32 $0, $1;", "=f,f", [x], tl.float32, True, 1),
                tl.inline_asm_elementwise("rcp.approx.ftz.f32 $0, $1;", "=f,f", [x], tl.float32, True, 1))  # fmt: skip
    else:
        return tl.log2(x), 1.0 / x


@triton.jit
def pairs(x, H: tl.constexpr):
    """x[0], x[2], … and x[1], x[3], … of 2H numbers in float32, read 8 bytes at a time."""
    both = tl.load(x.to(tl.pointer_type(tl.int64)) + tl.arange(0, H))
    return (
        (both & 0xFFFFFFFF).to(tl.int32).to(tl.float32, bitcast=True),
        (both >> 32).to(tl.int32).to(tl.float32, bitcast=True),
    )


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
           BITS: tl.constexpr, SIGNED: tl.constexpr, BY_HEAD: tl.constexpr, ASM: tl.constexpr, PDL: tl.constexpr,
           T: tl.constexpr, STAGES: tl.constexpr):  # fmt: skip
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
    entry = tl.load(table + tl.minimum(start * T // SIZE, most - 1))
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
        zv = tl.load(vz + line + t * TOKEN, mask=known, other=0.0) + LIFT
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
            z0, z1 = pairs(kz + channel, H)
        a0, b0 = fold(q0, s0, z0, LIFT, kind)
        a1, b1 = fold(q1, s1, z1, LIFT, kind)
        score = tl.dot(numbers(k, 0, BITS, SIGNED, kind, ASM), twice(a0, TWICE), score, input_precision="ieee")
        score = tl.dot(numbers(k, 1, BITS, SIGNED, kind, ASM), twice(a1, TWICE), score, input_precision="ieee")
        if TWICE:
            score, _ = tl.split(tl.reshape(score, (T, G, 2)))
        less = tl.sum(b0 + b1 + b2 + b3 if FOUR else b0 + b1, axis=0)
        size, inverse = logarithm_and_inverse(tl.maximum(tl.abs(sv), 1e-30), ASM)
        score += tl.where(known, size, -1e38)[:, None] - less[None, :]
        new = tl.maximum(m, tl.max(score, axis=0))
        old = power(m - new, ASM)[None, :]
        p = power(score - new[None, :], ASM)  # times |s_V|, and at most 1, so that float16 holds it
        sums = sums * old + p * inverse[:, None]
        w = (p * (sv * inverse)[:, None]).to(kind)
        under = tl.sum(w.to(tl.float32) * zv[:, None], axis=0)[None, :]
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
