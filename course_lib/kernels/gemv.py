"""y = W x for one token, W in int4: five versions of one kernel, each with what it tries to save over the last.

A GPU that copies about 4.3 TB/s and has 132 processors at 1.75 GHz may spend 3.7 instructions a weight if it is to keep
up with its own memory, at 4.25 bits a weight (4, and a scale for 64). So the versions count instructions a weight;
`aot` reads them off the machine code, and benchmarks/results/kernels-sass.json has them for every target. Counted for
sm_90, and timed on an H200 at 8192 × 28672, where torch's bf16 product takes 112 µs:

1. `v1_naive`     7.7, 125 µs  shift, mask, convert, subtract 8, times scale, times x
2. `v2_group`     6.7, 131 µs  the scale leaves the loop over nibbles: s·(sum q·x − z·sum x) once a word
3. `v3_magic`     7.5, 135 µs  no conversion: put the nibble into the mantissa of 2²³, subtract 2²³. No gain where
                               converting is one instruction, as here
4. `v4_in_place`  4.4,  93 µs  no subtraction either, one shift for two nibbles: 1 + q/2048 and 1 + q/128 are floats as
                               they lie. Nor masks, where tiles end with the matrix: with those of 1 to 3, 6.2.
                               Taking the ones off a word's sum costs bits: 2⁻¹³ Σ s|x| at most, a fraction
                               of x's own
5. `v5_split`     4.7,  66 µs  as 4, with the row cut into parts that other programs sum: four times as many programs,
                               so that one computes while others wait for memory

All take groups of 128 or more: x (k,), packed words (blocks, n, W), scale and zero (groups, n); they give y (n,), or
(parts, n) for version 5. None comes near its count, which is 31 µs for version 4: they wait. The sixth version, `gemm`,
counts 2.0 and takes 36 µs: it moves the multiplications to the matrix units, and weights are on their way to shared
memory while earlier ones are multiplied.
"""

from __future__ import annotations

import triton
import triton.language as tl

from course_lib.kernels import interpreter  # noqa: F401  mends the interpreter where there is no GPU

ONE = 0x3F800000  # the bits of 1.0: a runtime argument, since a machine instruction holds one constant, not two


@triton.jit
def nibble_columns(b, j: tl.constexpr, W: tl.constexpr, BB: tl.constexpr):
    """Columns of x that meet nibble j of the words of blocks b … b + BB − 1."""
    c = tl.arange(0, BB * W)
    return (b + c // W) * (8 * W) + (j % 4) * (2 * W) + 2 * (c % W) + j // 4


@triton.jit
def tile_words(rows, b, n, W: tl.constexpr, BB: tl.constexpr):
    """Where the (BN, BB·W) words of some rows in blocks b … b + BB − 1 lie."""
    c = tl.arange(0, BB * W)
    return ((b + c // W) * (n * W) + c % W)[None, :] + rows[:, None] * W


@triton.jit
def load_words(words, rows, b, blocks, n, W: tl.constexpr, BB: tl.constexpr):
    """(BN, BB·W) words and their mask."""
    c = tl.arange(0, BB * W)
    inside = (rows < n)[:, None] & (b + c // W < blocks)[None, :]
    return tl.load(words + tile_words(rows, b, n, W, BB), mask=inside, other=0), inside


@triton.jit
def load_group(values, rows, b, inside, n, GB: tl.constexpr, W: tl.constexpr, BB: tl.constexpr):
    """The scale or zero of each word in a tile: groups are GB blocks long."""
    group = (b + tl.arange(0, BB * W) // W) // GB
    return tl.load(values + group[None, :] * n + rows[:, None], mask=inside, other=0.0).to(tl.float32)


@triton.jit
def v1_naive(x, words, scale, zero, y, n, k, one, W: tl.constexpr, GB: tl.constexpr, BN: tl.constexpr,
             BB: tl.constexpr, HAS_ZERO: tl.constexpr, EVEN: tl.constexpr):  # fmt: skip
    rows = tl.program_id(0) * BN + tl.arange(0, BN)
    blocks = tl.cdiv(k, 8 * W)
    acc = tl.zeros((BN, BB * W), tl.float32)
    for b in range(0, blocks, BB):
        w, inside = load_words(words, rows, b, blocks, n, W, BB)
        s = load_group(scale, rows, b, inside, n, GB, W, BB)
        z = load_group(zero, rows, b, inside, n, GB, W, BB) if HAS_ZERO else 8.0
        for j in tl.static_range(8):
            column = nibble_columns(b, j, W, BB)
            v = tl.load(x + column, mask=column < k, other=0.0).to(tl.float32)
            acc += (((w >> (4 * j)) & 15).to(tl.float32) - z) * s * v[None, :]
    tl.store(y + rows, tl.sum(acc, axis=1).to(y.dtype.element_ty), mask=rows < n)


@triton.jit
def v2_group(x, words, scale, zero, y, n, k, one, W: tl.constexpr, GB: tl.constexpr, BN: tl.constexpr,
             BB: tl.constexpr, HAS_ZERO: tl.constexpr, EVEN: tl.constexpr):  # fmt: skip
    rows = tl.program_id(0) * BN + tl.arange(0, BN)
    blocks = tl.cdiv(k, 8 * W)
    acc = tl.zeros((BN, BB * W), tl.float32)
    for b in range(0, blocks, BB):
        w, inside = load_words(words, rows, b, blocks, n, W, BB)
        s = load_group(scale, rows, b, inside, n, GB, W, BB)
        z = load_group(zero, rows, b, inside, n, GB, W, BB) if HAS_ZERO else 8.0
        part = tl.zeros((BN, BB * W), tl.float32)
        total = tl.zeros((BB * W,), tl.float32)
        for j in tl.static_range(8):
            column = nibble_columns(b, j, W, BB)
            v = tl.load(x + column, mask=column < k, other=0.0).to(tl.float32)
            part += ((w >> (4 * j)) & 15).to(tl.float32) * v[None, :]
            total += v
        acc += s * (part - z * total[None, :])
    tl.store(y + rows, tl.sum(acc, axis=1).to(y.dtype.element_ty), mask=rows < n)


@triton.jit
def v3_magic(x, words, scale, zero, y, n, k, one, W: tl.constexpr, GB: tl.constexpr, BN: tl.constexpr,
             BB: tl.constexpr, HAS_ZERO: tl.constexpr, EVEN: tl.constexpr):  # fmt: skip
    rows = tl.program_id(0) * BN + tl.arange(0, BN)
    blocks = tl.cdiv(k, 8 * W)
    acc = tl.zeros((BN, BB * W), tl.float32)
    magic = one + 0x0B800000  # 0x4B000000, the bits of 2^23: its last mantissa bit is worth 1
    for b in range(0, blocks, BB):
        w, inside = load_words(words, rows, b, blocks, n, W, BB)
        s = load_group(scale, rows, b, inside, n, GB, W, BB)
        z = load_group(zero, rows, b, inside, n, GB, W, BB) if HAS_ZERO else 8.0
        part = tl.zeros((BN, BB * W), tl.float32)
        total = tl.zeros((BB * W,), tl.float32)
        for j in tl.static_range(8):
            column = nibble_columns(b, j, W, BB)
            v = tl.load(x + column, mask=column < k, other=0.0).to(tl.float32)
            q = ((w >> (4 * j)) & 15 | magic).to(tl.float32, bitcast=True) - 8388608.0
            part += q * v[None, :]
            total += v
        acc += s * (part - z * total[None, :])
    tl.store(y + rows, tl.sum(acc, axis=1).to(y.dtype.element_ty), mask=rows < n)


@triton.jit
def row_sums(x, words, scale, zero, rows, first, last, n, k, one, W: tl.constexpr, GB: tl.constexpr,
             BN: tl.constexpr, BB: tl.constexpr, HAS_ZERO: tl.constexpr, EVEN: tl.constexpr):  # fmt: skip
    """Sum over blocks first … last − 1. Nibbles 3 and 4 of a word, among the bits of 1.0, make 1 + q/2048, 1 + q/128:
    sum those against x, then take the ones' share off once a word. Shifts bring the other nibbles there in pairs.
    EVEN: tiles end where the matrix ends, so that nothing needs a mask."""
    blocks = tl.cdiv(k, 8 * W)
    c = tl.arange(0, BB * W)
    acc = tl.zeros((BN, BB * W), tl.float32)
    for b in range(first, last, BB):
        inside = None if EVEN else (rows < n)[:, None] & (b + c // W < blocks)[None, :]
        w = tl.load(words + tile_words(rows, b, n, W, BB), mask=inside, other=None if EVEN else 0)
        group = ((b + c // W) // GB)[None, :] * n + rows[:, None]
        s = tl.load(scale + group, mask=inside, other=None if EVEN else 0.0).to(tl.float32)
        z = tl.load(zero + group, mask=inside, other=None if EVEN else 0.0) if HAS_ZERO else 8.0
        low, high = tl.zeros((BN, BB * W), tl.float32), tl.zeros((BN, BB * W), tl.float32)
        sum_low, sum_high = tl.zeros((BB * W,), tl.float32), tl.zeros((BB * W,), tl.float32)
        for j in tl.static_range(0, 8, 2):
            column = nibble_columns(b, j, W, BB)
            v0 = tl.load(x + column, mask=None if EVEN else column < k, other=None if EVEN else 0.0).to(tl.float32)
            v1 = tl.load(x + column + 2 * W, mask=None if EVEN else column + 2 * W < k, other=None if EVEN else 0.0).to(
                tl.float32
            )
            pair = w << (12 - 4 * j) if j < 3 else w >> (4 * j - 12)  # nibbles j and j + 1 at bits 12 and 16
            low += (pair & 0xF000 | one).to(tl.float32, bitcast=True) * v0[None, :]
            high += (pair & 0xF0000 | one).to(tl.float32, bitcast=True) * v1[None, :]
            sum_low += v0
            sum_high += v1
        ones = 2048 * sum_low + 128 * sum_high
        acc += s * (2048 * low + 128 * high - ones[None, :] - z * (sum_low + sum_high)[None, :])
    return tl.sum(acc, axis=1)


@triton.jit
def v4_in_place(x, words, scale, zero, y, n, k, one, W: tl.constexpr, GB: tl.constexpr, BN: tl.constexpr,
                BB: tl.constexpr, HAS_ZERO: tl.constexpr, EVEN: tl.constexpr):  # fmt: skip
    rows = tl.program_id(0) * BN + tl.arange(0, BN)
    last = tl.cdiv(k, 8 * W)
    total = row_sums(x, words, scale, zero, rows, 0, last, n, k, one, W, GB, BN, BB, HAS_ZERO, EVEN)
    tl.store(y + rows, total.to(y.dtype.element_ty), mask=rows < n)


@triton.jit
def v5_split(x, words, scale, zero, y, n, k, one, W: tl.constexpr, GB: tl.constexpr, BN: tl.constexpr,
             BB: tl.constexpr, HAS_ZERO: tl.constexpr, EVEN: tl.constexpr):  # fmt: skip
    """As 4, for one part of the row; y is (parts, n) float32."""
    rows = tl.program_id(0) * BN + tl.arange(0, BN)
    part, parts = tl.program_id(1), tl.num_programs(1)
    blocks = tl.cdiv(k, 8 * W)
    each = tl.cdiv(tl.cdiv(blocks, parts), BB) * BB
    first, last = part * each, tl.minimum(part * each + each, blocks)
    total = row_sums(x, words, scale, zero, rows, first, last, n, k, one, W, GB, BN, BB, HAS_ZERO, EVEN)
    tl.store(y + part * n + rows, total, mask=rows < n)


VERSIONS = {1: v1_naive, 2: v2_group, 3: v3_magic, 4: v4_in_place, 5: v5_split}
