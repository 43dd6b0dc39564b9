"""Which tensor gets which type: llama.cpp's named mixes for Llama-like models, as in its llama-quant.cpp.

A mix such as Q4_K_M is a base type and a few exceptions: tensors whose errors hurt most get more bits. With 8 experts
attention is a small part of a model, and gets more; the router stays float32.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

from course_lib.artifacts.gguf.tensors import Kind, kind, type_id
from course_lib.formats import ggml


class Model(NamedTuple):
    """What the rules ask about a model: layers, query heads per key/value head, and what stands in the file."""

    layers: int
    gqa: int
    tied: bool  # token_embd is also the output layer
    imatrix: bool = False
    architecture: str = "llama"
    experts: int = 0  # of a layer; 0: a dense model

    @property
    def is_70b(self) -> bool:
        """llama.cpp's type "70B": 80 layers; of a llama also query heads that share their key/value heads."""
        return self.layers == 80 and {"llama": self.gqa > 1, "qwen2": True}.get(self.architecture, False)


BASE = {  # mix: (base type, llama.cpp's number in general.file_type)
    "F32": ("F32", 0), "F16": ("F16", 1), "BF16": ("BF16", 32), "Q4_0": ("Q4_0", 2), "Q4_1": ("Q4_1", 3),
    "Q8_0": ("Q8_0", 7), "Q5_0": ("Q5_0", 8), "Q5_1": ("Q5_1", 9), "Q2_K": ("Q2_K", 10), "Q3_K_S": ("Q3_K", 11),
    "Q3_K_M": ("Q3_K", 12), "Q3_K_L": ("Q3_K", 13), "Q4_K_S": ("Q4_K", 14), "Q4_K_M": ("Q4_K", 15),
    "Q5_K_S": ("Q5_K", 16), "Q5_K_M": ("Q5_K", 17), "Q6_K": ("Q6_K", 18), "IQ4_NL": ("IQ4_NL", 25),
    "IQ3_S": ("IQ3_S", 26), "IQ3_M": ("IQ3_S", 27), "IQ4_XS": ("IQ4_XS", 30), "Q2_K_S": ("Q2_K", 21),
    "IQ3_XS": ("IQ3_S", 22), "IQ3_XXS": ("IQ3_XXS", 23), "IQ2_M": ("IQ2_S", 29), "IQ2_S": ("IQ2_XS", 28),
    "IQ2_XS": ("IQ2_XS", 20), "IQ2_XXS": ("IQ2_XXS", 19), "IQ1_M": ("IQ1_M", 31), "IQ1_S": ("IQ1_S", 24),
    "TQ1_0": ("TQ1_0", 36), "TQ2_0": ("TQ2_0", 37), "MXFP4_MOE": ("MXFP4", 38),
}  # fmt: skip
WRITTEN = tuple(mix for mix, (base, _) in BASE.items() if not base.startswith("IQ") or base in ggml.WRITTEN)
NEED_IMATRIX = tuple(mix for mix in BASE if mix.startswith(("IQ1", "IQ2", "IQ3_X")) or mix == "Q2_K_S")
# llama-quantize refuses these without one: tensor_requires_imatrix in llama-quant.cpp
FALLBACK = {"Q2_K": "Q4_0", "Q3_K": "Q4_0", "Q4_K": "Q5_0", "Q5_K": "Q5_1", "Q6_K": "Q8_0", "TQ1_0": "Q4_0",
            "TQ2_0": "Q4_0"}  # fmt: skip
FALLBACK |= dict.fromkeys((name for name in ggml.TYPES if name.startswith("IQ") and name != "IQ4_NL"), "IQ4_NL")
LOWEST = ("IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS")  # mixes whose exceptions are Q2_K; those of the next two are IQ3_S
LOW = ("IQ2_S", "IQ2_M")


def use_more_bits(layer: int, layers: int) -> bool:
    """The first and the last eighth of the layers, and every third one between.

    >>> [i for i in range(16) if use_more_bits(i, 16)]
    [0, 1, 4, 7, 10, 13, 14, 15]
    """
    return layer < layers // 8 or layer >= 7 * layers // 8 or (layer - layers // 8) % 3 == 2


def tensor_type(name: str, shape: tuple[int, ...], mix: str, model: Model) -> str:
    """The type of one tensor under a mix, the fallback for rows that are not whole blocks included.

    Where not even the fallback's blocks fit, F16; llama.cpp gives up where a base type of 32 weights does not fit.

    >>> tensor_type("blk.0.attn_v.weight", (1024, 4096), "Q4_K_M", Model(32, 4, False))
    'Q6_K'
    >>> tensor_type("blk.0.ffn_up.weight", (96, 160), "Q4_K_M", Model(4, 1, False))
    'Q5_0'
    """
    if mix not in BASE:
        raise ValueError(f"mix must be one of {', '.join(BASE)}, got {mix!r}")
    base = BASE[mix][0]
    if len(shape) < 2 or "_norm." in name or "ffn_gate_inp." in name or not name.endswith("weight"):
        return "F32"
    if base in ("F32", "F16", "BF16"):
        return base
    if base == "MXFP4":  # for experts; all else is Q8_0
        chosen = "MXFP4" if len(shape) == 3 and shape[0] > 1 else "Q8_0"
    elif name == "output.weight" or (model.tied and name == "token_embd.weight"):
        chosen = "Q5_K" if mix in (*LOWEST, *LOW, "IQ3_XXS") else "Q6_K"
        chosen = "Q8_0" if base == "Q8_0" or shape[-1] % size_of(base).elements else chosen
    elif name == "token_embd.weight":
        chosen = (dict.fromkeys(LOWEST, "Q2_K") | dict.fromkeys((*LOW, "IQ3_XXS"), "IQ3_S")
                  | {"TQ1_0": "Q4_K", "TQ2_0": "Q4_K"}).get(mix, base)  # fmt: skip
    else:
        chosen = _exception(name, mix, model) or base
    if shape[-1] % size_of(chosen).elements:
        chosen = FALLBACK.get(chosen, "F16")
    return chosen if shape[-1] % size_of(chosen).elements == 0 else "F16"


def bits_per_weight(shapes: dict[str, tuple[int, ...]], mix: str, model: Model) -> float:
    """Bits of all tensors over their number of weights: shapes by tensor name."""
    bits = weights = 0
    for name, shape in shapes.items():
        n, k = 1, size_of(tensor_type(name, shape, mix, model))
        for axis in shape:
            n *= axis
        bits, weights = bits + 8 * n // k.elements * k.bytes, weights + n
    return bits / weights


@functools.cache
def size_of(name: str) -> Kind:
    """How many bytes hold how many weights of a type."""
    return kind(type_id(name))


def _exception(name: str, mix: str, model: Model) -> str | None:
    """The type of a tensor inside a layer where it is not the mix's base type."""
    parts = name.split(".")
    if len(parts) != 4 or parts[0] != "blk":
        return None
    layer, role, n = int(parts[1]), parts[2], model.layers
    rule = _RULES.get(role)
    return rule(mix, layer, n, model) if rule else None


def _attn_v(mix, layer, layers, model):
    many = model.gqa >= 4
    chosen = {
        "Q2_K": "Q4_K" if many else "Q3_K",
        "Q3_K_M": "Q5_K" if layer < 2 else "Q4_K",
        "Q3_K_L": "Q5_K",
        "Q4_K_S": "Q5_K" if layer < 4 else None,
        "Q4_K_M": "Q6_K" if use_more_bits(layer, layers) else None,
        "Q5_K_M": "Q6_K" if use_more_bits(layer, layers) else None,
        "IQ4_NL": "Q5_K" if many else None,
        "IQ4_XS": "Q5_K" if many else None,
        "IQ3_S": "Q4_K" if many else None,
        "IQ3_XS": "Q4_K" if many else None,
        "IQ3_XXS": "Q4_K" if many else None if model.imatrix else "IQ3_S",
        "IQ3_M": "Q4_K",
        "Q2_K_S": "Q4_K" if many else None,
    }.get(mix)
    if mix in (*LOWEST, *LOW):
        return "Q4_K" if many or model.experts >= 4 else "Q2_K" if mix in LOWEST else "IQ3_S"
    if model.experts == 8:
        return "Q8_0"
    few = (chosen or BASE[mix][0]) in ("Q3_K", "Q4_K")
    return "Q5_K" if model.is_70b and few else chosen


def _ffn_down(mix, layer, layers, model):
    early, more = layer < layers // 8, use_more_bits(layer, layers)
    return {
        "Q2_K": "Q3_K",
        "Q3_K_M": "Q5_K" if layer < layers // 16 else "Q4_K",
        "Q3_K_L": "Q5_K",
        "Q4_K_S": "Q5_K" if early else None,
        "Q4_K_M": "Q6_K" if more else None,
        "Q5_K_M": "Q6_K" if more else None,
        "IQ4_NL": "Q5_K" if early and not model.imatrix else None,
        "IQ4_XS": "Q5_K" if early and not model.imatrix else None,
        "IQ3_M": "Q4_K" if early or (model.experts == 8 and more) else None,
        "IQ3_XXS": None if model.imatrix else "Q4_K" if early else "Q3_K",
        "Q2_K_S": "Q4_K" if early else None,
        **dict.fromkeys(LOWEST, "Q2_K" if early else None),
        **dict.fromkeys(LOW, "IQ3_S" if early else None),
        "Q4_0": "Q4_1" if early and model.imatrix else None,
        "Q5_0": "Q5_1" if early and model.imatrix else None,
    }.get(mix)


def _attn_output(mix, layer, layers, model):
    if model.experts == 8:
        return "Q5_K" if mix in _OUTPUT_OF_8 else None
    return {"Q2_K": "Q3_K", "Q3_K_M": "Q4_K", "Q3_K_L": "Q5_K", "IQ3_M": "Q4_K", "IQ3_XXS": "IQ3_S",
            "IQ2_S": "IQ3_S", "IQ2_M": "IQ3_S", "IQ1_S": "IQ2_XXS", "IQ1_M": "IQ2_XXS"}.get(mix)  # fmt: skip


def _attn_k(mix, layer, layers, model):
    if model.experts == 8:
        return "Q4_K" if mix in (*LOWEST, *LOW) else "Q8_0"
    return _attn_q(mix, layer, layers, model)


def _attn_q(mix, layer, layers, model):
    return {"IQ3_XS": "IQ3_XXS", "IQ3_XXS": "IQ2_S"}.get(mix)


def _ffn_gate_or_up(mix, layer, layers, model):
    return "IQ3_XXS" if mix == "IQ3_XS" and layers // 8 <= layer < 7 * layers // 8 else None


_OUTPUT_OF_8 = (*LOWEST, *LOW, "IQ3_XXS", "IQ3_XS", "IQ3_S", "IQ3_M", "IQ4_NL", "IQ4_XS", "Q2_K", "Q3_K_S", "Q3_K_M",
                "Q4_K_S", "Q4_K_M")  # fmt: skip
_RULES = {"attn_v": _attn_v, "attn_qkv": _attn_v, "ffn_down": _ffn_down, "attn_output": _attn_output,
          "attn_q": _attn_q, "attn_k": _attn_k, "ffn_gate": _ffn_gate_or_up, "ffn_up": _ffn_gate_or_up}  # fmt: skip
_RULES |= {f"{role}_exps": _RULES[role] for role in ("ffn_gate", "ffn_up", "ffn_down")}
