"""MLX checkpoints, mode "affine": what mlx-lm reads and writes on Apple's machines; a bias in place of a zero point."""

from __future__ import annotations

import torch
from torch import Tensor

from course_lib.artifacts.layout import Facts, Layout, claim, expect, finite, words
from course_lib.formats import affine
from course_lib.formats.packing import pack, unpack
from course_lib.qtensor import QTensor
from course_lib.scheme import Scheme

DTYPES = (torch.float16, torch.bfloat16, torch.float32)


class Mlx(Layout):
    """The layout of mlx.core.quantize, MLX 0.32, for w (out, in) in groups of g columns, g one of 32, 64 and 128:

    ======  =========================  ======================================================
    weight  uint32 (out, in*b/32)      the codes of a row, lowest bits first, across words too
    scales  16 or 32 bits (out, in/g)
    biases  like scales                w_hat = scales * q + biases
    ======  =========================  ======================================================

    Linears may differ in bits and group, embeddings may be quantized, too: config.json names every layer that differs.
    `load` returns QTensors of `formats.affine`, codes, scales and biases as stored; `affine.to_integers` finds whole
    zero points where there are such. Written are those, and integers by way of `affine.of_integers`.
    """

    name = method = "mlx"
    marker = "scales"
    keys = ("quantization", "quantization_config")
    embeddings = True
    bits = affine.BITS
    symmetric = ("full", False, True)
    scale_dtypes = (torch.float16, torch.bfloat16)

    def check(self, qtensors: dict[str, QTensor]) -> Scheme:
        """One of the schemes: linears may differ, but for the dtype of their scales."""
        schemes = {q.scheme: name for name, q in qtensors.items()}
        for scheme in schemes:
            self.check_scheme(scheme)
        if len(dtypes := {scheme.scale_dtype: name for scheme, name in schemes.items()}) > 1:
            (a, first), (b, second) = dtypes.items()
            raise ValueError(f"layout 'mlx' stores all linears in one dtype, got {a} in {first} and {b} in {second}")
        for name, q in qtensors.items():
            self.check_one(name, q)
        return next(iter(schemes))

    def check_scheme(self, scheme: Scheme) -> None:
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
        super().check_one(name, q)
        finite(name, _affine(name, q).zero_point, "bias")
        if q.g_idx is not None:
            raise ValueError(f"{name}: layout 'mlx' has no g_idx, so columns cannot be reordered (act-order): take"
                             " layout 'gptq_v2', or static groups")  # fmt: skip

    def pack(self, name: str, q: QTensor) -> dict[str, Tensor]:
        q = _affine(name, q)
        return {
            "weight": pack(q.codes, q.scheme.bits, axis=1, word=torch.int32).view(torch.uint32),
            "scales": q.scale.contiguous(),
            "biases": q.zero_point.contiguous(),
        }

    def suffixes(self, facts: Facts) -> tuple[str, ...]:
        return ("weight", "scales", "biases")

    def unpack(self, name: str, parts: dict[str, Tensor], shape: tuple[int, int], facts: Facts) -> QTensor:
        rows, columns = shape
        facts = facts.of(name)
        groups, dtype = facts.groups(columns, name), parts["scales"].dtype
        expect(f"{name}.weight", parts["weight"], (torch.uint32,), (rows, words(columns, facts.bits)))
        expect(f"{name}.scales", parts["scales"], DTYPES, (rows, groups))
        expect(f"{name}.biases", parts["biases"], (dtype,), (rows, groups))
        finite(f"{name}.scales", parts["scales"])
        finite(f"{name}.biases", parts["biases"], "bias")
        codes = unpack(parts["weight"].view(torch.int32), facts.bits, columns, axis=1)
        scheme = affine.scheme(facts.bits, facts.group, dtype)
        return QTensor(codes, parts["scales"], parts["biases"], scheme, shape)

    def config(self, qtensors: dict[str, QTensor], left: list[str]) -> dict:
        each = {name: _claims(q.scheme.bits, q.scheme.block[1]) for name, q in qtensors.items()}
        most = max(each.values(), key=list(each.values()).count)
        return most | {name: claims for name, claims in each.items() if claims != most}

    def facts(self, config: dict) -> Facts:
        """Top-level numbers, and those of the layers that are named; false is a layer that is left as it is."""
        named = {name: one for name, one in config.items() if isinstance(one, dict) or one is False}
        layers = {name: Facts(*_facts(one)) if one else None for name, one in named.items()}
        return Facts(*_facts({key: value for key, value in config.items() if key not in named}), layers)


def _affine(name: str, q: QTensor) -> QTensor:
    """q as it is stored."""
    try:
        return q if isinstance(q.scheme.codec, affine.Affine) else affine.of_integers(q)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error


def _claims(bits: int, group: int) -> dict:
    return {"group_size": group, "bits": bits, "mode": "affine"}


def _facts(claims: dict) -> tuple[int, int, bool]:
    """Bits, group and symmetry of one layer's claims; MLX has defaults for what is missing or null."""
    claims = {"bits": 4, "group_size": 64} | {key: value for key, value in claims.items() if value is not None}
    claim(claims, "mode", ("affine",), "affine")
    return claim(claims, "bits", affine.BITS), claim(claims, "group_size", affine.GROUPS), False
