"""Plant activation outliers without changing what a model computes."""

import copy

import torch

FACTORS = (64.0, 32.0, 32.0, 16.0, 16.0, 16.0)  # one a planted channel


def readers(layer):
    """Return the two norms of a Llama decoder layer, each with the linears that read its output."""
    attention, mlp = layer.self_attn, layer.mlp
    return (
        (layer.input_layernorm, (attention.q_proj, attention.k_proj, attention.v_proj)),
        (layer.post_attention_layernorm, (mlp.gate_proj, mlp.up_proj)),
    )


@torch.no_grad()
def plant_outliers(model, channels=None, factors=FACTORS, seed=0):
    """Return a copy of a Llama-like `model` whose norms emit large channels, as real LLMs' do.

    For every planted channel j with factor f: norm weight γ_j ← f·γ_j, and column j of each linear behind it is
    divided by f, so W·diag(1/f)·diag(f)·x = W·x. Factors are powers of two, hence exact in binary floating point:
    the logits move by rounding only. `channels` are indices into the hidden size; by default random ones.
    """
    factors = [float(f) for f in factors]
    if any(f <= 0 or torch.frexp(torch.tensor(f)).mantissa != 0.5 for f in factors):
        raise ValueError(f"factors: expected powers of two, got {factors}")
    width = model.config.hidden_size
    if channels is None:
        channels = torch.randperm(width, generator=torch.Generator().manual_seed(seed))[: len(factors)].tolist()
    if len(channels) != len(factors) or any(not 0 <= c < width for c in channels):
        raise ValueError(f"channels: expected {len(factors)} indices in 0…{width - 1}, got {channels}")
    if not hasattr(getattr(model, "model", None), "layers"):
        raise TypeError(f"model: expected a Llama-like model with model.layers, got {type(model).__name__}")
    planted = copy.deepcopy(model)
    index, scale = torch.tensor(channels), torch.tensor(factors)
    for layer in planted.model.layers:
        for norm, linears in readers(layer):
            norm.weight[index] *= scale.to(norm.weight)
            for linear in linears:
                linear.weight[:, index] /= scale.to(linear.weight)
    return planted
