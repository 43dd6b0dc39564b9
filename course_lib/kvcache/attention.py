"""How much a quantized cache disturbs attention: keys as in real models, weights before and after, and the error.

    a = softmax(q Kᵀ / √d),   o = a V        error of K in a: |â - a|, error of V in o: ‖ô - o‖ / ‖o‖

Source of the planted keys: KIVI (Liu et al. 2024, figure 2) finds a few channels of the keys large in every token,
with a mean far from zero, and nothing of the kind in the values.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from course_lib.kvcache.format import KVFormat
from course_lib.kvcache.store import round_trip


@dataclass(frozen=True)
class Sample:
    """Queries, keys and values of one head, each (tokens, dim); the last query asks about everything before it."""

    queries: Tensor
    keys: Tensor
    values: Tensor

    @cached_property
    def weights(self) -> Tensor:
        """What each query reads, (queries, tokens): softmax of q Kᵀ / √d, all tokens visible."""
        return weights(self.queries, self.keys)

    @cached_property
    def output(self) -> Tensor:
        """weights · V, (queries, dim)."""
        return self.weights @ self.values


def planted(tokens: int = 128, dim: int = 64, loud: int = 3, seed: int = 0) -> Sample:
    """Random attention of one head whose keys have a few loud channels: a mean of about ±12 where others have 0 ± 1.

    A shared mean moves all scores of a query alike, which softmax does not see: it carries nothing but range.

    >>> s = planted()
    >>> int((s.keys.abs().mean(0) > 6).sum()), int((s.values.abs().mean(0) > 6).sum())
    (3, 0)
    """
    make = torch.Generator().manual_seed(seed)
    topics = torch.randn(8, dim, generator=make) * 1.5
    of = torch.randint(8, (tokens,), generator=make)
    keys = topics[of] * 0.6 + torch.randn(tokens, dim, generator=make) * 0.6
    queries = topics[of] * 0.9 + torch.randn(tokens, dim, generator=make) * 0.6
    values = topics[of].roll(1, -1) * 0.5 + torch.randn(tokens, dim, generator=make)
    at = torch.randperm(dim, generator=make)[:loud]
    sign = torch.randint(2, (loud,), generator=make) * 2 - 1
    keys[:, at] += sign * (12 + torch.rand(loud, generator=make))
    return Sample(queries, keys, values)


def weights(queries: Tensor, keys: Tensor) -> Tensor:
    """softmax(q Kᵀ / √d) along the tokens.

    >>> weights(torch.zeros(1, 4), torch.randn(5, 4)).tolist()[0][0]
    0.20000000298023224
    """
    return torch.softmax(queries @ keys.transpose(-1, -2) / keys.shape[-1] ** 0.5, -1)


@dataclass(frozen=True)
class Outcome:
    """One head after its cache was quantized: keys and values as attention then reads them, and what that changes."""

    sample: Sample
    keys: Tensor
    values: Tensor

    @cached_property
    def weights(self) -> Tensor:
        return weights(self.sample.queries, self.keys)

    @cached_property
    def output(self) -> Tensor:
        return self.weights @ self.values

    @property
    def weight_error(self) -> float:
        """Share of the attention that moved to other tokens: half of |â - a| summed, averaged over queries."""
        return float((self.weights - self.sample.weights).abs().sum(-1).mean() / 2)

    @property
    def output_error(self) -> float:
        """‖ô - o‖ / ‖o‖."""
        return float((self.output - self.sample.output).norm() / self.sample.output.norm())


def outcome(sample: Sample, format: KVFormat) -> Outcome:
    """The sample with its first tokens quantized as `format` says, sinks and recent tokens left alone.

    >>> s = planted()
    >>> by_channel, by_token = (outcome(s, KVFormat("int2", key_axis=a, residual=0)) for a in ("channel", "token"))
    >>> by_token.weight_error > 2.5 * by_channel.weight_error
    True
    """
    n = len(sample.keys)
    sinks, packed, _ = format.split(n)
    middle = slice(sinks, sinks + packed)
    keys, values = sample.keys.clone(), sample.values.clone()
    for x, axis in ((keys, format.key_axis), (values, format.value_axis)):
        if packed:
            x[middle] = round_trip(x[None, None, middle], format, axis)[0, 0]
    return Outcome(sample, keys, values)


def captured(model, tokenizer, text: str, layer: int = 0, head: int = 0) -> Sample:
    """Queries, keys and values that a Llama computes for a text, of one key-value head and its first query head.

    Queries are those of every position, and look at all of the text, the later tokens too.
    """
    attention = model.model.layers[layer].self_attn
    seen = {}

    def keep(module, args, kwargs):
        seen["x"], seen["rope"] = kwargs["hidden_states"], kwargs["position_embeddings"]

    handle = attention.register_forward_pre_hook(keep, with_kwargs=True)
    try:
        with torch.no_grad():
            ids = tokenizer(text, return_tensors="pt").input_ids.to(model.device)
            model(input_ids=ids, use_cache=False)
            return _project(attention, seen["x"], seen["rope"], head)
    finally:
        handle.remove()


def _project(attention, x: Tensor, rope: tuple[Tensor, Tensor], head: int) -> Sample:
    """One head's q, k, v from the layer's input, rotated as the model rotates them."""
    from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

    q, k, v = (
        linear(x).unflatten(-1, (-1, attention.head_dim)).transpose(1, 2)
        for linear in (attention.q_proj, attention.k_proj, attention.v_proj)
    )
    q, k = apply_rotary_pos_emb(q, k, *rope)
    return Sample(q[0, head * attention.num_key_value_groups].float(), k[0, head].float(), v[0, head].float())


def with_loud_keys(model, channels: int = 4, factor: float = 8.0, seed: int = 0):
    """A copy of a Llama that computes the same, with a few key channels `factor` times as large in every layer.

    Rows of k_proj are multiplied and the rows of q_proj that meet them divided, so that every q · k is as before. RoPE
    turns channel i together with channel i + head_dim / 2: both of a pair get the factor, and `channels` is even.
    """
    if channels % 2 or not 0 < channels <= model.config.head_dim:
        raise ValueError(f"channels must be an even number up to {model.config.head_dim}, got {channels}")
    loud, half = copy.deepcopy(model), model.config.head_dim // 2
    make = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for layer in loud.model.layers:
            at = torch.randperm(half, generator=make)[: channels // 2]
            s = torch.ones(2 * half)
            s[at], s[at + half] = factor, factor
            for linear, by in ((layer.self_attn.k_proj, s), (layer.self_attn.q_proj, 1 / s)):
                linear.weight.mul_(by.repeat(len(linear.weight) // len(s))[:, None].to(linear.weight))
    return loud
