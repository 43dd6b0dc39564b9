"""compressed-tensors, format "pack-quantized": what llm-compressor writes and vLLM reads for weight-only integers."""

from __future__ import annotations

import torch
from torch import Tensor

from course_lib.artifacts.layout import Facts, Layout, claim, expect, finite, group_size, words
from course_lib.formats.packing import pack, unpack
from course_lib.qtensor import QTensor


class Compressed(Layout):
    """The layout of compressed-tensors 0.19, for w (out, in) in groups of g columns:

    =================  =========================  =============================================================
    weight_packed      int32 (out, in*b/32)       signed code + 2^(b-1), that is our code, lowest bits first
    weight_scale       float16/bfloat16 (out, in/g)
    weight_shape       int64 (2,)                 out, in
    weight_zero_point  int32 (out*b/32, in/g)     only if not symmetric; packed along the outputs
    =================  =========================  =============================================================
    """

    name = method = "compressed-tensors"
    marker = "weight_packed"
    bits = (4, 8)
    scale_dtypes = (torch.float16, torch.bfloat16)

    def check_one(self, name: str, q: QTensor) -> None:
        super().check_one(name, q)
        if q.g_idx is not None:
            raise ValueError(f"{name}: layout 'compressed-tensors' has no g_idx any more, so columns cannot be"
                             " reordered (act-order): take layout 'gptq_v2', or static groups")  # fmt: skip

    def pack(self, name: str, q: QTensor) -> dict[str, Tensor]:
        parts = {
            "weight_packed": pack(q.codes, q.scheme.bits, axis=1, word=torch.int32),
            "weight_scale": q.scale.contiguous(),
            "weight_shape": torch.tensor(q.shape, dtype=torch.int64),
        }
        if q.scheme.symmetric is False:
            parts["weight_zero_point"] = pack(q.zero_point, q.scheme.bits, axis=0, word=torch.int32)
        return parts

    def suffixes(self, facts: Facts) -> tuple[str, ...]:
        always = ("weight_packed", "weight_scale", "weight_shape")
        return always if facts.symmetric else (*always, "weight_zero_point")

    def unpack(self, name: str, parts: dict[str, Tensor], shape: tuple[int, int], facts: Facts) -> QTensor:
        rows, columns = shape
        bits, groups = facts.bits, facts.groups(columns, name)
        packed, scales, stored = (parts[s] for s in ("weight_packed", "weight_scale", "weight_shape"))
        expect(f"{name}.weight_packed", packed, (torch.int32,), (rows, words(columns, bits)))
        expect(f"{name}.weight_scale", scales, self.scale_dtypes, (rows, groups))
        expect(f"{name}.weight_shape", stored, (torch.int64, torch.int32), (2,))
        finite(f"{name}.weight_scale", scales)
        if stored.tolist() != list(shape):
            raise ValueError(f"{name}.weight_shape: expected {list(shape)}, got {stored.tolist()}")
        zeros = torch.full((rows, groups), 2 ** (bits - 1), dtype=torch.uint8)
        if not facts.symmetric:
            expect(f"{name}.weight_zero_point", parts["weight_zero_point"], (torch.int32,), (words(rows, bits), groups))
            zeros = unpack(parts["weight_zero_point"], bits, rows, axis=0)
        return QTensor(unpack(packed, bits, columns, axis=1), scales, zeros, facts.scheme(scales.dtype), shape)

    def config(self, qtensors: dict[str, QTensor], left: list[str]) -> dict:
        scheme = next(iter(qtensors.values())).scheme
        group = scheme.block[1]
        weights = {
            "num_bits": scheme.bits,
            "type": "int",
            "symmetric": scheme.symmetric == "full",
            "strategy": "channel" if group == -1 else "group",
            "group_size": None if group == -1 else group,
            "dynamic": False,
        }
        return {
            "quant_method": "compressed-tensors",
            "format": "pack-quantized",
            "quantization_status": "compressed",
            "config_groups": {"group_0": {"targets": ["Linear"], "weights": weights}},
            "ignore": left,
        }

    def facts(self, config: dict) -> Facts:
        claim(config, "format", ("pack-quantized",))
        groups = config.get("config_groups")
        if not isinstance(groups, dict) or len(groups) != 1 or not isinstance(next(iter(groups.values())), dict):
            raise ValueError("quantization_config: config_groups must hold one group, which all linears share")
        (group,) = groups.values()
        weights = group.get("weights")
        if not isinstance(weights, dict) or group.get("input_activations") or group.get("output_activations"):
            raise ValueError("quantization_config: a config group must quantize weights and no activations")
        bits = claim(weights, "num_bits", self.bits)
        claim(weights, "type", ("int",), "int")
        strategy = claim(weights, "strategy", ("group", "channel"))
        size = group_size(weights) if strategy == "group" else -1
        return Facts(bits, size, "full" if claim(weights, "symmetric", (True, False)) else False)
