"""Marlin's order of int4 weights beside ours: what a kernel that knows its matrix instruction can do once, in advance.

Marlin (Frantar et al., 2024) multiplies xW with `mma.m16n8k16`, whose right operand is spread over a warp in a fixed
way: thread t of 32 holds rows 2·(t % 4) and the next, and the same 8 further down, of column t // 4. So Marlin stores
W, 16 rows of k at a time, as a warp will hold it. A thread's next 16 bytes are four words; word i is its share of the
16 × 16 tile i of four side by side in n:

    word     (k // 16, 128·(n // 64) + 4·t + (n % 64) // 16), with thread t = 4·(n % 8) + (k % 8) // 2
    nibble   4·(k % 2) + 2·(n % 16 // 8) + (k % 16) // 8

The same as ours: neighbours in k lie 16 bits apart, so one `lop3` yields a pair for the matrix units; and both kernels
stage the words in shared memory while earlier ones are multiplied. Different: a thread of Marlin reads back 16 bytes
that were packed for it. Our rows stay rows, and `ldmatrix` deals them out, 16 bits being the size it deals in; so one
packing serves the GEMV versions, `mma` and `wgmma`, while Marlin's is for the one instruction.
"""

from __future__ import annotations

import torch
from torch import Tensor


def pack(codes: Tensor) -> Tensor:
    """(n, k) codes 0…15 -> (k/16, 2n) int32 in Marlin's order; ValueError unless n is a multiple of 64, k of 16.

    >>> codes = torch.zeros(64, 16, dtype=torch.int32)
    >>> codes[9, 3] = 15  # n = 9: second half of tile 0, column 1; k = 3: odd, thread 4·1 + 1
    >>> pack(codes)[0, 20:24].tolist(), pack(codes).count_nonzero().item()
    ([251658240, 0, 0, 0], 1)
    """
    n, k = codes.shape
    if n % 64 or k % 16:
        raise ValueError(f"codes must be (a multiple of 64, a multiple of 16), got {tuple(codes.shape)}")
    # n = 64·strip + 16·tile + 8·half + column; k = 16·row + 8·below + 2·quad + odd
    split = codes.reshape(n // 64, 4, 2, 8, k // 16, 2, 4, 2)
    nibbles = split.permute(4, 0, 3, 6, 1, 7, 2, 5).reshape(k // 16, 2 * n, 8)
    words = (nibbles.long() << 4 * torch.arange(8, device=codes.device)).sum(2)
    return torch.where(words >= 2**31, words - 2**32, words).to(torch.int32)


def unpack(words: Tensor) -> Tensor:
    """The inverse: (k/16, 2n) int32 -> (n, k) codes 0…15, int32."""
    rows, n = words.shape[0], words.shape[1] // 2
    nibbles = (words[..., None] >> 4 * torch.arange(8, device=words.device, dtype=torch.int32)) & 15
    split = nibbles.reshape(rows, n // 64, 8, 4, 4, 2, 2, 2)
    return split.permute(1, 4, 6, 2, 0, 7, 3, 5).reshape(n, 16 * rows)
