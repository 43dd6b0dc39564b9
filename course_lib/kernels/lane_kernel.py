"""The kernels of `lanes`: one token times weights in int4 or E4M3, its norm, gate and residual with it.

A matrix instruction takes 16 rows of weights and 8 tokens; lane 4·r + q must bring weights of rows r and r + 8, at the
columns that belong to q. Which columns these are is ours to say, if x comes in the same order. So a warp reads 8 rows
of 64 bytes, 16 bytes a lane, and multiplies them where they lie; each lane brings x at its own columns. All 8 tokens
are then the same token, and each of the four lanes of a row gets the row's sum. Nothing passes through shared memory,
and the first weights are on their way before the kernel waits for the one ahead.

A lane has 4 words of a row because that is how Triton deals out a tile of (pieces · rows, 16 words). The tile must
have two axes: with three, Triton 3.6 gave the 8 rows to 8 warps.
"""

from __future__ import annotations

import triton
import triton.language as tl
from triton.language.extra.cuda import gdc_launch_dependents, gdc_wait

from course_lib.kernels import interpreter  # noqa: F401  it is mended by its import

BEGIN = "{ .reg .b32 m, t, f, g, a0, a1, a2, a3, b0, b1, h0, h1, h2, h3; .reg .f32 z, d0, d1, d2, d3; "


def mma(b: str, more: bool = False) -> str:
    """PTX: d = 16 rows a times 8 equal tokens b, plus d where more; d1 and d3 repeat d0 and d2."""
    return ("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {d0, d1, d2, d3}, {a0, a1, a2, a3}, "
            f"{{{b}}}, {'{d0, d1, d2, d3}' if more else '{z, z, z, z}'}; ")  # fmt: skip


def int4_text() -> str:
    """PTX: $0 … $3 = the 16 weights in words $4, $5 of a row and $6, $7 of another, times x in the 8 words $8 … $15."""
    lines = "mov.f32 z, 0f00000000; mov.b32 f, 0x3F803F80; mov.b32 g, 0xC308C308; "  # 0, 1 and -136
    for j in range(4):
        for i, word in enumerate((4, 6, 5, 7)):  # 128 + q, less 136
            lines += f"shr.u32 t, ${word}, {4 * j}; lop3.b32 t, t, 0x000F000F, 0x43004300, 0xEA; "
            lines += f"fma.rn.bf16x2 a{i}, t, f, g; "
        lines += mma(f"${8 + 2 * j}, ${9 + 2 * j}", j % 2 == 1)
        if j % 2:
            lines += f"mov.b32 h{j // 2}, d0; mov.b32 h{2 + j // 2}, d2; "
    return BEGIN + lines + "".join(f"mov.b32 ${i}, h{i}; " for i in range(4)) + "}"


def e4m3_text() -> str:
    """PTX: $0, $1 = the 4 weights in words $2, $3 of two rows, times x in the 8 bytes $4. Exponent and mantissa are
    moved into a bfloat16's place, and 2^120 mends the exponent, exactly."""
    lines = "mov.f32 z, 0f00000000; mov.b32 f, 0x7B807B80; mov.b32 m, 0x80008000; mov.b64 {h0, h1}, $4; "
    lines += "prmt.b32 b0, h0, h1, 0x5410; prmt.b32 b1, h0, h1, 0x7632; "
    for odd in (0, 1):
        for row in (0, 1):
            lines += f"shl.b32 t, ${2 + row}, {0 if odd else 8}; shr.u32 g, t, 4; and.b32 g, g, 0x07F007F0; "
            lines += f"lop3.b32 t, t, m, g, 0xEA; fma.rn.bf16x2 a{2 * odd + row}, t, f, m; "
    return BEGIN + lines + mma("b0, b1") + "mov.b32 $0, d0; mov.b32 $1, d2; }"


INT4, E4M3 = tl.constexpr(int4_text()), tl.constexpr(e4m3_text())
OPERANDS = tl.constexpr(",".join(["=r"] * 4 + ["r"] * 12))
RANGE = tl.constexpr("{ .reg .pred p; .reg .b32 t; mov.u32 t, %tid.x; setp.eq.u32 p, t, 0; "
                     "@p cp.async.bulk.prefetch.L2.global [$1], $2; mov.u32 $0, t; }")  # fmt: skip


@triton.jit
def fetch(pointer, offset, size):
    """Ask for `size` bytes at an offset, both multiples of 16, to be brought into the L2 cache."""
    tl.inline_asm_elementwise(RANGE, "=r,l,r", [pointer.to(tl.int64) + offset, size], tl.int32, False, 1)


@triton.jit
def some(at, word, words):
    return tl.load(at) if words is None else tl.load(at, mask=word < words, other=0)


@triton.jit
def weight(word, i: tl.constexpr, BITS: tl.constexpr):
    """Weight i of a word, by plain operations."""
    if BITS == 4:
        return (((word >> (4 * i)) & 15) - 8).to(tl.float32)
    else:
        return ((word >> (8 * i)) & 255).to(tl.uint8).to(tl.float8e4nv, bitcast=True).to(tl.float32)


@triton.jit
def multiply(low, high, x, word, words, BITS: tl.constexpr, R: tl.constexpr, ASM: tl.constexpr):
    """The weights in words of two rows times x at their columns; a column that is not there counts as 0."""
    if BITS == 4 and ASM:
        at = x.to(tl.pointer_type(tl.int32)) + word
        x0, x1 = some(at, word, words), some(at + R // 2, word + R // 2, words)
        x2, x3 = some(at + R, word + R, words), some(at + 3 * R // 2, word + 3 * R // 2, words)
        p, q = tl.inline_asm_elementwise(INT4, OPERANDS, [low, high, x0, x1, x2, x3], (tl.int32, tl.int32), True, 2)
        p, q = p.to(tl.float32, bitcast=True), q.to(tl.float32, bitcast=True)
    elif ASM:
        v = some(x.to(tl.pointer_type(tl.int64)) + word, word, words)
        p, q = tl.inline_asm_elementwise(E4M3, "=r,=r,r,r,l", [low, high, v], (tl.int32, tl.int32), True, 1)
        p, q = p.to(tl.float32, bitcast=True), q.to(tl.float32, bitcast=True)
    else:
        p, q = tl.zeros(low.shape, tl.float32), tl.zeros(low.shape, tl.float32)
        for i in tl.static_range(32 // BITS):
            there = word + i % 4 * R // 2 if BITS == 4 else word
            column = 2 * there + i // 4 if BITS == 4 else 4 * word + i  # nibbles j and j + 4 are neighbours
            v = some(x + column, there, words).to(tl.float32)
            p += weight(low, i, BITS) * v
            q += weight(high, i, BITS) * v
    return p, q


@triton.jit
def tile(at_low, at_high, scale, block, piece, c, low, high, all_rows, pieces, step, k, j: tl.constexpr,
         BITS: tl.constexpr, RUNS: tl.constexpr, PER: tl.constexpr, NB: tl.constexpr):  # fmt: skip
    """Of the j-th tile from here, words of two sets of rows and, in int4, their scales; beyond a row's end 0."""
    inside = piece + j * NB < pieces
    there = inside[:, None]
    if BITS == 8:
        there = there & (((piece + j * NB) * 16)[:, None] + c[None, :] < k // 4)
    w_low, w_high = tl.load(at_low + j * step, mask=there, other=0), tl.load(at_high + j * step, mask=there, other=0)
    if BITS == 4:
        at = scale + (block + j * (NB // PER)) * 4 // RUNS * all_rows
        s_low = tl.load(at + low, mask=inside, other=0.0).to(tl.float32)[:, None]
        s_high = tl.load(at + high, mask=inside, other=0.0).to(tl.float32)[:, None]
    else:  # one a row, which waits for the end
        s_low, s_high = 1.0, 1.0
    return w_low, w_high, s_low, s_high


@triton.jit
def row_sums(acc, NB: tl.constexpr, ROWS: tl.constexpr, ASM: tl.constexpr):
    """(NB · ROWS, 16) -> (ROWS,): where a matrix instruction added over a row's four lanes, each of them has it all."""
    total = tl.sum(tl.reshape(tl.sum(acc, axis=1), (NB, ROWS)), axis=0)
    return total * 0.25 if ASM else total


@triton.jit(do_not_specialize=("parts", "stride", "each", "size"))
def products(x, squares, words, scale, y, g, h, new_squares, ahead, n, k, parts, stride, each, size, eps,
             BITS: tl.constexpr, R: tl.constexpr, RUNS: tl.constexpr, NORM: tl.constexpr, GATED: tl.constexpr,
             ADD: tl.constexpr, NEXT: tl.constexpr, P: tl.constexpr, EVEN: tl.constexpr, ASM: tl.constexpr,
             PDL: tl.constexpr, NB: tl.constexpr, ROWS: tl.constexpr,
             DEPTH: tl.constexpr):  # fmt: skip
    """x (k,) and a weight of n rows (2n, where GATED, gates first) -> 2 · ROWS numbers of y, or ROWS: NB pieces of 16
    words of ROWS and ROWS other rows at a time, DEPTH such tiles on their way. NEXT: h = g ∘ y, and Σ y², too."""
    TALL: tl.constexpr = ROWS if GATED else 2 * ROWS
    all_rows = 2 * n if GATED else n
    i, c = tl.arange(0, NB * ROWS), tl.arange(0, 16)
    piece, low = i // ROWS, tl.program_id(0) * TALL + i % ROWS
    high = low + (n if GATED else ROWS)
    if not EVEN:
        low, high = tl.minimum(low, n - 1), tl.minimum(high, all_rows - 1)
    PER: tl.constexpr = R // 32 if BITS == 4 else 1  # pieces of a block
    block, sub = piece // PER, piece % PER
    if BITS == 4:
        pieces, row, beyond = tl.cdiv(k, 4 * R) * PER, R // 2, all_rows * (R // 2)  # words of a row, and of a block
        word = (block * 2 * R + sub * 16)[:, None] + c[None, :]  # pairs of x
    else:
        pieces, row, beyond = tl.cdiv(k, 64), k // 4, 16
        word = (piece * 16)[:, None] + c[None, :]  # fours of x
    most = None if EVEN else k // (2 if BITS == 4 else 4)
    begin_low, begin_high = block * beyond + sub * 16 + low * row, block * beyond + sub * 16 + high * row
    at_low, at_high = words + begin_low[:, None] + c[None, :], words + begin_high[:, None] + c[None, :]
    step = NB // PER * beyond

    ACROSS: tl.constexpr = NB * (64 if BITS == 4 else 16)  # of x, in a tile
    a_low, a_high, a_s, a_t = tile(at_low, at_high, scale, block, piece, c, low, high, all_rows,
                                   pieces, step, k, 0, BITS, RUNS, PER, NB)  # fmt: skip
    b_low, b_high, b_s, b_t = tile(at_low, at_high, scale, block, piece, c, low, high, all_rows,
                                   pieces, step, k, 1, BITS, RUNS, PER, NB)  # fmt: skip
    if DEPTH == 4:
        c_low, c_high, c_s, c_t = tile(at_low, at_high, scale, block, piece, c, low, high, all_rows,
                                       pieces, step, k, 2, BITS, RUNS, PER, NB)  # fmt: skip
        d_low, d_high, d_s, d_t = tile(at_low, at_high, scale, block, piece, c, low, high, all_rows,
                                       pieces, step, k, 3, BITS, RUNS, PER, NB)  # fmt: skip
    if PDL:
        gdc_launch_dependents()
        if size > 0:
            fetch(ahead, tl.program_id(0) // each * stride + tl.program_id(0) % each * size, size)
        gdc_wait()
    if NORM:
        part = tl.arange(0, P)
        s = tl.rsqrt(tl.sum(tl.load(squares + part, mask=part < parts, other=0.0), axis=0) / k + eps)
    acc, up = tl.zeros((NB * ROWS, 16), tl.float32), tl.zeros((NB * ROWS, 16), tl.float32)
    for _ in range(0, tl.cdiv(pieces, NB), DEPTH):
        at_low += DEPTH * step
        at_high += DEPTH * step
        block += DEPTH * (NB // PER)
        piece += DEPTH * NB
        p, q = multiply(a_low, a_high, x, word, most, BITS, R, ASM)
        acc, up = acc + p * a_s, up + q * a_t
        a_low, a_high, a_s, a_t = tile(at_low, at_high, scale, block, piece, c, low, high, all_rows,
                                       pieces, step, k, 0, BITS, RUNS, PER, NB)  # fmt: skip
        p, q = multiply(b_low, b_high, x, word + ACROSS, most, BITS, R, ASM)
        acc, up = acc + p * b_s, up + q * b_t
        b_low, b_high, b_s, b_t = tile(at_low, at_high, scale, block, piece, c, low, high, all_rows,
                                       pieces, step, k, 1, BITS, RUNS, PER, NB)  # fmt: skip
        if DEPTH == 4:
            p, q = multiply(c_low, c_high, x, word + 2 * ACROSS, most, BITS, R, ASM)
            acc, up = acc + p * c_s, up + q * c_t
            c_low, c_high, c_s, c_t = tile(at_low, at_high, scale, block, piece, c, low, high, all_rows,
                                           pieces, step, k, 2, BITS, RUNS, PER, NB)  # fmt: skip
            p, q = multiply(d_low, d_high, x, word + 3 * ACROSS, most, BITS, R, ASM)
            acc, up = acc + p * d_s, up + q * d_t
            d_low, d_high, d_s, d_t = tile(at_low, at_high, scale, block, piece, c, low, high, all_rows,
                                           pieces, step, k, 3, BITS, RUNS, PER, NB)  # fmt: skip
        word += DEPTH * ACROSS
    first, second = row_sums(acc, NB, ROWS, ASM), row_sums(up, NB, ROWS, ASM)
    rows = tl.program_id(0) * TALL + tl.arange(0, ROWS)
    beside = rows + (n if GATED else ROWS)
    if BITS == 8:
        first *= tl.load(scale + rows, mask=rows < n, other=0.0)
        second *= tl.load(scale + beside, mask=beside < all_rows, other=0.0)
    if NORM:
        first, second = first * s, second * s
    if GATED:
        tl.store(y + rows, (first / (1.0 + tl.exp(-first)) * second).to(y.dtype.element_ty), mask=rows < n)
    else:
        total = put(first, y, g, h, rows, n, ADD, NEXT) + put(second, y, g, h, beside, n, ADD, NEXT)
        if NEXT:
            tl.store(new_squares + tl.program_id(0), total)


@triton.jit
def put(value, y, g, h, rows, n, ADD: tl.constexpr, NEXT: tl.constexpr):
    """Store y, or add to it; for the next norm, also g ∘ y, and return the sum of y²."""
    inside = rows < n
    if ADD:
        value += tl.load(y + rows, mask=inside, other=0.0).to(tl.float32)
    value = value.to(y.dtype.element_ty)
    tl.store(y + rows, value, mask=inside)
    v = tl.where(inside, value.to(tl.float32), 0.0)
    if NEXT:
        gain = tl.load(g + rows, mask=inside, other=0.0).to(tl.float32)
        tl.store(h + rows, (v * gain).to(h.dtype.element_ty), mask=inside)
    return tl.sum(v * v, axis=0)


@triton.jit
def begin(tokens, embedding, g, x, h, squares, k, BLOCK: tl.constexpr):
    """BLOCK columns of a token's embedding -> x, h = g ∘ x, and their sum of squares."""
    c = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    v = tl.load(embedding + tl.load(tokens).to(tl.int64) * k + c, mask=c < k, other=0.0)
    tl.store(x + c, v, mask=c < k)
    v = v.to(tl.float32)
    tl.store(h + c, (v * tl.load(g + c, mask=c < k, other=0.0).to(tl.float32)).to(h.dtype.element_ty), mask=c < k)
    tl.store(squares + tl.program_id(0), tl.sum(v * v, axis=0))
