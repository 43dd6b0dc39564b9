"""A vector as whole numbers in base 256, so that its products with small integer weights are sums of bytes.

In each run of 32 columns x ≈ s · (256·h + l), with bytes h and l of −128…127 and s the power of two that brings max|x|
below 32640: sixteen bits, five more than float16 keeps. A third byte makes it 24 bits, as many as float32 keeps.
GPUs multiply four bytes by four and add the products to an int32 in one instruction (`dp4a`), exactly. So Σ q·x costs
half an instruction a weight with two digits, where converting a code to float and multiplying it costs two or three.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from course_lib.kernels import ON_GPU, interpreter  # noqa: F401  interpreter is mended by its import

RUN = 32  # columns that share a scale
ASM = ON_GPU and torch.version.cuda is not None  # dp4a and prmt are PTX; elsewhere the same in plain operations


@triton.jit
def dot4(a, b, c, SIGNED: tl.constexpr, ASM: tl.constexpr):
    """c + the four products of the bytes of a (signed or not) and those of b (signed)."""
    if ASM:
        if SIGNED:
            c = tl.inline_asm_elementwise("dp4a.s32.s32 $0, $1, $2, $3;", "=r,r,r,r", [a, b, c], dtype=tl.int32,
                                          is_pure=True, pack=1)  # fmt: skip
        else:
            c = tl.inline_asm_elementwise("dp4a.u32.s32 $0, $1, $2, $3;", "=r,r,r,r", [a, b, c], dtype=tl.int32,
                                          is_pure=True, pack=1)  # fmt: skip
    else:
        for i in tl.static_range(4):
            u = (a << (24 - 8 * i)) >> 24
            c += (u if SIGNED else u & 255) * ((b << (24 - 8 * i)) >> 24)
    return c


@triton.jit
def quarters(t, A: tl.constexpr, B: tl.constexpr):
    """The four (A, B) tiles of an (A, B, 4) one: t[:, :, 0] … t[:, :, 3]."""
    even, odd = tl.split(tl.reshape(t, (A, B, 2, 2)))
    first, third = tl.split(even)
    second, fourth = tl.split(odd)
    return first, second, third, fourth


@triton.jit
def number(most, part, DIGITS: tl.constexpr):
    """The float32 behind a sum over the digits but the last, and one over the last."""
    return (most * 256 + part).to(tl.float32) if DIGITS == 2 else most.to(tl.float32) * 256 + part.to(tl.float32)


@triton.jit
def split(x, digits, scale, sums, k, DIGITS: tl.constexpr, RUNS: tl.constexpr):
    """RUNS runs of 32 columns of x (k,) -> digits (DIGITS, k) int8, the highest first; scale (k/32,); sums (k/16,)."""
    run = tl.program_id(0) * RUNS + tl.arange(0, RUNS)
    column = run[:, None] * 32 + tl.arange(0, 32)[None, :]
    v = tl.load(x + column, mask=column < k, other=0.0).to(tl.float32)
    most = tl.max(tl.abs(v), axis=1)
    BITS: tl.constexpr = 15 if DIGITS == 2 else 23
    power = tl.maximum((most.to(tl.int32, bitcast=True) >> 23) + 1 - BITS, 1)
    power += (most / (power << 23).to(tl.float32, bitcast=True) > (32639.0 if DIGITS == 2 else 8355711.0)).to(tl.int32)
    s = (power << 23).to(tl.float32, bitcast=True)
    q = tl.floor(v / s[:, None] + 0.5).to(tl.int32)
    lost = most == float("inf")
    lost |= tl.max((v != v).to(tl.int32), axis=1) > 0  # what is no number comes back as NaN, through the scale
    s = tl.where(lost, float("nan"), s)
    tl.store(scale + run, s, mask=run * 32 < k)
    two = run[:, None] * 2 + tl.arange(0, 2)[None, :]
    halves = tl.sum(tl.reshape(q, (RUNS, 2, 16)), axis=2).to(tl.float32)
    tl.store(sums + two, halves * s[:, None], mask=two * 16 < k)
    for i in tl.static_range(DIGITS):
        digit = ((q + 128) & 255) - 128
        tl.store(digits + (DIGITS - 1 - i) * k + column, digit.to(tl.int8), mask=column < k)
        q = (q - digit) >> 8


def of(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(digits (2 or 3, k) int8, scale (k/32,), sums of 16 columns (k/16,)) of x (k,), k a multiple of 32.

    float32 gets three digits. What is infinite or no number makes its run's scale NaN.

    >>> digits, scale, sums = of(torch.arange(32.0))
    >>> torch.equal((digits[0].float() * 65536 + digits[1].float() * 256 + digits[2]) * scale, torch.arange(32.0))
    True
    """
    count, k = 3 if x.dtype in (torch.float32, torch.float64) else 2, len(x)
    digits = torch.empty((count, k), dtype=torch.int8, device=x.device)
    scale = torch.empty(k // RUN, dtype=torch.float32, device=x.device)
    sums = torch.empty(k // 16, dtype=torch.float32, device=x.device)
    runs = 16 if ON_GPU else 1024
    split[(-(-len(scale) // runs),)](x.contiguous(), digits, scale, sums, k, DIGITS=count, RUNS=runs)
    return digits, scale, sums
