"""The products of `lane_kernel` by programs that stay: each makes several sets of rows, one after the other.

A tile's successor is asked for as soon as the tile is multiplied, across the end of a set, too, so that the next rows'
weights are on their way while the last rows' sums are made. What the end of a set needs beside its sums (the residual,
the next norm's gains, a row's scale) is read at its beginning, and a norm's divisor is made after the first tiles.

ASK: before it waits for the kernel ahead, a program asks for the rest of its first set to be brought into the L2 cache.

ptxas, left alone, moves all loads of a turn behind its last product, where nothing hides their latency. `hold` forbids
it: no load passes it.
"""

from __future__ import annotations

import triton
import triton.language as tl
from triton.language.extra.cuda import gdc_launch_dependents, gdc_wait

from course_lib.kernels.lane_kernel import E4M3, INT4, OPERANDS, fetch, multiply, row_sums, some

HOLD = tl.constexpr("bar.warp.sync 0xFFFFFFFF; mov.u32 $0, 0;")
ASK_FOR = tl.constexpr("prefetch.global.L2 [$1]; mov.u32 $0, 0;")


@triton.jit
def hold(ASM: tl.constexpr):
    """The machine code's loads stay on the side of this line on which they are written."""
    if ASM:
        tl.inline_asm_elementwise(HOLD, "=r", [], tl.int32, False, 1)


@triton.jit
def ask(words, begin_low, begin_high, scale, block, low, high, all_rows, step, first, tiles, BITS: tl.constexpr,
        RUNS: tl.constexpr, PER: tl.constexpr, NB: tl.constexpr):  # fmt: skip
    """Ask for a set's tiles from the first-th on to be brought into the L2 cache, and for their scales."""
    lane = 4 * tl.arange(0, 4)[None, :]  # 16 bytes each
    at_low, at_high = words + begin_low[:, None] + lane, words + begin_high[:, None] + lane
    for j in range(first, tiles):
        tl.inline_asm_elementwise(ASK_FOR, "=r,l", [at_low + j * step], tl.int32, False, 1)
        tl.inline_asm_elementwise(ASK_FOR, "=r,l", [at_high + j * step], tl.int32, False, 1)
        if BITS == 4:
            at = scale + (block + j * (NB // PER)) * 4 // RUNS * all_rows
            tl.inline_asm_elementwise(ASK_FOR, "=r,l", [(at + low).to(tl.int64) & -32], tl.int32, False, 1)
            tl.inline_asm_elementwise(ASK_FOR, "=r,l", [(at + high).to(tl.int64) & -32], tl.int32, False, 1)


@triton.jit
def columns(x, word, words, BITS: tl.constexpr, R: tl.constexpr, ASM: tl.constexpr):
    """x at the columns of a tile, as the matrix instructions take it: four words, or one of 64 bits."""
    if BITS == 4 and ASM:
        at = x.to(tl.pointer_type(tl.int32)) + word
        x0, x1 = some(at, word, words), some(at + R // 2, word + R // 2, words)
        x2, x3 = some(at + R, word + R, words), some(at + 3 * R // 2, word + 3 * R // 2, words)
    elif ASM:
        x0 = some(x.to(tl.pointer_type(tl.int64)) + word, word, words)
        x1, x2, x3 = x0, x0, x0
    else:  # `multiply` reads it
        x0, x1, x2, x3 = word, word, word, word
    return x0, x1, x2, x3


@triton.jit
def add(acc, up, low, high, s, t, x0, x1, x2, x3, x, word, words, BITS: tl.constexpr, R: tl.constexpr,
        ASM: tl.constexpr):  # fmt: skip
    """The sums with a tile's products in it."""
    if BITS == 4 and ASM:
        p, q = tl.inline_asm_elementwise(INT4, OPERANDS, [low, high, x0, x1, x2, x3], (tl.int32, tl.int32), True, 2)
        p, q = p.to(tl.float32, bitcast=True), q.to(tl.float32, bitcast=True)
    elif ASM:
        p, q = tl.inline_asm_elementwise(E4M3, "=r,=r,r,r,l", [low, high, x0], (tl.int32, tl.int32), True, 1)
        p, q = p.to(tl.float32, bitcast=True), q.to(tl.float32, bitcast=True)
    else:
        p, q = multiply(low, high, x, word, words, BITS, R, ASM)
    return acc + p * s, up + q * t


@triton.jit
def tile(at_low, at_high, scale, block, piece, c, low, high, all_rows, pieces, step, k, go, j: tl.constexpr,
         BITS: tl.constexpr, RUNS: tl.constexpr, PER: tl.constexpr, NB: tl.constexpr, EVEN: tl.constexpr):  # fmt: skip
    """As `lane_kernel.tile`; nothing where go is 0."""
    inside = tl.zeros(piece.shape, tl.int32) < go if EVEN else piece + j * NB < pieces * go
    there = inside[:, None]
    if BITS == 8 and not EVEN:
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
def constants(scale, g, rows, n, BITS: tl.constexpr, NEXT: tl.constexpr):
    """Of some rows the scale, where there is one a row, and the next norm's gain."""
    inside = rows < n
    unit = tl.load(scale + rows, mask=inside, other=0.0) if BITS == 8 else tl.zeros(rows.shape, tl.float32)
    gain = tl.load(g + rows, mask=inside, other=0.0).to(tl.float32) if NEXT else tl.zeros(rows.shape, tl.float32)
    return unit, gain


@triton.jit
def before(y, rows, n, ADD: tl.constexpr):
    """What the products are added to."""
    return tl.load(y + rows, mask=rows < n, other=0.0).to(tl.float32) if ADD else tl.zeros(rows.shape, tl.float32)


@triton.jit
def put(value, y, h, gain, rows, n, NEXT: tl.constexpr):
    """Store y, for the next norm also g ∘ y, and return y as it was stored."""
    inside = rows < n
    value = value.to(y.dtype.element_ty)
    tl.store(y + rows, value, mask=inside)
    v = tl.where(inside, value.to(tl.float32), 0.0)
    if NEXT:
        tl.store(h + rows, (v * gain).to(h.dtype.element_ty), mask=inside)
    return v


@triton.jit(do_not_specialize=("parts", "stride", "each", "size"))
def products(x, squares, words, scale, y, g, h, new_squares, ahead, n, k, parts, stride, each, size, eps,
             BITS: tl.constexpr, R: tl.constexpr, RUNS: tl.constexpr, NORM: tl.constexpr, GATED: tl.constexpr,
             ADD: tl.constexpr, NEXT: tl.constexpr, P: tl.constexpr, EVEN: tl.constexpr, ASM: tl.constexpr,
             PDL: tl.constexpr, NB: tl.constexpr, ROWS: tl.constexpr, DEPTH: tl.constexpr,
             ASK: tl.constexpr):  # fmt: skip
    """As `lane_kernel.products`, by programs that make every so-manyth set of rows; one each without EVEN."""
    TALL: tl.constexpr = ROWS if GATED else 2 * ROWS
    all_rows, program, programs = 2 * n if GATED else n, tl.program_id(0), tl.num_programs(0)
    i, c = tl.arange(0, NB * ROWS), tl.arange(0, 16)
    piece, low = i // ROWS, program * TALL + i % ROWS
    apart = n if GATED else ROWS  # from the low rows to the high ones
    high = low + apart
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

    go = 1
    a_low, a_high, a_s, a_t = tile(at_low, at_high, scale, block, piece, c, low, high, all_rows, pieces, step,
                                       k, go, 0, BITS, RUNS, PER, NB, EVEN)  # fmt: skip
    b_low, b_high, b_s, b_t = tile(at_low, at_high, scale, block, piece, c, low, high, all_rows, pieces, step,
                                       k, go, 1, BITS, RUNS, PER, NB, EVEN)  # fmt: skip
    if DEPTH == 4:
        c_low, c_high, c_s, c_t = tile(at_low, at_high, scale, block, piece, c, low, high, all_rows, pieces, step,
                                           k, go, 2, BITS, RUNS, PER, NB, EVEN)  # fmt: skip
        d_low, d_high, d_s, d_t = tile(at_low, at_high, scale, block, piece, c, low, high, all_rows, pieces, step,
                                           k, go, 3, BITS, RUNS, PER, NB, EVEN)  # fmt: skip
    turns, sets = tl.cdiv(tl.cdiv(pieces, NB), DEPTH), tl.cdiv(n, TALL)
    if ASK and EVEN and ASM:
        ask(words, begin_low, begin_high, scale, block, low, high, all_rows, step, DEPTH, turns * DEPTH,
            BITS, RUNS, PER, NB)  # fmt: skip
    rows = program * TALL + tl.arange(0, ROWS)
    unit, gain = constants(scale, g, rows, n, BITS, NEXT)
    unit_2, gain_2 = constants(scale, g, rows + apart, all_rows, BITS, NEXT)
    if PDL:
        gdc_launch_dependents()
        if size > 0:
            fetch(ahead, program // each * stride + program % each * size, size)
        gdc_wait()
    x0, x1, x2, x3 = columns(x, word, most, BITS, R, ASM)
    part, s = tl.arange(0, P), 1.0
    if NORM:
        square = tl.load(squares + part, mask=part < parts, other=0.0)
    old, old_2 = before(y, rows, n, ADD), before(y, rows + apart, all_rows, ADD)
    acc, up = tl.zeros((NB * ROWS, 16), tl.float32), tl.zeros((NB * ROWS, 16), tl.float32)
    left, mine = turns, tl.cdiv(sets - program, programs)
    for at in range(0, mine * turns):
        last = left == 1
        go = tl.where(last & (at + 1 == mine * turns), 0, 1)
        tiles = DEPTH * tl.where(last, 1 - turns, 1)
        forth = tl.where(last, programs * TALL, 0)
        at_low += tiles * step + forth * row
        at_high = at_low + apart * row if EVEN else at_high + tiles * step + forth * row
        block += tiles * (NB // PER)
        piece += tiles * NB
        low += forth
        high = low + apart if EVEN else high + forth
        left = tl.where(last, turns, left - 1)
        acc, up = add(acc, up, a_low, a_high, a_s, a_t, x0, x1, x2, x3, x, word, most, BITS, R, ASM)
        a_low, a_high, a_s, a_t = tile(at_low, at_high, scale, block, piece, c, low, high, all_rows, pieces, step,
                                           k, go, 0, BITS, RUNS, PER, NB, EVEN)  # fmt: skip
        hold(ASM)
        x0, x1, x2, x3 = columns(x, word + ACROSS, most, BITS, R, ASM)
        if DEPTH == 4:
            acc, up = add(acc, up, b_low, b_high, b_s, b_t, x0, x1, x2, x3, x, word + ACROSS, most, BITS, R, ASM)
            b_low, b_high, b_s, b_t = tile(at_low, at_high, scale, block, piece, c, low, high, all_rows, pieces, step,
                                               k, go, 1, BITS, RUNS, PER, NB, EVEN)  # fmt: skip
            hold(ASM)
            x0, x1, x2, x3 = columns(x, word + 2 * ACROSS, most, BITS, R, ASM)
            acc, up = add(acc, up, c_low, c_high, c_s, c_t, x0, x1, x2, x3, x, word + 2 * ACROSS, most, BITS, R, ASM)
            c_low, c_high, c_s, c_t = tile(at_low, at_high, scale, block, piece, c, low, high, all_rows, pieces, step,
                                               k, go, 2, BITS, RUNS, PER, NB, EVEN)  # fmt: skip
            hold(ASM)
            x0, x1, x2, x3 = columns(x, word + 3 * ACROSS, most, BITS, R, ASM)
            acc, up = add(acc, up, d_low, d_high, d_s, d_t, x0, x1, x2, x3, x, word + 3 * ACROSS, most, BITS, R, ASM)
            d_low, d_high, d_s, d_t = tile(at_low, at_high, scale, block, piece, c, low, high, all_rows, pieces, step,
                                               k, go, 3, BITS, RUNS, PER, NB, EVEN)  # fmt: skip
        else:
            acc, up = add(acc, up, b_low, b_high, b_s, b_t, x0, x1, x2, x3, x, word + ACROSS, most, BITS, R, ASM)
            b_low, b_high, b_s, b_t = tile(at_low, at_high, scale, block, piece, c, low, high, all_rows, pieces, step,
                                               k, go, 1, BITS, RUNS, PER, NB, EVEN)  # fmt: skip
        word += tiles * ACROSS
        hold(ASM)
        x0, x1, x2, x3 = columns(x, word, most, BITS, R, ASM)
        if last:
            first, second = row_sums(acc, NB, ROWS, ASM), row_sums(up, NB, ROWS, ASM)
            if BITS == 8:
                first, second = first * unit, second * unit_2
            if NORM:
                if at < turns:
                    s = tl.rsqrt(tl.sum(square, axis=0) / k + eps)
                first, second = first * s, second * s
            if GATED:
                tl.store(y + rows, (first / (1.0 + tl.exp(-first)) * second).to(y.dtype.element_ty), mask=rows < n)
            else:
                v = put(first + old, y, h, gain, rows, n, NEXT)
                w = put(second + old_2, y, h, gain_2, rows + apart, n, NEXT)
                if NEXT:
                    tl.store(new_squares + at // turns * programs + program, tl.sum(v * v + w * w, axis=0))
            rows += forth
            unit, gain = constants(scale, g, rows, n, BITS, NEXT)
            unit_2, gain_2 = constants(scale, g, rows + apart, all_rows, BITS, NEXT)
            old, old_2 = before(y, rows, n, ADD), before(y, rows + apart, all_rows, ADD)
            acc, up = tl.zeros((NB * ROWS, 16), tl.float32), tl.zeros((NB * ROWS, 16), tl.float32)
