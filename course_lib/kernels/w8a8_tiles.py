"""Products of 8-bit tiles on the matrix units, for more than one token; `w8a8` has the equations.

A large product waits for its tiles: a program of 64 tokens and 128 rows reads 192 bytes for 8192 products, one of 128
and 128 reads 256 for twice as many. But in fp8 a tile has two sums, the matrix units' own short one and the float32
that it is added to, and two of 128 × 128 are more than four warps have registers for. So `fp8_pair` takes two tiles of
64 tokens, one after the other: they share the weights, and the registers of the short sum. Two programs share a
multiprocessor; while one waits for its sum and adds it, the other multiplies. Tiles come by the copy engine (a tensor
descriptor instead of a pointer): one thread asks for a tile, and no registers hold addresses.

Where there are fewer tiles than places for programs, rows are cut into parts; `add_parts` sums them.
"""

from __future__ import annotations

import triton
import triton.language as tl

from course_lib.kernels import interpreter  # noqa: F401  it is mended by its import


@triton.jit
def tile(at, rows, n, columns, k, EVEN: tl.constexpr):
    """Rows and columns of a matrix (n, k), 0 beyond it."""
    if EVEN:
        return tl.load(at + rows[:, None] * k + columns[None, :])
    inside = (rows < n)[:, None] & (columns < k)[None, :]
    return tl.load(at + rows[:, None] * k + columns[None, :], mask=inside, other=0.0)


@triton.jit
def scaled(acc, s, t, y, tokens, rows, m, n):
    """Store acc·s[token]·t[row] as a tile of y."""
    inside = (tokens < m)[:, None] & (rows < n)[None, :]
    value = acc.to(tl.float32) * s[:, None] * t[None, :]
    tl.store(y + tokens[:, None] * n + rows[None, :], value.to(y.dtype.element_ty), mask=inside)


@triton.jit
def int8_gemm(x, w, sx, sw, zw, total, y, m, n, k, each, HAS_ZERO: tl.constexpr, EVEN: tl.constexpr,
              SPLIT: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr):  # fmt: skip
    """x (m, k) and w (n, k) int8 -> y (m, n); SPLIT: -> sums y (parts, m, n) int32 of `each` columns."""
    tokens = tl.program_id(0) * BM + tl.arange(0, BM)
    rows = tl.program_id(1) * BN + tl.arange(0, BN)
    first, part = tl.program_id(2) * each, tl.program_id(2) * m * n
    acc = tl.zeros((BM, BN), tl.int32)
    for at in range(first, tl.minimum(first + each, k), BK):
        a = tile(x, tokens, m, at + tl.arange(0, BK), k, EVEN)
        b = tile(w, rows, n, at + tl.arange(0, BK), k, EVEN)
        acc = tl.dot(a, b.T, acc, out_dtype=tl.int32)
    if SPLIT:
        inside = (tokens < m)[:, None] & (rows < n)[None, :]
        tl.store(y + part + tokens[:, None] * n + rows[None, :], acc, mask=inside)
    else:
        if HAS_ZERO:
            z = tl.load(zw + rows, mask=rows < n, other=0)
            acc -= z[None, :] * tl.load(total + tokens, mask=tokens < m, other=0)[:, None]
        s, t = tl.load(sx + tokens, mask=tokens < m, other=0.0), tl.load(sw + rows, mask=rows < n, other=0.0)
        scaled(acc, s, t, y, tokens, rows, m, n)


@triton.jit
def fp8_gemm(x, w, sx, sw, y, m, n, k, x_blocks, w_blocks, BH: tl.constexpr, BLOCKED: tl.constexpr, EVEN: tl.constexpr,
             BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr):  # fmt: skip
    """x (m, k), w (n, k) E4M3; sx (m, x_blocks), sw (n / BH, w_blocks), one block meaning the whole row -> y (m, n).
    Each turn's product is a sum of BK columns, which is then added to a float32."""
    tokens = tl.program_id(0) * BM + tl.arange(0, BM)
    rows = tl.program_id(1) * BN + tl.arange(0, BN)
    own, here = sx + tl.minimum(tokens, m - 1) * x_blocks, sw + tl.program_id(1) * BN // BH * w_blocks
    acc = tl.zeros((BM, BN), tl.float32)
    for at in range(0, k, BK):
        a = tile(x, tokens, m, at + tl.arange(0, BK), k, EVEN)
        b = tile(w, rows, n, at + tl.arange(0, BK), k, EVEN)
        if BLOCKED:
            tl.static_assert(BK == 128 and BN <= BH)
            s = tl.load(own + at // 128) * tl.load(here + at // 128)  # under way while the product is made
            acc += tl.dot(a, b.T) * s[:, None]
        else:
            acc += tl.dot(a, b.T)
    s, t = tl.full((BM,), 1.0, tl.float32), tl.full((BN,), 1.0, tl.float32)
    if not BLOCKED:
        s, t = tl.load(own), tl.load(sw + rows // BH, mask=rows < n, other=0.0)
    scaled(acc, s, t, y, tokens, rows, m, n)


@triton.jit
def fp8_pair(x, w, sx, sw, y, m, n, each, BH: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr):
    """x: descriptor of tiles (BM, BK), w: of tiles (BN, BK); sx (m,), sw (n / BH,) -> y (parts, m, n), each the sum of
    `each` columns. A descriptor gives 0 beyond its matrix. A program has BM tokens, and the BM after them."""
    token, row, first = tl.program_id(0) * 2 * BM, tl.program_id(1) * BN, tl.program_id(2) * each
    acc = tl.zeros((BM, BN), tl.float32)
    acc_more = tl.zeros((BM, BN), tl.float32)
    for at in range(0, each, BK):
        a = x.load([token, first + at])
        more = x.load([token + BM, first + at])
        b = w.load([row, first + at])
        acc += tl.dot(a, b.T)
        acc_more += tl.dot(more, b.T)
    tokens, rows = token + tl.arange(0, BM), row + tl.arange(0, BN)
    t = tl.load(sw + rows // BH, mask=rows < n, other=0.0)
    y += tl.program_id(2) * m * n
    scaled(acc, tl.load(sx + tokens, mask=tokens < m, other=0.0), t, y, tokens, rows, m, n)
    tokens += BM
    scaled(acc_more, tl.load(sx + tokens, mask=tokens < m, other=0.0), t, y, tokens, rows, m, n)


@triton.jit
def add_parts(parts, count, sx, sw, zw, total, y, m, n, INT8: tl.constexpr, HAS_ZERO: tl.constexpr, BN: tl.constexpr):
    """A piece of a token's row of y: the sum of its `count` parts, in their order; int8's are scaled only now."""
    token = tl.program_id(0)
    rows = tl.program_id(1) * BN + tl.arange(0, BN)
    acc = tl.load(parts + token * n + rows, mask=rows < n, other=0)
    for p in range(1, count):
        acc += tl.load(parts + (p * m + token) * n + rows, mask=rows < n, other=0)
    if HAS_ZERO:
        acc -= tl.load(zw + rows, mask=rows < n, other=0) * tl.load(total + token)
    value = acc.to(tl.float32)
    if INT8:
        value = value * tl.load(sx + token) * tl.load(sw + rows, mask=rows < n, other=0.0)
    tl.store(y + token * n + rows, value.to(y.dtype.element_ty), mask=rows < n)
