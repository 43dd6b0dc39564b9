"""Which models a GGUF file holds: llama.cpp's names of architectures and tensors, and the order of q's and k's rows.

llama.cpp turns pairs of neighbours in the "llama" architecture, numbers half a head apart in the others, as Hugging
Face does. So the rows of q and k move in "llama" files, and in no other. Gemma multiplies by 1 + its norms' weights,
and a file holds the sums. Phi-3 has q, k and v in one matrix, gate and up in another. Mixtral is a "llama" of experts.
Source: llama.cpp's conversion/llama.py, qwen.py, gemma.py and phi.py, llama-arch.cpp and src/models; names as in the
gguf package's TensorNameMap.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from torch import Tensor

from course_lib.artifacts.gguf.experts import merged

OUTSIDE = {
    "model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output",
}  # fmt: skip
INSIDE = {
    "self_attn.qkv_proj": "attn_qkv", "mlp.gate_up_proj": "ffn_up",  # before those that are not fused: `hf_name`
    "input_layernorm": "attn_norm", "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output", "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
    "self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm",
    "mlp.gate": "ffn_gate_inp", "mlp.experts.gate_proj": "ffn_gate_exps", "mlp.experts.up_proj": "ffn_up_exps",
    "mlp.experts.down_proj": "ffn_down_exps",
}  # fmt: skip
HEAD_NORMS = ("attn_q_norm", "attn_k_norm")
EXPERTS, DENSE = ("ffn_gate_inp", "ffn_gate_exps", "ffn_up_exps", "ffn_down_exps"), ("ffn_gate", "ffn_up", "ffn_down")
ROPE_FREQS = "rope_freqs.weight"


class Architecture(NamedTuple):
    """One value of general.architecture.

    permuted    rows of q and k lie in ggml's order, see `permute`
    biases      roles of the linears that may have one
    head_norms  q and k are normalized head by head before they are turned
    rope        kinds of rotary scaling (transformers' rope_type) that llama.cpp computes for it
    activation  transformers' name of the feed-forward part's
    own_head    whether the output layer may be another matrix than the embedding
    shift       what a file adds to the weights of norms
    windows     of so many layers the last attends to all tokens, the others to a window of them; 0: no windows
    local       layers with a window turn by a rotary base of their own, unscaled
    caps        soft caps (names as in a config) that it has: True where there must be one
    partial     a part of each head may go without positions; a head is then width / heads
    wide        of so many layers it divides scores by √(width / heads), not by √head_dim: the largest of a family
    names       roles of tensors that other architectures call otherwise
    experts     whether its layers have experts in place of one feed-forward part; None: some models of it
    """

    name: str
    permuted: bool
    biases: tuple[str, ...]
    head_norms: bool
    rope: tuple[str, ...]
    activation: str = "silu"
    own_head: bool = True
    shift: float = 0.0
    windows: int = 0
    local: bool = False
    caps: Mapping[str, bool] = {}
    partial: bool = False
    wide: int = 0
    names: Mapping[str, str] = {}
    experts: bool | None = False

    @property
    def model_type(self) -> str:
        """transformers' name of a model that a file of it becomes."""
        return {"gemma3": "gemma3_text", "qwen3moe": "qwen3_moe"}.get(self.name, self.name)

    def heads(self, config) -> dict[str, int]:
        """Role -> heads of the linears whose rows are permuted."""
        q, k = config.num_attention_heads, config.num_key_value_heads
        return {"attn_q": q, "attn_k": k} if self.permuted else {}

    def holds(self, name: str) -> bool:
        """Whether llama.cpp reads a tensor of this name, such as "blk.0.attn_q.bias"."""
        role, leaf = name.split(".")[-2:]
        if leaf == "bias":
            return role in self.biases
        if role in EXPERTS or self.experts and role in DENSE:
            return self.experts is not False and role in EXPERTS
        return (self.head_norms or role not in HEAD_NORMS) and (self.own_head or role != "output")

    def shift_of(self, name: str) -> float:
        """What the file adds to a tensor of this name."""
        return self.shift if name.endswith("norm.weight") else 0.0


_QKV, _REST = ("attn_q", "attn_k", "attn_v"), ("attn_output", "ffn_gate", "ffn_up", "ffn_down")
_GEMMA = dict(permuted=False, biases=(), rope=("default", "linear"), activation="gelu_pytorch_tanh", shift=1.0)
_FOUR_NORMS = {"post_attention_layernorm": "post_attention_norm", "pre_feedforward_layernorm": "ffn_norm",
               "post_feedforward_layernorm": "post_ffw_norm"}  # fmt: skip
ARCHITECTURES = {
    a.name: a for a in (
        Architecture("llama", True, (*_QKV, *_REST), False, ("default", "linear", "yarn", "llama3"), experts=None),
        Architecture("qwen2", False, _QKV, False, ("default", "linear", "yarn")),
        Architecture("qwen3", False, (), True, ("default", "linear", "yarn")),
        Architecture("qwen3moe", False, (), True, ("default", "linear", "yarn"), experts=True),
        Architecture("gemma", head_norms=False, own_head=False, **_GEMMA),
        Architecture("gemma2", head_norms=False, own_head=False, windows=2, wide=46, names=_FOUR_NORMS,
                     caps={"attn_logit_softcapping": True, "final_logit_softcapping": True}, **_GEMMA),
        Architecture("gemma3", head_norms=True, windows=6, local=True, wide=62, names=_FOUR_NORMS,
                     caps={"final_logit_softcapping": False}, **_GEMMA),
        Architecture("phi3", False, (), False, ("default", "longrope"), partial=True,
                     names={"mlp.gate_up_proj": "ffn_up"}),
    )
}  # fmt: skip
OF_MODEL_TYPE = {a.model_type: name for name, a in ARCHITECTURES.items()} | {"mistral": "llama", "mixtral": "llama"}


def of_config(config) -> Architecture:
    """The architecture of a transformers config; ValueError for one that is not written, or not as it is configured."""
    if config.model_type not in OF_MODEL_TYPE:
        raise ValueError(f"model must be one of {', '.join(OF_MODEL_TYPE)}, got model_type {config.model_type!r}")
    found = ARCHITECTURES[OF_MODEL_TYPE[config.model_type]]
    activation = getattr(config, "hidden_activation", None) or getattr(config, "hidden_act", "silu")
    if activation != found.activation:
        raise ValueError(f"model must have the activation {found.activation}, as llama.cpp computes it,"
                         f" got {activation!r}")  # fmt: skip
    if not found.windows:
        _check_windows(config)
    return found


def _check_windows(config) -> None:
    """ValueError for windows where llama.cpp has none."""
    kinds, window = getattr(config, "layer_types", None) or (), getattr(config, "sliding_window", None)
    if "sliding_attention" in kinds:
        raise ValueError("model must attend to all tokens, as llama.cpp computes it, got layers of sliding_attention")
    context = config.max_position_embeddings
    if not kinds and window is not None and window < context:  # as in Mistral 7B v0.1
        raise ValueError("model must attend to all tokens, as llama.cpp computes it, got a sliding_window of"
                         f" {window} in a context of {context}: with max_position_embeddings of {window} in its"
                         " config.json it does")  # fmt: skip


def gguf_name(name: str, architecture: Architecture = ARCHITECTURES["llama"]) -> str:
    """llama.cpp's name of a parameter; ValueError for one that it does not know. (Linears have one name everywhere.)

    The matrices of one expert have the name of the tensor that holds those of all.

    >>> gguf_name("model.layers.3.self_attn.q_proj.weight"), gguf_name("model.layers.3.mlp.experts.7.up_proj.weight")
    ('blk.3.attn_q.weight', 'blk.3.ffn_up_exps.weight')
    """
    stem, _, leaf = merged(name)[0].rpartition(".")
    if stem in OUTSIDE:
        return f"{OUTSIDE[stem]}.{leaf}"
    parts = stem.split(".", 3)
    inside = INSIDE | architecture.names
    if len(parts) == 4 and parts[:2] == ["model", "layers"] and parts[3] in inside:
        return f"blk.{int(parts[2])}.{inside[parts[3]]}.{leaf}"
    raise ValueError(f"{name} has no counterpart in a GGUF file of the architecture {architecture.name}")


def hf_name(name: str, architecture: Architecture = ARCHITECTURES["llama"]) -> str:
    """The way back from gguf_name."""
    stem, _, leaf = name.rpartition(".")
    outside = {ours: theirs for theirs, ours in OUTSIDE.items()}
    if stem in outside:
        return f"{outside[stem]}.{leaf}"
    inside = {ours: theirs for names in (INSIDE, architecture.names) for theirs, ours in names.items()}
    parts = stem.split(".")
    if len(parts) == 3 and parts[0] == "blk" and parts[1].isdecimal() and parts[2] in inside:
        return f"model.layers.{int(parts[1])}.{inside[parts[2]]}.{leaf}"
    raise ValueError(f"{name} is no tensor of a {architecture.name} model")


def permute(w: Tensor, heads: int) -> Tensor:
    """Rows of q or k (heads * head_dim, in) in ggml's order: rotated pairs side by side instead of half a head apart.

    Hugging Face turns row j with row j + head_dim/2 of a head, ggml's "llama" row 2j with row 2j + 1. Forget it, and
    the model still loads and still speaks, nonsense.

    >>> import torch
    >>> permute(torch.arange(8)[:, None], heads=2).flatten().tolist()
    [0, 2, 1, 3, 4, 6, 5, 7]
    """
    half = w.shape[0] // heads // 2
    return w.reshape(heads, 2, half, *w.shape[1:]).transpose(1, 2).reshape(w.shape)


def unpermute(w: Tensor, heads: int) -> Tensor:
    """The way back from permute."""
    half = w.shape[0] // heads // 2
    return w.reshape(heads, half, 2, *w.shape[1:]).transpose(1, 2).reshape(w.shape)
