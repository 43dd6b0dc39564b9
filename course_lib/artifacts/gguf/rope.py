"""Scaled rotary positions in a GGUF file: keys for "linear" and "yarn", divisors for "llama3" and "longrope".

A rotary pair j turns by position · base^(-2j/dim). "linear" divides all those frequencies by a factor, "yarn" the slow
ones, with a ramp between. Llama 3.1's rule divides each by its own number, and llama.cpp takes these numbers as they
are: `rope_freqs.weight`. Of Phi-3's there are two sets: see `longrope`. Sources: TextModel.set_gguf_parameters,
LlamaModel and Phi3MiniModel.generate_extra_tensors of llama.cpp's converter; transformers' modeling_rope_utils.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from course_lib.artifacts.gguf import longrope
from course_lib.artifacts.gguf.architectures import ROPE_FREQS, Architecture
from course_lib.artifacts.gguf.values import GGUFError

ROPE_BASE = 10_000.0  # what llama.cpp takes where the key is missing
WINDOWS_BASE = "rope.freq_base_swa"  # Gemma 3's layers with a window turn by another base, and are not scaled
_PUBLISHED = (1.0, 4.0, 8192)  # low_freq_factor, high_freq_factor and original context of every Llama 3.1, 3.2 and 3.3
_CLOSE = 1e-5  # relative: what float32 loses between a parameter and the tensor
_NEEDED = {"default": (), "linear": ("factor",), "yarn": ("factor", "original_max_position_embeddings"),
           "llama3": ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"),
           "longrope": ("original_max_position_embeddings",)}  # fmt: skip
TENSORS = (ROPE_FREQS, *longrope.TENSORS)


def of_config(config, architecture: Architecture) -> dict:
    """`rope_parameters` of a transformers config; ValueError for a scaling that llama.cpp does not compute."""
    rope = getattr(config, "rope_parameters", None) or {"rope_theta": getattr(config, "rope_theta", ROPE_BASE)}
    if "full_attention" in rope:
        local, rope = rope["sliding_attention"], rope["full_attention"]
        if local.get("rope_type", "default") != "default":
            raise ValueError("model must have unscaled rotary positions in layers with a window, as llama.cpp computes"
                             f" them, got rope_type {local['rope_type']!r}")  # fmt: skip
        rope = rope | {"local_theta": local.get("rope_theta")}
    kind = rope.get("rope_type", "default")
    if kind not in architecture.rope:
        raise ValueError(f"model must have rotary positions of a kind that llama.cpp computes for {architecture.name}"
                         f" ({', '.join(architecture.rope)}), got rope_type {kind!r}")  # fmt: skip
    part = rope.get("partial_rotary_factor") if architecture.partial else None
    for name, usual in (("partial_rotary_factor", (part, None, 1)), ("beta_fast", (None, 32)), ("beta_slow", (None, 1)),
                        ("mscale", (None,)), ("mscale_all_dim", (None,)), ("truncate", (None, True))):  # fmt: skip
        if rope.get(name) not in usual:
            raise ValueError(f"model must have rotary positions without a {name} of its own, which llama.cpp does not"
                             f" compute, got {rope[name]!r}")  # fmt: skip
    for name in ("rope_theta", *_NEEDED[kind], *(("local_theta",) if "local_theta" in rope else ())):
        if type(rope.get(name)) not in (int, float) or not 0 < rope[name] < math.inf:
            raise ValueError(f"model must have a positive number as {name} of its {kind} positions,"
                             f" got {rope.get(name)!r}")  # fmt: skip
    return rope


def keys(config, architecture: Architecture) -> dict:
    """The keys of ARCHITECTURE.rope.*, without dimension_count."""
    rope, name = of_config(config, architecture), f"{architecture.name}.rope"
    found = {f"{name}.freq_base": float(rope["rope_theta"])}
    if "local_theta" in rope:
        found[f"{architecture.name}.{WINDOWS_BASE}"] = float(rope["local_theta"])
    if rope.get("rope_type") in ("linear", "yarn"):
        found |= {f"{name}.scaling.type": rope["rope_type"], f"{name}.scaling.factor": float(rope["factor"])}
    if rope.get("rope_type") == "longrope":
        found |= longrope.keys(rope, config.max_position_embeddings, name)
    if rope.get("rope_type") == "yarn":
        found[f"{name}.scaling.original_context_length"] = int(rope["original_max_position_embeddings"])
        if rope.get("attention_factor"):
            found[f"{name}.scaling.attn_factor"] = rope["attention_factor"] / _mscale(rope["factor"])
    return found


def turned(rope: Mapping, head_dim: int) -> int:
    """Numbers of a head that are turned; the others go without positions. ValueError for an odd one."""
    dim = int(head_dim * (rope.get("partial_rotary_factor") or 1))
    if not 0 < dim <= head_dim or dim % 2:
        raise ValueError(f"model must turn an even part of a head of {head_dim}, got {dim}")
    return dim


def tensors(rope: Mapping, dim: int) -> dict[str, Tensor]:
    """The divisors of a scaling by their names in the file, none for most."""
    if rope.get("rope_type") == "longrope":
        return longrope.tensors(rope, dim)
    found = divisors(rope, dim)
    return {} if found is None else {ROPE_FREQS: found}


def divisors(rope: Mapping, dim: int) -> Tensor | None:
    """`rope_freqs.weight` (dim / 2,) of Llama 3.1's scaling, None for the others; 1 leaves a frequency alone.

    With f = factor and L = the original context, a frequency 2π / λ is divided by 1 where λ < L / high, by f where
    λ > L / low, and by 1 / ((1 - s) / f + s), s = (L / λ - low) / (high - low), between.

    >>> rope = dict(rope_type="llama3", rope_theta=10_000.0, factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
    ...             original_max_position_embeddings=64)
    >>> [round(x, 2) for x in divisors(rope, 8).tolist()]
    [1.0, 7.67, 8.0, 8.0]
    """
    if rope.get("rope_type") != "llama3":
        return None
    low, high, factor = (float(rope[name]) for name in ("low_freq_factor", "high_freq_factor", "factor"))
    turns = rope["original_max_position_embeddings"] * _frequencies(rope["rope_theta"], dim) / (2 * math.pi)  # L / λ
    smooth = ((turns - low) / (high - low)).clamp(0, 1)
    between = 1 / ((1 - smooth) / factor + smooth)
    return torch.where(turns > high, torch.ones(()), torch.where(turns < low, torch.tensor(factor), between))


def _frequencies(base: float, dim: int) -> Tensor:
    return 1.0 / base ** (torch.arange(0, dim, 2, dtype=torch.float32) / dim)


def parameters(keys: Mapping, architecture: Architecture, base: float, given: Tensor | None, dim: int) -> dict:
    """`rope_parameters` for transformers from a file's keys and its `rope_freqs.weight`, None where it has none.

    GGUFError for a scaling that is not read, and for divisors that Llama 3.1's rule does not give.
    """
    name = f"{architecture.name}.rope"
    old = f"{name}.scale_linear"  # what the factor was called first
    factor = keys.get(f"{name}.scaling.factor", keys.get(old, 1.0))
    kind = keys.get(f"{name}.scaling.type", "linear")  # llama.cpp's default, which does nothing without a factor
    if kind not in ("none", "linear", "yarn"):
        raise GGUFError(f"{name}.scaling.type must be 'none', 'linear' or 'yarn', got {kind!r:.60}")
    if given is not None and architecture.name != "llama":
        raise GGUFError(f"rope_freqs.weight belongs to llama files, got one of {architecture.name}")
    plain = {"rope_type": "default", "rope_theta": base}
    if kind == "none" or factor in (0.0, 1.0):
        return plain if given is None else {"rope_theta": base} | _llama3(given, base, dim)
    if type(factor) is not float or not 0 < factor < math.inf or given is not None:
        raise GGUFError(f"{name}.scaling.factor must be a positive float, without a tensor rope_freqs.weight beside it,"
                        f" got {factor!r:.60}")  # fmt: skip
    scaled = {"rope_type": kind, "rope_theta": base, "factor": factor}
    return scaled | _yarn(keys, name, factor) if kind == "yarn" else scaled


def _yarn(keys: Mapping, name: str, factor: float) -> dict:
    """What yarn has beside its factor. Its two betas llama.cpp reads for other architectures only, though the converter
    writes them: in the file they change nothing.
    """
    context = keys.get(f"{name}.scaling.original_context_length", keys.get(f"{name.split('.')[0]}.context_length"))
    if type(context) is not int or context < 1:
        raise GGUFError(f"{name}.scaling.original_context_length must be a positive int, got {context!r:.60}")
    scale = keys.get(f"{name}.scaling.attn_factor", 1.0)
    if type(scale) is not float or not 0 < scale < math.inf:
        raise GGUFError(f"{name}.scaling.attn_factor must be a positive float, got {scale!r:.60}")
    found = {"original_max_position_embeddings": context}
    return found if scale == 1 else found | {"attention_factor": scale * _mscale(factor)}


def _mscale(factor: float) -> float:
    """What yarn multiplies cosines and sines by unless told otherwise."""
    return 0.1 * math.log(max(factor, 1)) + 1


def _llama3(given: Tensor, base: float, dim: int) -> dict:
    """The parameters of Llama 3.1's scaling that give these divisors, the published ones first."""
    if tuple(given.shape) != (dim // 2,) or not (torch.isfinite(given) & (given > 0)).all():
        raise GGUFError(f"rope_freqs.weight must hold {dim // 2} positive numbers, got the shape {tuple(given.shape)}")
    factor = given.max().item()
    for low, high, context in _candidates(given.double(), factor, _frequencies(base, dim).double()):
        found = {"rope_type": "llama3", "rope_theta": base, "factor": factor, "low_freq_factor": low,
                 "high_freq_factor": high, "original_max_position_embeddings": context}  # fmt: skip
        if torch.allclose(divisors(found, dim), given, rtol=_CLOSE, atol=0):
            return found
    raise GGUFError("rope_freqs.weight holds divisors that Llama 3.1's rule does not give, and no other rule is read")


def _candidates(given: Tensor, factor: float, frequencies: Tensor) -> Iterator[tuple[float, float, int]]:
    """(low, high, original context) to try: s is linear in the frequency, so two divisors on the ramp give both ends.

    A file does not say low itself, only low / (high - low); low = 1 stands for all.
    """
    yield _PUBLISHED
    on_ramp = (given > 1 + _CLOSE) & (given < factor * (1 - _CLOSE))
    if factor <= 1 or not on_ramp.any():
        fast, slow = frequencies[given <= 1 + _CLOSE], frequencies[given >= factor * (1 - _CLOSE)]
        if len(fast) and len(slow):  # no divisor on the ramp: any context with the ramp in the gap
            yield 1.0, 4.0, round(2 * math.pi * (4 / (fast.min() * slow.max())).sqrt().item())
        return
    smooth, waves = ((1 / given - 1 / factor) / (1 - 1 / factor))[on_ramp], frequencies[on_ramp] / (2 * math.pi)
    yield 1.0, 4.0, round(((3 * smooth[0] + 1) / waves[0]).item())
    if len(smooth) > 1:
        slope = ((smooth[0] - smooth[-1]) / (waves[0] - waves[-1])).item()
        start = slope * waves[0].item() - smooth[0].item()  # low / (high - low)
        if start > 0 and slope > 0:
            yield 1.0, round(1 + 1 / start, 4), round(slope / start)
