"""A decode step of a Llama out of these kernels: static shapes, so that one CUDA graph is the whole step.

any weights, any batch    normalize · qkv · rotate, cache · attend · o · add, normalize · gate and up · silu · down
one sequence              qkv · attention, in two · o · gate and up · down         (`fused`; for int4 and E4M3 `lanes`)
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from course_lib.kernels import digits, fused, glue, kv, lanes, w4a16, w8a8
from course_lib.kernels.packing import PackedInt4

Linear = Callable[[Tensor], Tensor]  # (tokens, in) -> (tokens, out)


@dataclass(frozen=True)
class Shape:
    """The numbers of a Llama that a step needs; the defaults are Llama-3-8B's."""

    hidden: int = 4096
    layers: int = 32
    heads: int = 32
    kv_heads: int = 8
    width: int = 128
    inner: int = 14336
    vocabulary: int = 128256
    base: float = 500000.0
    eps: float = 1e-5

    @property
    def linears(self) -> dict[str, tuple[int, int]]:
        """(out, in) of the four products of a layer, q, k and v in one, gate and up in one."""
        both = (self.heads + 2 * self.kv_heads) * self.width
        return {"qkv": (both, self.hidden), "o": (self.hidden, self.heads * self.width),
                "gate_up": (2 * self.inner, self.hidden), "down": (self.hidden, self.inner)}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Full:
    """A linear whose weight (out, in) is not quantized."""

    w: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        return F.linear(x, self.w)


@dataclass(frozen=True, eq=False)
class Int4:
    """A linear whose weight is packed int4."""

    w: PackedInt4

    def __call__(self, x: Tensor) -> Tensor:
        return w4a16.linear(x, self.w)


@dataclass(frozen=True, eq=False)
class E4M3:
    """A linear whose weight is in E4M3: W8A8 for many tokens."""

    w: lanes.Codes

    def __call__(self, x: Tensor) -> Tensor:
        return w8a8.fp8_linear(x, self.w.codes, self.w.scale)


@dataclass(frozen=True, eq=False)
class Layer:
    norm: Tensor
    qkv: Linear
    o: Linear
    after: Tensor
    gate_up: Linear
    down: Linear


@dataclass(frozen=True, eq=False)
class Dense:
    """keys and values (sequences, kv_heads, room, width).

    way: one of torch's for (q, k, v), which reads all the room, or None for our own, which reads what is there.
    """

    keys: Tensor
    values: Tensor
    way: Callable[[Tensor, Tensor, Tensor], Tensor] | None = None

    def attend(self, qkv: Tensor, model: Decoder) -> Tensor:
        heads, (sequences, kv_heads, _, width) = model.shape.heads, self.keys.shape
        if self.way is None:
            return fused.attention(qkv, model.cos, model.sin, model.positions, self.keys, self.values, heads)
        q = glue.rotate(qkv, model.cos, model.sin, model.positions, self.keys, self.values, heads)
        shared = q.view(sequences, kv_heads, heads // kv_heads, width)  # rows of one query: keys are read once
        return self.way(shared, self.keys, self.values).reshape(sequences, heads * width)


@dataclass(frozen=True, eq=False)
class Paged:
    """The cache in E4M3, in pages."""

    pages: kv.Pages

    def attend(self, qkv: Tensor, model: Decoder) -> Tensor:
        q = glue.rotate_pages(qkv, model.cos, model.sin, model.positions, self.pages, model.shape.heads)
        return kv.decode_attention(q, self.pages).flatten(1)


class Decoder:
    """Weights and caches of a step; `positions` (sequences,) int32 says where the new tokens stand."""

    def __init__(self, shape: Shape, layers: list[Layer], embedding: Tensor, norm: Tensor, head: Linear):
        self.shape, self.layers, self.embedding, self.norm, self.head = shape, layers, embedding, norm, head
        self.caches: list[Dense | Paged] = []
        self.positions = torch.zeros(0, dtype=torch.int32, device=embedding.device)
        self.cos = self.sin = torch.zeros(0)

    def hold(self, caches: list, positions: Tensor, room: int) -> None:
        """Take caches, one a layer, with room for so many tokens."""
        self.caches, self.positions = caches, positions
        half = self.shape.width // 2
        turns = self.shape.base ** -(torch.arange(half, device=self.embedding.device).double() / half)
        angles = torch.arange(room, device=self.embedding.device).double()[:, None] * turns
        self.cos, self.sin = angles.cos().float(), angles.sin().float()

    def step(self, tokens: Tensor, alone: bool = True) -> Tensor:
        """Logits (sequences, vocabulary) after one token of each sequence, whose keys and values are cached.

        alone=False keeps one sequence, too, on the way that takes any number of them.
        """
        eps = self.shape.eps
        if alone and len(tokens) == 1 and self._takes_lanes():
            return self._lanes(tokens)
        x, y = F.embedding(tokens, self.embedding), None
        if alone and len(tokens) == 1 and isinstance(self.layers[0].qkv, Full):
            return self._alone(x)
        for layer, cache in zip(self.layers, self.caches, strict=True):
            attended = cache.attend(layer.qkv(glue.add_norm(x, y, layer.norm, eps)), self)
            gated = glue.silu_mul(layer.gate_up(glue.add_norm(x, layer.o(attended), layer.after, eps)))
            y = layer.down(gated)
        return self.head(glue.add_norm(x, y, self.norm, eps))

    def _alone(self, x: Tensor) -> Tensor:
        """The same for x (1, hidden) and full weights."""
        eps = self.shape.eps
        for layer, cache in zip(self.layers, self.caches, strict=True):
            attended = cache.attend(fused.products(x, layer.qkv.w, layer.norm, eps), self)
            fused.products(attended, layer.o.w, add=x)
            gated = fused.products(x, layer.gate_up.w, layer.after, eps, gated=True)
            fused.products(gated, layer.down.w, add=x)
        return fused.products(x, self.head.w, self.norm, eps)

    def _takes_lanes(self) -> bool:
        linears = [getattr(layer, name) for layer in self.layers for name in self.shape.linears]
        kind = self.embedding.dtype == torch.bfloat16 or not digits.ASM
        return kind and all(isinstance(linear, Int4 | E4M3) and lanes.fits(linear.w) for linear in linears)

    def _lanes(self, tokens: Tensor) -> Tensor:
        """The same for one token and weights in int4 or E4M3; a norm is the business of whoever adds to x."""
        eps, norms = self.shape.eps, [*(layer.norm for layer in self.layers[1:]), self.norm]
        x, normal = lanes.start(tokens, self.embedding, self.layers[0].norm, eps)
        for layer, cache, norm in zip(self.layers, self.caches, norms, strict=True):
            attended = cache.attend(lanes.products(normal, layer.qkv.w, ahead=layer.o.w), self)
            ahead = {"ahead": layer.gate_up.w, "ahead_gated": True}
            normal = lanes.products(attended, layer.o.w, add=x, norm=layer.after, eps=eps, **ahead)
            gated = lanes.products(normal, layer.gate_up.w, gated=True)
            normal = lanes.products(gated, layer.down.w, add=x, norm=norm, eps=eps)
        return fused.products(x, self.head.w, self.norm, eps)


def kv_bytes(shape: Shape, tokens: int, bits: int) -> int:
    """Bytes of the keys and values of so many tokens, over all layers, scales left out."""
    return math.ceil(2 * shape.layers * shape.kv_heads * shape.width * tokens * bits / 8)
