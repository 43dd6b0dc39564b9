"""A decode step in few kernels: norms, gates, residuals and rotations ride along with a product or with attention.

    products   y = W(g ∘ x) / √(mean x² + ε),  or x ← x + W h,  or silu(y_gate) · y_up: what stands around a product
    attention  turns q and k, caches k and v, attends over a part of the tokens; `_together` adds the parts

A launch costs a microsecond or two, a layer of Llama-3-8B in bf16 a hundred: ten launches more a layer are a fifth of
the time. On Hopper each kernel is launched while the one before still runs, reads its first weights, and waits for it
only then (dependent launch).
"""

from __future__ import annotations

import math

import torch
import triton
import triton.language as tl
from torch import Tensor
from triton.language.extra.cuda import gdc_launch_dependents, gdc_wait

from course_lib.kernels import ON_GPU, interpreter  # noqa: F401  interpreter is mended by its import

PDL = ON_GPU and torch.version.cuda is not None and torch.cuda.get_device_capability() >= (9, 0)
TILE = {"BN": 4, "BK": 512, "num_warps": 4} if ON_GPU else {"BN": 64, "BK": 256}
CANDIDATES = ((4, 512, 4), (2, 512, 4), (4, 256, 4), (8, 256, 4), (4, 512, 2))  # BN, BK, warps
CHOSEN: dict[tuple[int, int], dict[str, int]] = {}  # shape of a weight: the tile that was quickest here


@triton.jit
def _products(x, g, w, y, n, k, eps, NORM: tl.constexpr, GATED: tl.constexpr, ADD: tl.constexpr, EVEN: tl.constexpr,
              PDL: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr):  # fmt: skip
    """x (k,), w (n, k), or (2n, k) with gates first where GATED -> y (n,)."""
    rows = tl.program_id(0) * BN + tl.arange(0, BN)
    c = tl.arange(0, BK)
    mine = (rows < n)[:, None]
    start = w + rows[:, None].to(tl.int64) * k + c[None, :]
    beside = start + tl.cast(n, tl.int64) * k  # the rows that the gates multiply
    first = c[None, :] < k
    weight = tl.load(start, mask=mine & first, other=0.0)  # before the kernel ahead has written x
    other = tl.load(beside, mask=mine & first, other=0.0) if GATED else weight
    if PDL:
        gdc_launch_dependents()
        gdc_wait()
    acc, up = tl.zeros((BN, BK), tl.float32), tl.zeros((BN, BK), tl.float32)
    squares = tl.zeros((BK,), tl.float32)
    for at in range(0, k, BK):
        known = None if EVEN else at + c < k
        v = tl.load(x + at + c, mask=known, other=None if EVEN else 0.0).to(tl.float32)
        ahead = mine & (at + BK < k) if EVEN else mine & (at + BK + c < k)[None, :]
        more = tl.load(start + at + BK, mask=ahead, other=0.0)
        if NORM:
            squares += v * v
            v *= tl.load(g + at + c, mask=known, other=None if EVEN else 0.0).to(tl.float32)
        acc += weight.to(tl.float32) * v[None, :]
        if GATED:
            more_up = tl.load(beside + at + BK, mask=ahead, other=0.0)
            up += other.to(tl.float32) * v[None, :]
            other = more_up
        weight = more
    value = tl.sum(acc, axis=1)
    s = tl.rsqrt(tl.sum(squares, axis=0) / k + eps) if NORM else 1.0
    value *= s
    if GATED:
        value = value / (1.0 + tl.exp(-value)) * (tl.sum(up, axis=1) * s)
    if ADD:
        value += tl.load(y + rows, mask=rows < n, other=0.0).to(tl.float32)
    tl.store(y + rows, value.to(y.dtype.element_ty), mask=rows < n)


def products(x: Tensor, w: Tensor, norm: Tensor | None = None, eps: float = 0.0, gated: bool = False,
             add: Tensor | None = None) -> Tensor:  # fmt: skip
    """y (1, n) of x (1, k) and w (n, k): of normalized x where there is a norm, added to `add` in place where given.

    gated: w (2n, k), and y = silu(the first n) · the others.

    >>> products(torch.ones(1, 2), torch.tensor([[1.0, 2.0]]), add=torch.ones(1, 1)).item()
    4.0
    """
    n, k = len(w) // (2 if gated else 1), w.shape[1]
    if x.shape != (1, k) or not w.is_contiguous():
        raise ValueError(f"x must be (1, {k}) for a contiguous weight {tuple(w.shape)}, got {tuple(x.shape)}")
    y = x.new_empty(1, n) if add is None else add
    tile = CHOSEN.get(tuple(w.shape), TILE)
    even = k % tile["BK"] == 0
    _products[(-(-n // tile["BN"]),)](
        x, x if norm is None else norm, w, y, n, k, eps, NORM=norm is not None, GATED=gated, ADD=add is not None,
        EVEN=even, PDL=PDL, **tile, **launch(),
    )  # fmt: skip
    return y


def tiles() -> list[dict[str, int]]:
    """The candidates by name."""
    return [dict(zip(("BN", "BK", "num_warps"), tile, strict=True)) for tile in CANDIDATES]


def launch() -> dict:
    return {"launch_pdl": True} if PDL else {}


@triton.jit
def tile(at, there, W: tl.constexpr):
    """Both halves of the heads of some tokens, 0 where there is none."""
    return tl.load(at, mask=there, other=0.0), tl.load(at + W, mask=there, other=0.0)


@triton.jit
def with_new_token(m, sums, acc0, acc1, q0, q1, own, apart, keys, values, slot, c, s, W: tl.constexpr):
    """The running softmax with the new token, whose key is at `own`, its value `apart` further; both are cached."""
    first, second = tl.load(own).to(tl.float32), tl.load(own + W).to(tl.float32)
    my_k0, my_k1 = (first * c - second * s).to(q0.dtype), (second * c + first * s).to(q0.dtype)
    my_v0, my_v1 = tl.load(own + apart), tl.load(own + apart + W)
    tl.store(keys + slot, my_k0)
    tl.store(keys + slot + W, my_k1)
    tl.store(values + slot, my_v0)
    tl.store(values + slot + W, my_v1)
    both = q0.to(tl.float32) * my_k0.to(tl.float32)[None, :] + q1.to(tl.float32) * my_k1.to(tl.float32)[None, :]
    last = tl.sum(both, axis=1)
    most = tl.maximum(m, last)
    shrink, mine_p = tl.exp2(m - most), tl.exp2(last - most)
    acc0 = acc0 * shrink[:, None] + mine_p[:, None] * my_v0.to(tl.float32)[None, :]
    acc1 = acc1 * shrink[:, None] + mine_p[:, None] * my_v1.to(tl.float32)[None, :]
    return most, sums * shrink + mine_p, acc0, acc1


@triton.jit
def _attention(qkv, cos, sin, positions, keys, values, out, top, total, room, heads, scale, SHARED: tl.constexpr,
               G: tl.constexpr, D: tl.constexpr, SIZE: tl.constexpr, PDL: tl.constexpr):  # fmt: skip
    """One part of a sequence and KV head -> out (sequences, heads, SHARED, parts, D), top, total; in base 2."""
    sequence, head, part = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    parts = tl.num_programs(2)
    W: tl.constexpr = D // 2
    g, d, t = tl.arange(0, G), tl.arange(0, W), tl.arange(0, SIZE)
    kind: tl.constexpr = qkv.dtype.element_ty
    position = tl.load(positions + sequence)
    base = (sequence * heads + head).to(tl.int64) * room * D
    each = tl.cdiv(tl.cdiv(position, SIZE), parts) * SIZE
    begin, end = part * each, tl.minimum(part * each + each, position)
    lane = base + t[:, None].to(tl.int64) * D + d[None, :]
    there = (begin + t < end)[:, None]  # tokens of earlier steps: the kernel ahead does not write them
    k0, k1 = tile(keys + lane + begin * D, there, W)
    v0, v1 = tile(values + lane + begin * D, there, W)
    if PDL:
        gdc_launch_dependents()
        gdc_wait()
    c, s = tl.load(cos + position * W + d), tl.load(sin + position * W + d)
    line = qkv + sequence * heads * (SHARED + 2) * D
    at = line + (head * SHARED + g[:, None]) * D + d[None, :]
    mine = (g < SHARED)[:, None]
    low = tl.load(at, mask=mine, other=0.0).to(tl.float32)
    high = tl.load(at + W, mask=mine, other=0.0).to(tl.float32)
    q0 = ((low * c[None, :] - high * s[None, :]).to(kind).to(tl.float32) * scale).to(kind)
    q1 = ((high * c[None, :] + low * s[None, :]).to(kind).to(tl.float32) * scale).to(kind)
    m, sums = tl.full((G,), -1e30, tl.float32), tl.zeros((G,), tl.float32)
    acc0, acc1 = tl.zeros((G, W), tl.float32), tl.zeros((G, W), tl.float32)
    for start in range(begin, end, SIZE):
        known = start + t < end
        there = (start + SIZE + t < end)[:, None]
        next_k0, next_k1 = tile(keys + lane + (start + SIZE) * D, there, W)
        next_v0, next_v1 = tile(values + lane + (start + SIZE) * D, there, W)
        score = tl.dot(q1, k1.T, tl.dot(q0, k0.T, input_precision="ieee"), input_precision="ieee")
        score = tl.where(known[None, :], score, -1e30)
        new = tl.maximum(m, tl.max(score, axis=1))
        old, p = tl.exp2(m - new), tl.where(known[None, :], tl.exp2(score - new[:, None]), 0.0)
        sums = sums * old + tl.sum(p, axis=1)
        p = p.to(kind)
        acc0 = tl.dot(p, v0, acc0 * old[:, None], input_precision="ieee")
        acc1 = tl.dot(p, v1, acc1 * old[:, None], input_precision="ieee")
        m, k0, k1, v0, v1 = new, next_k0, next_k1, next_v0, next_v1
    if part == parts - 1:
        own = line + (heads * SHARED + head) * D + d
        slot = base + position.to(tl.int64) * D + d
        m, sums, acc0, acc1 = with_new_token(m, sums, acc0, acc1, q0, q1, own, heads * D, keys, values, slot, c, s, W)
    at_out = ((sequence * heads + head) * SHARED + g) * parts + part
    tl.store(out + at_out[:, None] * D + d[None, :], acc0, mask=mine)
    tl.store(out + at_out[:, None] * D + W + d[None, :], acc1, mask=mine)
    tl.store(top + at_out, m, mask=g < SHARED)
    tl.store(total + at_out, sums, mask=g < SHARED)


@triton.jit
def _together(out, top, total, y, parts, P: tl.constexpr, D: tl.constexpr, PDL: tl.constexpr):
    """The parts of one query head, weighted by their own maxima and sums -> y (query heads, D)."""
    row, p, d = tl.program_id(0), tl.arange(0, P), tl.arange(0, D)
    if PDL:
        gdc_launch_dependents()
        gdc_wait()
    tops = tl.load(top + row * parts + p, mask=p < parts, other=-1e30)
    weight = tl.where(p < parts, tl.exp2(tops - tl.max(tops, axis=0)), 0.0)
    sums = tl.sum(weight * tl.load(total + row * parts + p, mask=p < parts, other=0.0), axis=0)
    values = tl.load(out + (row * parts + p[:, None]) * D + d[None, :], mask=(p < parts)[:, None], other=0.0)
    tl.store(y + row * D + d, (tl.sum(values * weight[:, None], axis=0) / sums).to(y.dtype.element_ty))


def attention(qkv: Tensor, cos: Tensor, sin: Tensor, positions: Tensor, keys: Tensor, values: Tensor, heads: int):
    """(sequences, heads · D): one new token of each sequence attends over the tokens before it and itself.

    qkv (sequences, (heads + 2 kv_heads) · D) as the product gives it; keys and values (sequences, kv_heads, room, D)
    get the new token's at its position; cos, sin (room, D/2) float32; positions (sequences,) int32.
    """
    sequences, kv_heads, room, width = keys.shape
    shared = heads // kv_heads
    size = 32 if ON_GPU else 256
    parts = max(1, min(64, room // 64, 132 * 4 // (sequences * kv_heads))) if ON_GPU else 2
    out = torch.empty((sequences, heads, parts, width), dtype=torch.float32, device=qkv.device)
    top, total = (torch.empty(out.shape[:-1], dtype=torch.float32, device=qkv.device) for _ in range(2))
    y = qkv.new_empty((sequences, heads * width))
    _attention[(sequences, kv_heads, parts)](
        qkv, cos, sin, positions, keys, values, out, top, total, room, kv_heads, math.log2(math.e) / math.sqrt(width),
        SHARED=shared, G=max(16, triton.next_power_of_2(shared)), D=width, SIZE=size, PDL=PDL, **launch(),
    )  # fmt: skip
    _together[(sequences * heads,)](out, top, total, y, parts, P=triton.next_power_of_2(parts), D=width, PDL=PDL,
                                    **launch())  # fmt: skip
    return y
