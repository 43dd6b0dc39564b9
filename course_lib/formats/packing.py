"""Codes side by side in bytes or 32-bit words: one stream of bits, the lowest bit first."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

_WORD_BITS = {torch.uint8: 8, torch.int32: 32}


def pack(codes: Tensor, bits: int, axis: int = -1, word: torch.dtype = torch.uint8, offset: int = 0) -> Tensor:
    """Pack codes of b bits (1 … 8) along one axis into words of W bits (uint8: W = 8, int32: W = 32).

    Code i takes bits i*b … i*b + b - 1 of the stream; bit j of the stream is bit j mod W of word j // W. So a code
    may lie across two words, as 3-bit codes in GPTQ's `qweight` do (axis 0, int32). n codes become ceil(n*b/W)
    words; bits left over are 0.

    codes + offset must lie in 0 … 2^b - 1. Signed codes are not wrapped silently: pass offset=2^(b-1), to pack and
    to unpack. ValueError for codes out of range, bits, axis or word that are not allowed; TypeError for float codes.

    >>> pack(torch.tensor([1, 2, 15, 4], dtype=torch.uint8), 4).tolist()  # 0x21, 0x4f
    [33, 79]
    >>> pack(torch.tensor([[0, -4, 7, -1]], dtype=torch.int8), 4, offset=8).tolist()
    [[72, 127]]
    """
    axis, width = _check(codes, bits, axis, word, offset, "codes")
    codes, n = _unsigned(codes, bits, offset), codes.shape[axis]
    per, words_per = _period(bits, width)
    codes = _fill(codes, axis, per).unflatten(axis, (-1, per))  # the layout repeats after `per` codes
    shape = list(codes.shape)
    shape[axis + 1] = words_per
    out = torch.zeros(shape, dtype=word, device=codes.device)
    for i in range(per):
        code = codes.select(axis + 1, i).to(word)
        at, shift = divmod(i * bits, width)
        out.select(axis + 1, at).bitwise_or_(code << shift)
        if shift + bits > width:  # the rest of this code opens the next word
            out.select(axis + 1, at + 1).bitwise_or_(code >> (width - shift))
    return out.flatten(axis, axis + 1).narrow(axis, 0, math.ceil(n * bits / width)).contiguous()


def unpack(packed: Tensor, bits: int, n: int, axis: int = -1, offset: int = 0) -> Tensor:
    """The n codes that pack put into the words of `packed`: uint8, or int8 where an offset was given.

    ValueError where the words along axis are not ceil(n*b/W), the number that n codes fill.

    >>> unpack(torch.tensor([33, 79], dtype=torch.uint8), 4, 4).tolist()
    [1, 2, 15, 4]
    """
    axis, width = _check(packed, bits, axis, packed.dtype if isinstance(packed, Tensor) else None, offset, "packed")
    if not isinstance(n, int) or packed.shape[axis] != math.ceil(n * bits / width):
        raise ValueError(f"{n} codes of {bits} bits fill {math.ceil(n * bits / width)} words of {width} bits,"
                         f" but axis {axis} of packed has {packed.shape[axis]}")  # fmt: skip
    per, words_per = _period(bits, width)
    packed = _fill(packed, axis, words_per).unflatten(axis, (-1, words_per))
    shape = list(packed.shape)
    shape[axis + 1] = per
    out = torch.empty(shape, dtype=torch.uint8, device=packed.device)
    for i in range(per):
        at, shift = divmod(i * bits, width)
        code = packed.select(axis + 1, at) >> shift  # int32 shifts its sign in from the left: masked below
        if shift + bits > width:
            low = width - shift
            code = (code & (2**low - 1)) | (packed.select(axis + 1, at + 1) << low)
        out.select(axis + 1, i).copy_(code & (2**bits - 1))
    out = out.flatten(axis, axis + 1).narrow(axis, 0, n)
    return (out.short() - offset).to(torch.int8) if offset else out.contiguous()


def _period(bits: int, width: int) -> tuple[int, int]:
    """Smallest numbers of codes and of words that take the same bits: (32, 3) for 3 bits in int32."""
    common = math.gcd(bits, width)
    return width // common, bits // common


def _fill(t: Tensor, axis: int, multiple: int) -> Tensor:
    """t with zeros appended along axis up to a multiple."""
    missing = -t.shape[axis] % multiple
    return F.pad(t, (0, 0) * (t.dim() - 1 - axis) + (0, missing)) if missing else t


def _unsigned(codes: Tensor, bits: int, offset: int) -> Tensor:
    """codes + offset as uint8; TypeError for codes that are no integers, ValueError outside 0 … 2^b - 1."""
    if codes.is_floating_point() or codes.is_complex() or codes.dtype == torch.bool:
        raise TypeError(f"codes must be a tensor of whole numbers, got {codes.dtype}")
    lo, hi = (t.item() + offset for t in torch.aminmax(codes))
    if lo < 0 or hi > 2**bits - 1:
        fix = f": pass offset={2 ** (bits - 1)} for signed codes" if lo < 0 and offset == 0 else ""
        raise ValueError(f"codes + offset must lie in 0…{2**bits - 1} for {bits} bits, got {lo}…{hi}{fix}")
    return (codes.short() + offset).to(torch.uint8) if offset else codes.to(torch.uint8)


def _check(t, bits, axis, word, offset, name) -> tuple[int, int]:
    """Axis counted from the front, and bits of a word; or one clear sentence."""
    if not isinstance(t, Tensor):
        raise TypeError(f"{name} must be a tensor, got {type(t).__name__}")
    if t.dim() == 0 or t.numel() == 0:
        raise ValueError(f"{name} must hold at least one code along an axis, got shape {tuple(t.shape)}")
    if isinstance(bits, bool) or not isinstance(bits, int) or not 1 <= bits <= 8:
        raise ValueError(f"bits must be a whole number from 1 to 8, got {bits!r}")
    if not isinstance(axis, int) or not -t.dim() <= axis < t.dim():
        raise ValueError(f"axis must be one of the {t.dim()} axes of {name}, got {axis!r}")
    if word not in _WORD_BITS:
        raise ValueError(f"words must be torch.uint8 or torch.int32, got {word}")
    if offset not in (0, 2 ** (bits - 1)):
        raise ValueError(f"offset must be 0 or {2 ** (bits - 1)} (half of the {bits}-bit range), got {offset!r}")
    return axis % t.dim(), _WORD_BITS[word]
