"""What stands between the matrix products of a decode step, one kernel each: add and normalize, rotate and cache, gate.

    add_norm    x ← x + y,  h = x / √(mean x² + ε) · g                                   (RMSNorm)
    rotate      q, k turned by their position (RoPE, halves of a head), k and v put into the cache
    silu_mul    h = silu(gate) · up
    likeliest   the first of the largest logits, in two stages

At batch 1 they cost a launch each and move a few kilobytes; apart they would be a dozen launches of torch.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor
from triton.language.extra.cuda import gdc_launch_dependents, gdc_wait

from course_lib.kernels import ON_GPU, interpreter  # noqa: F401  it is mended by its import
from course_lib.kernels.fused import PDL, launch
from course_lib.kernels.kv_pages import Pages


@triton.jit
def _add_norm(x, y, weight, out, n, eps, HAS_Y: tl.constexpr, BLOCK: tl.constexpr):
    """One program a token."""
    row, c = tl.program_id(0), tl.arange(0, BLOCK)
    inside = c < n
    v = tl.load(x + row * n + c, mask=inside, other=0.0)
    if HAS_Y:
        more = tl.load(y + row * n + c, mask=inside, other=0.0)
        v = (v.to(tl.float32) + more.to(tl.float32)).to(x.dtype.element_ty)
        tl.store(x + row * n + c, v, mask=inside)
    v = v.to(tl.float32)
    v = (v * tl.rsqrt(tl.sum(v * v, axis=0) / n + eps)).to(x.dtype.element_ty).to(tl.float32)
    g = tl.load(weight + c, mask=inside, other=0.0).to(tl.float32)
    tl.store(out + row * n + c, (v * g).to(out.dtype.element_ty), mask=inside)


@triton.jit
def turned(x, cos, sin, at, position, WIDTH: tl.constexpr):
    """The two halves of a head at `at`, turned by the angles of a position."""
    d = tl.arange(0, WIDTH // 2)
    low, high = tl.load(x + at + d).to(tl.float32), tl.load(x + at + WIDTH // 2 + d).to(tl.float32)
    c, s = tl.load(cos + position * (WIDTH // 2) + d), tl.load(sin + position * (WIDTH // 2) + d)
    return low * c - high * s, high * c + low * s


@triton.jit
def _rotate(qkv, cos, sin, positions, q, keys, values, room, heads, kv_heads, WIDTH: tl.constexpr):
    """A program a token and head; keys, values (sequences, kv_heads, room, WIDTH)."""
    token, head = tl.program_id(0), tl.program_id(1)
    d = tl.arange(0, WIDTH // 2)
    position = tl.load(positions + token)
    at = (token * (heads + 2 * kv_heads) + head) * WIDTH
    if head < heads + kv_heads:
        low, high = turned(qkv, cos, sin, at, position, WIDTH)
    else:
        low, high = tl.load(qkv + at + d).to(tl.float32), tl.load(qkv + at + WIDTH // 2 + d).to(tl.float32)
    low, high = low.to(q.dtype.element_ty), high.to(q.dtype.element_ty)
    if head < heads:
        to = q + (token * heads + head) * WIDTH
    else:
        slot = ((token * kv_heads + (head - heads) % kv_heads) * room + position).to(tl.int64) * WIDTH
        to = keys + slot if head < heads + kv_heads else values + slot
    tl.store(to + d, low)
    tl.store(to + WIDTH // 2 + d, high)


@triton.jit
def _rotate_pages(qkv, cos, sin, positions, q, keys, values, key_scale, value_scale, table, most, heads, kv_heads,
                  SIZE: tl.constexpr, WIDTH: tl.constexpr, BY_HEAD: tl.constexpr):  # fmt: skip
    """As `_rotate`, into E4M3 pages: a key by its page's scales, a value by a scale of its own."""
    token, head = tl.program_id(0), tl.program_id(1)
    d = tl.arange(0, WIDTH // 2)
    position = tl.load(positions + token)
    at = (token * (heads + 2 * kv_heads) + head) * WIDTH
    if head < heads:
        low, high = turned(qkv, cos, sin, at, position, WIDTH)
        tl.store(q + (token * heads + head) * WIDTH + d, low.to(q.dtype.element_ty))
        tl.store(q + (token * heads + head) * WIDTH + WIDTH // 2 + d, high.to(q.dtype.element_ty))
    else:
        own = (head - heads) % kv_heads
        page = tl.load(table + token * most + position // SIZE)
        if BY_HEAD:
            line = (page.to(tl.int64) * kv_heads + own) * SIZE + position % SIZE
        else:
            line = (page.to(tl.int64) * SIZE + position % SIZE) * kv_heads + own
        if head < heads + kv_heads:
            low, high = turned(qkv, cos, sin, at, position, WIDTH)
            scales = key_scale + (page * kv_heads + own) * WIDTH + d
            low, high = low / tl.load(scales), high / tl.load(scales + WIDTH // 2)
            to = keys + line * WIDTH
        else:
            low, high = tl.load(qkv + at + d).to(tl.float32), tl.load(qkv + at + WIDTH // 2 + d).to(tl.float32)
            s = tl.maximum(tl.max(tl.abs(low), axis=0), tl.max(tl.abs(high), axis=0)) / 448.0
            s = tl.where(s > 0, s, 1.0)
            tl.store(value_scale + line, s)
            low, high = low / s, high / s
            to = values + line * WIDTH
        tl.store(to + d, tl.clamp(low, -448.0, 448.0).to(tl.float8e4nv))
        tl.store(to + WIDTH // 2 + d, tl.clamp(high, -448.0, 448.0).to(tl.float8e4nv))


@triton.jit
def _silu_mul(x, out, n, BLOCK: tl.constexpr):
    """x (tokens, 2n), gates first -> out (tokens, n)."""
    row = tl.program_id(0)
    c = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    gate = tl.load(x + row * 2 * n + c, mask=c < n, other=0.0).to(tl.float32)
    up = tl.load(x + row * 2 * n + n + c, mask=c < n, other=0.0).to(tl.float32)
    gate = (gate / (1.0 + tl.exp(-gate))).to(x.dtype.element_ty).to(tl.float32)
    tl.store(out + row * n + c, (gate * up).to(out.dtype.element_ty), mask=c < n)


@triton.jit
def _likeliest(logits, top, at, n, LAST: tl.constexpr, BLOCK: tl.constexpr, PDL: tl.constexpr):
    """BLOCK numbers of a row -> the largest and where it stands; at the last stage `at` says where they stood."""
    row, part = tl.program_id(0), tl.program_id(1)
    c = part * BLOCK + tl.arange(0, BLOCK)
    if PDL:
        gdc_launch_dependents()
        gdc_wait()
    v = tl.load(logits + row * n + c, mask=c < n, other=float("-inf")).to(tl.float32)
    most, where = tl.max(v, axis=0, return_indices=True)
    if LAST:
        tl.store(top + row, tl.load(at + row * n + where).to(tl.int64))
    else:
        tl.store(top + row * tl.num_programs(1) + part, most)
        tl.store(at + row * tl.num_programs(1) + part, part * BLOCK + where)


def likeliest(logits: Tensor, out: Tensor | None = None) -> Tensor:
    """argmax (tokens,) int64 of logits (tokens, n), into `out` if given. torch's own takes 35 µs for one long row.

    >>> likeliest(torch.tensor([[0.0, 2.0, 2.0]])).tolist()
    [1]
    """
    m, n = logits.shape
    out = torch.empty(m, dtype=torch.int64, device=logits.device) if out is None else out
    block = 1024 if ON_GPU else 1 << 15
    parts = -(-n // block)
    top = torch.empty((m, parts), dtype=torch.float32, device=logits.device)
    at = torch.empty((m, parts), dtype=torch.int32, device=logits.device)
    _likeliest[(m, parts)](logits, top, at, n, LAST=False, BLOCK=block, PDL=PDL, **launch())
    _likeliest[(m, 1)](top, out, at, parts, LAST=True, BLOCK=triton.next_power_of_2(parts), PDL=PDL, **launch())
    return out


def add_norm(x: Tensor, y: Tensor | None, weight: Tensor, eps: float) -> Tensor:
    """RMSNorm of x + y for x (tokens, n), which becomes x + y; y may be None.

    >>> add_norm(torch.tensor([[3.0, 4.0]]), None, torch.ones(2), 0.0).tolist()[0][0]     # 3 / √12.5
    0.8485281467437744
    """
    out = torch.empty_like(x)
    n = x.shape[1]
    warps = {"num_warps": 8} if ON_GPU else {}
    _add_norm[(len(x),)](x, x if y is None else y, weight, out, n, eps, HAS_Y=y is not None,
                         BLOCK=triton.next_power_of_2(n), **warps)  # fmt: skip
    return out


def rotate(qkv: Tensor, cos: Tensor, sin: Tensor, positions: Tensor, keys: Tensor, values: Tensor, heads: int):
    """q (tokens, heads, WIDTH), turned; keys and values (tokens, kv_heads, room, WIDTH) have the new token's, too.

    qkv (tokens, (heads + 2 kv_heads) · WIDTH); cos, sin (room, WIDTH/2) float32; positions (tokens,) int32.
    """
    tokens, kv_heads, room, width = keys.shape
    q = qkv.new_empty((tokens, heads, width))
    _rotate[(tokens, heads + 2 * kv_heads)](qkv, cos, sin, positions, q, keys, values, room, heads, kv_heads,
                                            WIDTH=width, num_warps=1)  # fmt: skip
    return q


def rotate_pages(qkv: Tensor, cos: Tensor, sin: Tensor, positions: Tensor, pages: Pages, heads: int) -> Tensor:
    """As `rotate`, into E4M3 pages whose key scales are fixed beforehand and whose zeros are 0."""
    if pages.keys.dtype != torch.float8_e4m3fn:
        raise ValueError(f"pages must be float8_e4m3fn, got {pages.keys.dtype}")
    _, size, kv_heads, width = pages.keys.shape
    q = qkv.new_empty((len(qkv), heads, width))
    _rotate_pages[(len(qkv), heads + 2 * kv_heads)](
        qkv, cos, sin, positions, q, pages.keys, pages.values, pages.key_scale, pages.value_scale, pages.table,
        pages.table.shape[1], heads, kv_heads, SIZE=size, WIDTH=width,
        BY_HEAD=pages.keys.transpose(1, 2).is_contiguous(), num_warps=1,
    )  # fmt: skip
    return q


def silu_mul(x: Tensor) -> Tensor:
    """silu(x[:, :n]) · x[:, n:] for x (tokens, 2n).

    >>> silu_mul(torch.tensor([[0.0, 2.0, 5.0, 1.0]]))[0, 0].item()
    0.0
    """
    n = x.shape[1] // 2
    out = x.new_empty((len(x), n))
    block = min(1024 if ON_GPU else 1 << 16, triton.next_power_of_2(n))
    _silu_mul[(len(x), -(-n // block))](x, out, n, BLOCK=block)
    return out
