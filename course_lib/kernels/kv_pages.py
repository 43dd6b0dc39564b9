"""A KV cache of codes in pages, as `kv` reads it, and the sentences for what does not fit it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

KINDS = {torch.int8: 8, torch.uint8: 4, torch.float8_e4m3fn: 8}  # uint8: two 4-bit codes, d and d + D/2
LEAST = {kind: 16 * 16 // bits for kind, bits in KINDS.items()}  # channels: 16 halfwords, as a matrix instruction takes


@dataclass(frozen=True, eq=False)
class Pages:
    """A paged cache of codes.

    ===============  ==================================  =========================================
    keys, values     (pages, size, heads, D or D/2)      int8, float8_e4m3fn, or uint8 (two 4-bit codes a byte)
    key_scale, _zero (pages, heads, D) float32           per channel of a page
    value_scale, _z  (pages, size, heads) float32        per token
    table            (sequences, pages of one) int32     which pages a sequence has, in its order
    lengths          (sequences,) int32                  tokens of each
    ===============  ==================================  =========================================

    Both zeros may be None where codes are float8_e4m3fn. In memory the tokens of a head may lie together, as `by_head`
    lays them: quicker to read, and how the cache keeps them.
    """

    keys: Tensor
    values: Tensor
    key_scale: Tensor
    key_zero: Tensor | None
    value_scale: Tensor
    value_zero: Tensor | None
    table: Tensor
    lengths: Tensor

    def to(self, device) -> Pages:
        return Pages(**{name: None if value is None else value.to(device) for name, value in vars(self).items()})

    def by_head(self) -> Pages:
        """The same, with the tokens of a head together in memory, as (pages, heads, size, …), but seen as above."""
        named = ("keys", "values", "value_scale", *(["value_zero"] if self.value_zero is not None else []))
        return replace(self, **{name: laid(getattr(self, name), True) for name in named})

    def check(self) -> None:
        """ValueError where a length is beyond its pages or a page is not there; waits for a GPU that holds them."""
        count, size = self.keys.shape[:2]
        room = self.table.shape[1] * size
        if len(self.lengths) and not 0 <= int(self.lengths.min()) <= int(self.lengths.max()) <= room:
            raise ValueError(
                f"lengths must lie in 0…{room}, what a row of the table has room for, got {self.lengths.tolist()}"
            )
        if self.table.numel() and not 0 <= int(self.table.min()) <= int(self.table.max()) < count:
            raise ValueError(
                f"the table must name pages 0…{count - 1}, got {int(self.table.min())}…{int(self.table.max())}"
            )


def laid(t: Tensor, by_head: bool) -> Tensor:
    """t (pages, size, heads, …), where by_head with the tokens of a head together in memory, else as its shape says."""
    return t.transpose(1, 2).contiguous().transpose(1, 2) if by_head else t.contiguous()


def check(q: Tensor, pages: Pages) -> None:
    _, size, heads, stored = pages.keys.shape
    if pages.keys.dtype not in KINDS or pages.values.dtype != pages.keys.dtype:
        got = f"{pages.keys.dtype} and {pages.values.dtype}"
        raise ValueError(f"keys and values must both be int8, float8_e4m3fn or uint8, got {got}")
    zeros = (pages.key_zero is not None, pages.value_zero is not None)
    if zeros != (True, True) and (any(zeros) or pages.keys.dtype != torch.float8_e4m3fn):
        raise ValueError(
            f"key_zero and value_zero may be None, both of them, for float8_e4m3fn only, got {pages.keys.dtype}"
        )
    width = stored * (2 if pages.keys.dtype == torch.uint8 else 1)
    if q.dim() != 3 or q.shape[2] != width or q.shape[1] % heads or len(q) != len(pages.lengths):
        raise ValueError(f"q must be ({len(pages.lengths)}, a multiple of {heads}, {width}), got {tuple(q.shape)}")
    least = LEAST[pages.keys.dtype]
    if width < least or width & (width - 1) or size < 16 or size & (size - 1):
        raise ValueError(f"channels and page size must be powers of two from {least} and 16 on, got {width} and {size}")
