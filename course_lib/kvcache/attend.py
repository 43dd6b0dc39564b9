"""Attention for transformers over a quantized cache: the codes by `kernels.kv`, the other tokens in torch, then joined.

    o = Σ_parts 2^(l_p − l) o_p,   l = log2 Σ 2^(l_p)          l_p: log2 of a part's Σ exp(score)

Two softmaxes over parts of the tokens are one over all of them, weighted by their sums.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from course_lib.kernels import dispatch

NAME = "quantized_kv"  # of the attention in a transformers config


def install(config) -> bool:
    """Let a model with this config attend by `forward`, where it used torch's sdpa; whether it does now."""
    if getattr(config, "_attn_implementation", None) == "sdpa":
        config._attn_implementation = NAME
    return getattr(config, "_attn_implementation", None) == NAME


def forward(module, query, key, value, attention_mask, scaling=None, dropout=0.0, **more):
    """Attention as transformers calls it; keys that bear `.kept` (a QuantizedKVLayer) are only a part of them."""
    kept = getattr(key, "kept", None)
    if kept is None:
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **more
        )
    why = dispatch.unavailable(query) or ("the batch is padded" if attention_mask is not None else "")
    if why:
        kept.ran = str(dispatch.Route(why=why))
        key, value = kept.finish()
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **more
        )
    kept.ran = "kv.decode_attention"
    out = over_codes(query[:, :, 0], kept, scaling)
    kept.finish(decode=False)
    return out[:, None], None  # (batch, 1, heads, dim)


def over_codes(query: Tensor, kept, scaling: float | None) -> Tensor:
    """query (batch, heads, dim), one token of each sequence, over all that a layer keeps: like query."""
    from course_lib.kernels import kv

    width = query.shape[-1]
    scaled = query if scaling is None else query * (scaling * math.sqrt(width))  # the kernel divides by √dim
    parts = [kv.decode_attention(scaled, kept.pages(), with_lse=True)]
    parts += [dense(scaled, *pair) for pair in zip(*kept.plain(), strict=True) if pair[0].shape[2]]
    if len(parts) == 1:
        return parts[0][0]
    tops = torch.stack([lse for _, lse in parts])  # (parts, batch, heads)
    weights = torch.softmax(tops * math.log(2), 0)[..., None]
    return sum(w * out.float() for w, (out, _) in zip(weights, parts, strict=True)).to(query.dtype)


def dense(query: Tensor, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    """(softmax(q Kᵀ / √dim) V, log2 Σ exp) of tokens that are not quantized, in float32."""
    batch, heads, tokens, width = keys.shape
    q = query.reshape(batch, heads, -1, width).float()
    score = q @ keys.float().transpose(-1, -2) / math.sqrt(width)
    out = torch.softmax(score, -1) @ values.float()
    return out.reshape(query.shape), torch.logsumexp(score, -1).reshape(query.shape[:2]) / math.log(2)


AttentionInterface.register(NAME, forward)
AttentionMaskInterface.register(NAME, sdpa_mask)
