"""A store of keys or values in the pages that `kernels.kv` reads: what IntStore and Fp8Store hold, laid out for it.

    x̂ = s · (code − z)        s, z from a store's scale and offset: z = −low / s; a group of equal numbers has s = low

A page is one group of tokens, and in it those of one head lie together, since one program reads them. Pages are filled
in room that doubles, so that a block more copies nothing.
"""

from __future__ import annotations

import torch
from torch import Tensor

from course_lib.kvcache.format import KVFormat, channel_group
from course_lib.kvcache.store import FP8, FP8_MAX, encode


def why_not(format: KVFormat, dim: int) -> str:
    """Why `kernels.kv` cannot read a cache of this format and head dimension; "" where it can."""
    if format.name == "int2":
        return "there is no kernel for int2"
    if format.group < 16 or format.group & (format.group - 1):
        return f"a page must hold a power of two of at least 16 tokens, and a group has {format.group}"
    least = 64 if format.name == "int4" else 32
    if dim < least or dim & (dim - 1):
        return f"heads must have a power of two of at least {least} channels, and have {dim}"
    if format.name == "fp8":
        return ""
    if (format.key_axis, format.value_axis) != ("channel", "token"):
        return f"keys must have scales per channel and values per token, not per {format.key_axis}, {format.value_axis}"
    if channel_group(format, dim) != dim:
        return f"a token's value must have one scale, and has {dim // channel_group(format, dim)}: group={dim}"
    return ""


class PageStore:
    """codes (batch, room, kv_heads, group, dim or dim/2) and, a page or a token, step and zero in float32.

    step, zero: (batch, room, kv_heads, dim) for keys, (batch, room, kv_heads, group) for values; fp8 has no
    zero. `used` pages of the room are filled.
    """

    def __init__(self, format: KVFormat, axis: str):
        self.format, self.keys = format, axis == "keys"
        self.held: list[Tensor] = []  # codes, step, and zero
        self.used, self.fixed = 0, None

    @property
    def tokens(self) -> int:
        return self.used * self.format.group

    def append(self, x: Tensor) -> None:
        """Quantize more tokens (batch, kv_heads, tokens, dim), whole pages of them."""
        new = [self._paged(t) for t in self._encode(x)]
        count = new[0].shape[1]
        room = self.held[0].shape[1] if self.held else 0
        if self.used + count > room:
            more = max(count, room)
            grown = [t.new_zeros((len(t), more, *t.shape[2:])) for t in new]
            self.held = [torch.cat([t[:, : self.used], g], 1) for t, g in zip(self.held or grown, grown, strict=True)]
        for t, add in zip(self.held, new, strict=True):
            t[:, self.used : self.used + count] = add
        self.used += count

    def _encode(self, x: Tensor) -> list[Tensor]:
        """codes (batch, kv_heads, tokens, dim or dim/2), and step and zero as the scales lie."""
        if self.format.name == "fp8":
            if self.fixed is None:
                measured = (x.abs().amax().float() / FP8_MAX).clamp(min=torch.finfo(torch.float32).tiny)
                fixed = self.format.scale
                self.fixed = measured if fixed is None else torch.tensor(fixed, dtype=torch.float32, device=x.device)
            codes = (x.float() / self.fixed).clamp(-FP8_MAX, FP8_MAX).to(FP8)
            like = x[:, :, :: self.format.group] if self.keys else x[..., 0]
            return [codes, self.fixed.expand(like.shape)]
        codes, scale, low = encode(x, self.format, "channel" if self.keys else "token")
        scale, low = scale.float(), low.float()
        same = torch.where(low == 0, 1.0, low)  # the step of equal numbers: code 0 less −1, or less 0, of them
        step, zero = torch.where(scale == 0, same, scale), torch.where(scale == 0, -(low != 0).float(), -low / scale)
        if self.format.bits == 4:
            low_half, high_half = codes.chunk(2, -1)
            codes = low_half | (high_half << 4)
        else:
            codes, zero = (codes.short() - 128).to(torch.int8), zero - 128
        return [codes, *(t.squeeze(-2) if self.keys else t.flatten(-2)[..., 0] for t in (step, zero))]

    def _paged(self, t: Tensor) -> Tensor:
        """(batch, kv_heads, tokens or pages, …) as (batch, pages, kv_heads, …)."""
        per_page = self.keys and t.dtype == torch.float32
        return (t if per_page else t.unflatten(2, (-1, self.format.group))).transpose(1, 2)

    def decode(self) -> Tensor:
        """All tokens, float32 (batch, kv_heads, tokens, dim)."""
        codes, *per = (t[:, : self.used] for t in self.held)
        if self.format.bits == 4:
            codes = torch.cat([codes & 15, codes >> 4], -1)
        step, *zero = (t[..., None, :] if self.keys else t[..., None] for t in per)
        return ((codes.float() - zero[0] if zero else codes.float()) * step).transpose(1, 2).flatten(2, 3)

    def cut(self, tokens: int) -> None:
        """Keep only the first so many tokens, a multiple of the group."""
        self.used = tokens // self.format.group
        self.held = [t[:, : self.used].clone() for t in self.held] if self.used else []

    def each(self, change) -> None:
        """Replace every tensor with a batch axis by change(tensor)."""
        self.held = [change(t) for t in self.held]

    @property
    def tensors(self) -> list[Tensor]:
        return list(self.held)


def joined(keys: PageStore, values: PageStore):
    """Both stores as the `kernels.kv.Pages` of a batch."""
    from course_lib.kernels.kv import Pages

    batch, room = keys.held[0].shape[:2]
    device = keys.held[0].device
    table = torch.arange(batch, device=device)[:, None] * room + torch.arange(keys.used, device=device)
    lengths = torch.full((batch,), keys.tokens, dtype=torch.int32, device=device)
    (k, ks, *kz), (v, vs, *vz) = ([t.flatten(0, 1) for t in store.held] for store in (keys, values))
    k, v, vs, *vz = (t.transpose(1, 2) for t in (k, v, vs, *vz))  # (pages, tokens, heads, …), as Pages has them
    zeros = (kz[0], vz[0]) if kz else (None, None)
    return Pages(k, v, ks, zeros[0], vs, zeros[1], table.to(torch.int32).contiguous(), lengths)
