"""AWQ checkpoints, "GEMM" version: 4 bits packed along the outputs, eight to a word, in an order of their own."""

from __future__ import annotations

import torch
from torch import Tensor

from course_lib.artifacts import experts
from course_lib.artifacts.layout import Facts, Layout, claim, expect, finite, group_size, whole_words, words
from course_lib.formats.packing import pack, unpack
from course_lib.qtensor import QTensor

ORDER = (0, 2, 4, 6, 1, 3, 5, 7)  # nibble i of a word, lowest first, holds output ORDER[i] of the eight


class Awq(Layout):
    """The layout of AutoAWQ's GEMM kernel, for w (out, in) in groups of g columns:

    =======  ======================  =============================================
    qweight  int32 (in, out/8)       nibble i of word j: output 8*j + ORDER[i]
    qzeros   int32 (in/g, out/8)     the same order; the zero point itself, no - 1
    scales   float16 (in/g, out)
    =======  ======================  =============================================
    """

    name = method = "awq"
    bits = (4,)
    symmetric = (False,)

    def check_one(self, name: str, q: QTensor) -> None:
        super().check_one(name, q)
        whole_words(name, q.shape, 4, self.name)
        if q.g_idx is not None:
            raise ValueError(f"{name}: layout 'awq' has no g_idx, so columns cannot be reordered (act-order): take"
                             " layout 'gptq_v2', or static groups")  # fmt: skip

    def pack(self, name: str, q: QTensor) -> dict[str, Tensor]:
        return {
            "qweight": _pack(q.codes),
            "qzeros": _pack(q.zero_point),
            "scales": q.scale.t().contiguous(),
        }

    def suffixes(self, facts: Facts) -> tuple[str, ...]:
        return ("qweight", "qzeros", "scales")

    def unpack(self, name: str, parts: dict[str, Tensor], shape: tuple[int, int], facts: Facts) -> QTensor:
        rows, columns = shape
        groups = facts.groups(columns, name)
        whole_words(name, shape, 4, self.name)
        expect(f"{name}.qweight", parts["qweight"], (torch.int32,), (columns, words(rows, 4)))
        expect(f"{name}.qzeros", parts["qzeros"], (torch.int32,), (groups, words(rows, 4)))
        expect(f"{name}.scales", parts["scales"], (torch.float16, torch.bfloat16), (groups, rows))
        finite(f"{name}.scales", parts["scales"])
        codes, zeros = (_unpack(parts[part], rows) for part in ("qweight", "qzeros"))
        scheme = facts.scheme(parts["scales"].dtype)
        return QTensor(codes, parts["scales"].t().contiguous(), zeros, scheme, shape)

    def config(self, qtensors: dict[str, QTensor], left: list[str]) -> dict:
        scheme = next(iter(qtensors.values())).scheme
        return {
            "quant_method": "awq",
            "bits": 4,
            "group_size": scheme.block[1],
            "zero_point": True,
            "version": "gemm",
            "modules_to_not_convert": experts.together(left),
        }

    def facts(self, config: dict) -> Facts:
        claim(config, "version", ("gemm",), "gemm")
        claim(config, "zero_point", (True,), True)
        return Facts(claim(config, "bits", self.bits), group_size(config), False)


def _order(outputs: int) -> Tensor:
    """Position in the stream -> output."""
    return (torch.arange(0, outputs, 8)[:, None] + torch.tensor(ORDER)).flatten()


def _pack(codes: Tensor) -> Tensor:
    """(out, n) -> int32 (n, out/8)."""
    return pack(codes[_order(len(codes))].t().contiguous(), 4, axis=1, word=torch.int32)


def _unpack(packed: Tensor, outputs: int) -> Tensor:
    """int32 (n, out/8) -> (out, n)."""
    stream = unpack(packed, 4, outputs, axis=1).t()
    codes = torch.empty_like(stream, memory_format=torch.contiguous_format)
    codes[_order(outputs)] = stream
    return codes
