"""Attention whose two products run on few bits: SageAttention's way, computed on any device.

    q = s_q Q, k − k̄ = s_k K            Q, K integers, a scale a block of tokens; k̄ the mean key
    score = s_q s_k (Q · K) / √d        integers inside, both scales outside of the sum
    o = Σ_t p̂_t v̂_t / Σ_t p_t           p = exp(score − the row's largest), between 0 and 1

Leaving k̄ out takes q · k̄ from all scores of a query: softmax gives the same shares. Sources: SageAttention (Zhang et
al. 2024, arXiv 2410.02367: INT8, the mean key) and SageAttention2 (arXiv 2411.10958: 4 bits, p and v in E4M3). The
second also takes the mean from the q of a block and adds q̄ · k to the scores, shares scales among the tokens
of a GPU's thread, and its tensor cores add FP8 products with fewer bits than float32 has: none of it is computed here.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

EXACT = 2**24  # integers up to here are exact in float32, and so are their sums
TOP = {"int8": 127, "fp8": 448}  # the largest code


@dataclass(frozen=True)
class Sage:
    """How attention is rounded.

    bits      of q and k, 2 to 8
    smooth    whether the mean key is left out
    blocks    tokens of q and of k that share a scale; (128, 64) in SageAttention's first kernel
    shares    p: None (as it is), "int8" (steps of 1/127) or "fp8" (448 p in E4M3)
    values    v: None, "int8" or "fp8", with a scale a channel
    """

    bits: int = 8
    smooth: bool = True
    blocks: tuple[int, int] = (1, 1)
    shares: str | None = None
    values: str | None = None

    def __post_init__(self) -> None:
        if not 2 <= self.bits <= 8:
            raise ValueError(f"bits must be 2 to 8, got {self.bits}")
        if min(self.blocks) < 1:
            raise ValueError(f"blocks must be two counts of tokens of at least 1, got {self.blocks}")
        for name in ("shares", "values"):
            if getattr(self, name) not in (None, *TOP):
                raise ValueError(f"{name} must be None, 'int8' or 'fp8', got {getattr(self, name)!r}")

    def scores(self, q: Tensor, k: Tensor) -> Tensor:
        """q (…, queries, d) against k (…, tokens, d): (…, queries, tokens) in float32, over √d.

        >>> q, k = torch.tensor([[1.0, -2.0]]), torch.tensor([[100.0, 1.0], [100.0, -1.0]])
        >>> [torch.softmax(Sage(4, smooth).scores(q, k), -1)[0, 0].item() for smooth in (False, True)]  # exact: 0.056
        [0.5, 0.05...]
        """
        width, top = q.shape[-1], 2 ** (self.bits - 1) - 1
        if k.shape[-1] != width:
            raise ValueError(f"q and k must have the same head_dim, got {width} and {k.shape[-1]}")
        if width * top**2 >= EXACT:
            raise ValueError(f"head_dim must stay below {EXACT // top**2} at {self.bits} bits, got {width}")
        q, k = q.float(), k.float()
        if self.smooth:
            k = k - k.mean(-2, keepdim=True)
        (q, q_scale), (k, k_scale) = (integers(x, top, n) for x, n in zip((q, k), self.blocks, strict=True))
        return (q @ k.mT) * (q_scale * k_scale.mT) / math.sqrt(width)

    def output(self, scores: Tensor, v: Tensor) -> Tensor:
        """softmax(scores) v, (…, queries, d) in float32, with shares and values rounded.

        The sum below is that of shares that were not rounded, as in the paper: it is taken before the product.
        """
        v = v.float()
        p = torch.exp(scores - scores.amax(-1, keepdim=True))
        whole = p.sum(-1, keepdim=True)
        if self.shares:
            p = on_codes(p, torch.ones(()), self.shares)
        if self.values:
            v = on_codes(v, v.abs().amax(-2, keepdim=True), self.values)
        return p @ v / whole


def on_codes(x: Tensor, largest: Tensor, kind: str) -> Tensor:
    """x on 8-bit codes, decoded again; `largest` meets the largest code of the kind, "int8" or "fp8".

    >>> on_codes(torch.tensor([1.0, 0.5, 0.003]), torch.ones(()), "int8")  # in steps of 1/127 the last is lost
    tensor([1.0000, 0.5039, 0.0000])
    >>> on_codes(torch.tensor([1.0, 0.5, 0.003]), torch.ones(()), "fp8")
    tensor([1.0000, 0.5000, 0.0031])
    """
    scale = torch.where(largest == 0, 1.0, largest / TOP[kind])
    codes = x / scale
    return (torch.round(codes) if kind == "int8" else codes.to(torch.float8_e4m3fn).float()) * scale


def integers(x: Tensor, top: int, block: int) -> tuple[Tensor, Tensor]:
    """x (…, tokens, d) as whole numbers up to ±top, with the scale of each token: (…, tokens, d), (…, tokens, 1).

    Each block of tokens shares max|x| / top; a block of zeros has scale 1.

    >>> integers(torch.tensor([[2.54, -1.0], [0.5, 0.01]]), 127, block=2)
    (tensor([[127., -50.],
            [ 25.,   0.]]), tensor([[0.0200],
            [0.0200]]))
    """
    largest = x.abs().amax(-1)
    pad = -x.shape[-2] % block
    shared = nn.functional.pad(largest, (0, pad)).unflatten(-1, (-1, block)).amax(-1)
    scale = torch.where(shared == 0, 1.0, shared / top).repeat_interleave(block, -1)[..., : x.shape[-2], None]
    return torch.round(x / scale), scale


def attending(model: nn.Module, way: Sage, shift: float = 0.0) -> nn.Module:
    """A copy of a transformers model, whose attention everywhere runs this way.

    shift    is added to every key's first number after it was turned: a planted mean, that changes no share

    When it runs: ValueError for a model whose scores have a soft cap (Gemma 2) or whose shares have a sink of their own
    (GPT-OSS), which this leaves out.
    """
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import eager_mask

    def forward(module, query, key, value, attention_mask, scaling=None, dropout=0.0, **more):
        if found := [name for name in ("softcap", "s_aux") if more.get(name) is not None]:
            raise ValueError(f"model must attend by softmax of its scores and nothing else, got {found[0]}")
        groups = query.shape[1] // key.shape[1]
        key, value = (x.repeat_interleave(groups, 1) for x in (key, value))
        if shift:
            key = torch.cat([key[..., :1] + shift, key[..., 1:]], -1)
        scores = way.scores(query, key)
        if scaling is not None:
            scores = scores * (scaling * math.sqrt(query.shape[-1]))
        if attention_mask is not None:
            scores = scores + attention_mask[..., : key.shape[-2]]
        return way.output(scores, value).to(query.dtype).transpose(1, 2).contiguous(), None

    name = f"sage-{way.bits}-{way.smooth}-{way.blocks}-{way.shares}-{way.values}-{shift}"
    AttentionInterface.register(name, forward)
    AttentionMaskInterface.register(name, eager_mask)
    other = copy.deepcopy(model)
    other.set_attn_implementation(name)
    return other
