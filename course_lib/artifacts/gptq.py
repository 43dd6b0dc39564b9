"""GPTQ checkpoints: 2, 3, 4 or 8 bits packed along the inputs into int32, and a group number for every input."""

from __future__ import annotations

import re

import torch
from torch import Tensor

from course_lib.artifacts import experts
from course_lib.artifacts.layout import Facts, Layout, claim, expect, finite, group_size, whole_words, words
from course_lib.formats.packing import pack, unpack
from course_lib.qtensor import QTensor


class Gptq(Layout):
    """The layout of AutoGPTQ and GPTQModel, for w (out, in) in groups of g columns:

    =======  ========================  ===================================================
    qweight  int32 (in*b/32, out)      code i of a column in bits i*b … of the stream
    qzeros   int32 (in/g, out*b/32)    v1 ("gptq") stores zero - 1, "gptq_v2" stores zero
    scales   float16 (in/g, out)
    g_idx    int32 (in,)               group of each input: w_hat = scales[g_idx] * (q - zero)
    =======  ========================  ===================================================

    The lowest bit comes first. At 3 bits 32 codes fill 3 words, so two of them lie across a word's border.
    v1 has no way to store a zero point of 0: it would have to store -1, on which its readers disagree.
    """

    method = "gptq"
    bits = (2, 3, 4, 8)

    def __init__(self, name: str, minus_one: bool):
        self.name, self.minus_one = name, minus_one

    def check_one(self, name: str, q: QTensor) -> None:
        super().check_one(name, q)
        whole_words(name, q.shape, q.scheme.bits, self.name)
        if self.minus_one and not q.zero_point.all():
            raise ValueError(f"{name}: layout 'gptq' stores zero point - 1 and so cannot hold a zero point of 0, which"
                             " an all-positive group has: take layout 'gptq_v2'")  # fmt: skip

    def pack(self, name: str, q: QTensor) -> dict[str, Tensor]:
        bits, columns, groups = q.scheme.bits, q.shape[1], q.scale.shape[1]
        zeros = q.zero_point.t().contiguous() - (1 if self.minus_one else 0)
        g_idx = torch.arange(columns) // (columns // groups) if q.g_idx is None else q.g_idx
        return {
            "qweight": pack(q.codes.t().contiguous(), bits, axis=0, word=torch.int32),
            "qzeros": pack(zeros, bits, axis=1, word=torch.int32),
            "scales": q.scale.t().contiguous(),
            "g_idx": g_idx.to(torch.int32),
        }

    def suffixes(self, facts: Facts) -> tuple[str, ...]:
        return ("qweight", "qzeros", "scales", "g_idx")

    def unpack(self, name: str, parts: dict[str, Tensor], shape: tuple[int, int], facts: Facts) -> QTensor:
        rows, columns = shape
        bits, groups = facts.bits, facts.groups(columns, name)
        whole_words(name, shape, bits, self.name)
        expect(f"{name}.qweight", parts["qweight"], (torch.int32,), (words(columns, bits), rows))
        expect(f"{name}.qzeros", parts["qzeros"], (torch.int32,), (groups, words(rows, bits)))
        expect(f"{name}.scales", parts["scales"], (torch.float16, torch.bfloat16), (groups, rows))
        expect(f"{name}.g_idx", parts["g_idx"], (torch.int32,), (columns,))
        finite(f"{name}.scales", parts["scales"])
        codes = unpack(parts["qweight"], bits, columns, axis=0).t().contiguous()
        zeros = self._zeros(name, unpack(parts["qzeros"], bits, rows, axis=1), facts).t().contiguous()
        g_idx = _g_idx(name, parts["g_idx"], groups)
        scheme = facts.scheme(parts["scales"].dtype)
        return QTensor(codes, parts["scales"].t().contiguous(), zeros, scheme, shape, g_idx)

    def _zeros(self, name: str, stored: Tensor, facts: Facts) -> Tensor:
        """Zero points from what is stored; v1 and v2 taken for each other are told apart where that is possible."""
        top, middle = 2**facts.bits - 1, 2 ** (facts.bits - 1)
        if self.minus_one and (stored == top).any():
            raise ValueError(f"{name}.qzeros: checkpoint_format 'gptq' stores zero point - 1, so that {top} would mean"
                             f" {top + 1}, which {facts.bits} bits cannot say: is the file 'gptq_v2'?")  # fmt: skip
        zeros = stored + (1 if self.minus_one else 0)
        if facts.symmetric == "full" and not (zeros == middle).all():
            odd, other = zeros[zeros != middle][0].item(), "gptq_v2" if self.minus_one else "gptq"
            raise ValueError(f"{name}.qzeros: sym=true means a zero point of {middle} everywhere, got {odd}: is the"
                             f" file {other!r}, or not symmetric?")  # fmt: skip
        return zeros

    def config(self, qtensors: dict[str, QTensor], left: list[str]) -> dict:
        scheme = next(iter(qtensors.values())).scheme
        config = {
            "quant_method": "gptq",
            "bits": scheme.bits,
            "group_size": scheme.block[1],
            "desc_act": any(_reordered(q) for q in qtensors.values()),
            "sym": scheme.symmetric == "full",
            "checkpoint_format": self.name,
            "pack_dtype": "int32",
            "lm_head": "lm_head" in qtensors,
        }
        inside = [name for name in experts.together(left) if name != "lm_head"]
        mixture = any(".experts." in name for name in (*qtensors, *left))
        if inside and not mixture:  # transformers and vLLM; of a mixture, vLLM reads the files' headers instead
            config["modules_in_block_to_quantize"] = [sorted(qtensors)]
        if inside:  # GPTQModel and vLLM
            ends = {name: r"\b" if name.endswith(".experts") else "$" for name in inside}
            config["dynamic"] = {f"-:^{re.escape(name)}{end}": {} for name, end in ends.items()}
        return config

    def facts(self, config: dict) -> Facts:
        bits = claim(config, "bits", self.bits)
        claim(config, "pack_dtype", ("int32",), "int32")
        dynamic = config.get("dynamic") or {}
        if not isinstance(dynamic, dict) or any(not str(rule).startswith("-:") for rule in dynamic):
            raise ValueError("quantization_config: dynamic may only leave linears out ('-:…'), got other rules")
        return Facts(bits, group_size(config), "full" if claim(config, "sym", (True, False)) else False)


def _g_idx(name: str, g_idx: Tensor, groups: int) -> Tensor | None:
    """The stored g_idx, None where it is the trivial one; ValueError for a group that does not exist."""
    if not 0 <= g_idx.min() <= g_idx.max() < groups:
        raise ValueError(f"{name}.g_idx: every group must lie in 0…{groups - 1}, got {g_idx.min().item()}…"
                         f"{g_idx.max().item()}")  # fmt: skip
    trivial = torch.arange(len(g_idx)) // (len(g_idx) // groups)
    return None if torch.equal(g_idx.long(), trivial) else g_idx


def _reordered(q: QTensor) -> bool:
    """Whether some column's group is not column // g, as after act-order."""
    return q.g_idx is not None and _g_idx("", q.g_idx, q.scale.shape[1]) is not None
