"""MLX checkpoints: what mlx-lm reads and writes on Apple's machines, integers with a bias or small floats in blocks."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from course_lib.artifacts.layout import Facts, Layout, claim, expect, finite, words
from course_lib.formats import affine, microscaling
from course_lib.formats.packing import pack, unpack
from course_lib.qtensor import QTensor
from course_lib.scheme import Scheme

DTYPES = (torch.float16, torch.bfloat16, torch.float32)
FLOATS = {
    "mxfp4": microscaling.scheme("mxfp4"),
    "mxfp8": microscaling.scheme("mxfp8_e4m3"),
    "nvfp4": replace(microscaling.scheme("nvfp4"), tensor_scale=False),
}
DEFAULTS = {"affine": (4, 64)} | {mode: (scheme.bits, scheme.block[1]) for mode, scheme in FLOATS.items()}


class Mlx(Layout):
    """The layout of mlx.core.quantize, MLX 0.32, for w (out, in) in groups of g columns, g one of 32, 64 and 128:

    ======  =========================  ======================================================
    weight  uint32 (out, in*b/32)      the codes of a row, lowest bits first, across words too
    scales  16 or 32 bits (out, in/g)
    biases  like scales                w_hat = scales * q + biases
    ======  =========================  ======================================================

    So is the mode "affine". The modes "mxfp4", "mxfp8" and "nvfp4" have no biases, and a byte for a scale: E8M0, or
    E4M3 for nvfp4, in blocks of 32 or 16. Their codes are those of `formats.microscaling`.

    Linears may differ in mode, bits and group, and embeddings may be quantized, too: config.json names every layer
    that differs. `load` returns affine QTensors with codes, scales and biases as stored; `affine.to_integers` finds
    whole zero points where there are such. Written are those, and integers by way of `affine.of_integers`.
    """

    name = method = "mlx"
    marker = "scales"
    keys = ("quantization", "quantization_config")
    embeddings = True
    experts = False  # mlx-lm has those of a layer in one tensor, switch_mlp
    bits = affine.BITS
    symmetric = ("full", False, True)
    scale_dtypes = (torch.float16, torch.bfloat16)

    def check(self, qtensors: dict[str, QTensor]) -> Scheme:
        """One of the schemes: linears may differ, but for the dtype of their scales."""
        schemes = {q.scheme: name for name, q in qtensors.items()}
        for scheme in schemes:
            self.check_scheme(scheme)
        wide = {scheme: name for scheme, name in schemes.items() if not _mode(scheme)}
        if len(dtypes := {scheme.scale_dtype: name for scheme, name in wide.items()}) > 1:
            (a, first), (b, second) = dtypes.items()
            raise ValueError(f"layout 'mlx' stores all linears in one dtype, got {a} in {first} and {b} in {second}")
        for name, q in qtensors.items():
            self.check_one(name, q)
        return next(iter(wide or schemes))

    def dtype(self, scheme: Scheme) -> torch.dtype:
        """The dtype of all that is not quantized: that of the scales, bfloat16 where scales are bytes."""
        return torch.bfloat16 if _mode(scheme) else scheme.scale_dtype

    def check_scheme(self, scheme: Scheme) -> None:
        if _mode(scheme):
            return
        if _mode(replace(scheme, tensor_scale=False, scale_rule=None)):
            raise ValueError(f"layout 'mlx' has no scale for a whole matrix: quantize with tensor_scale=False, got"
                             f" {scheme.name!r}")  # fmt: skip
        ours = isinstance(scheme.codec, affine.Affine)
        if not ours and scheme.zero_dtype is None:
            super().check_scheme(scheme)
        if scheme.bits not in self.bits or scheme.block[0] != 1 or scheme.block[1] not in affine.GROUPS:
            raise ValueError(f"layout 'mlx' holds 2, 3, 4, 5, 6 or 8 bits in groups of 32, 64 or 128 columns, got"
                             f" {scheme.name!r}")  # fmt: skip
        if scheme.scale_dtype not in self.scale_dtypes or scheme.tensor_scale or scheme.scale_scheme is not None:
            raise ValueError(f"layout 'mlx' stores one scale a group in float16 or bfloat16, got {scheme.name!r} with"
                             f" {scheme.scale_dtype}")  # fmt: skip

    def check_one(self, name: str, q: QTensor) -> None:
        super().check_one(name, q if not _mode(q.scheme) else replace(q, scale=q.scale.float()))
        if not _mode(q.scheme):
            finite(name, _affine(name, q).zero_point, "bias")
        if q.g_idx is not None:
            raise ValueError(f"{name}: layout 'mlx' has no g_idx, so columns cannot be reordered (act-order): take"
                             " layout 'gptq_v2', or static groups")  # fmt: skip

    def pack(self, name: str, q: QTensor) -> dict[str, Tensor]:
        mode = _mode(q.scheme)
        q = q if mode else _affine(name, q)
        weight = pack(q.codes, q.scheme.bits, axis=1, word=torch.int32).view(torch.uint32)
        if mode:
            return {"weight": weight, "scales": q.scale.contiguous().view(torch.uint8)}
        return {"weight": weight, "scales": q.scale.contiguous(), "biases": q.zero_point.contiguous()}

    def suffixes(self, facts: Facts) -> tuple[str, ...]:
        return ("weight", "scales") if facts.mode in FLOATS else ("weight", "scales", "biases")

    def unpack(self, name: str, parts: dict[str, Tensor], shape: tuple[int, int], facts: Facts) -> QTensor:
        rows, columns = shape
        facts = facts.of(name)
        groups, dtype = facts.groups(columns, name), parts["scales"].dtype
        expect(f"{name}.weight", parts["weight"], (torch.uint32,), (rows, words(columns, facts.bits)))
        codes = unpack(parts["weight"].view(torch.int32), facts.bits, columns, axis=1)
        if facts.mode in FLOATS:
            expect(f"{name}.scales", parts["scales"], (torch.uint8,), (rows, groups))
            scale = parts["scales"].view(FLOATS[facts.mode].scale_dtype)
            finite(f"{name}.scales", scale.float())
            q = QTensor(codes, scale, None, FLOATS[facts.mode], shape)
            finite(f"{name}.weight", q.dequantize(), "weight")  # E4M3 has codes that are no numbers
            return q
        expect(f"{name}.scales", parts["scales"], DTYPES, (rows, groups))
        expect(f"{name}.biases", parts["biases"], (dtype,), (rows, groups))
        finite(f"{name}.scales", parts["scales"])
        finite(f"{name}.biases", parts["biases"], "bias")
        scheme = affine.scheme(facts.bits, facts.group, dtype)
        return QTensor(codes, parts["scales"], parts["biases"], scheme, shape)

    def config(self, qtensors: dict[str, QTensor], left: list[str]) -> dict:
        each = {name: _claims(q.scheme) for name, q in qtensors.items()}
        most = max(each.values(), key=list(each.values()).count)
        return most | {name: claims for name, claims in each.items() if claims != most}

    def facts(self, config: dict) -> Facts:
        """Top-level numbers, and those of the layers that are named; false is a layer that is left as it is."""
        named = {name: one for name, one in config.items() if isinstance(one, dict) or one is False}
        layers = {name: None if one is False else _facts(one) for name, one in named.items()}
        return replace(_facts({key: value for key, value in config.items() if key not in named}), layers=layers)


def _affine(name: str, q: QTensor) -> QTensor:
    """q as it is stored."""
    try:
        return q if isinstance(q.scheme.codec, affine.Affine) else affine.of_integers(q)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error


def _mode(scheme: Scheme) -> str:
    """MLX's mode of a scheme of small floats, "" for another; whatever the rule was that chose the scales."""
    plain = replace(scheme, scale_rule=None)
    return next((mode for mode, one in FLOATS.items() if one == plain), "")


def _claims(scheme: Scheme) -> dict:
    return {"group_size": scheme.block[1], "bits": scheme.bits, "mode": _mode(scheme) or "affine"}


def _facts(claims: dict) -> Facts:
    """The facts of one layer's claims; MLX has defaults for what is missing or null."""
    claims = {key: value for key, value in claims.items() if value is not None}
    mode = claim(claims, "mode", tuple(DEFAULTS), "affine")
    bits, group = DEFAULTS[mode]
    known = (affine.BITS, affine.GROUPS) if mode == "affine" else ((bits,), (group,))
    bits, group = claim(claims, "bits", known[0], bits), claim(claims, "group_size", known[1], group)
    return Facts(bits, group, mode in FLOATS, mode=mode)
