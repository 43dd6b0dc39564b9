"""Stored bytes of a model by the name of a format, every tensor that keeps its 16 bits included.

A format says which matrices it quantizes. Embeddings, head, router, norms and biases usually stay as they were; that
is why "4 bits" is never 4 bits. GGUF's mixes decide tensor by tensor (artifacts/gguf/mixes).
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

from course_lib.artifacts import layouts
from course_lib.artifacts.gguf import architectures, mixes
from course_lib.capacity.plan.tensors import EXPERTS, Part, parts, tied
from course_lib.kvcache.config import released

LINEAR = ("attention", "mlp", "experts")
MATRICES = (*LINEAR, "router", "embed", "head")


@dataclass(frozen=True)
class Format:
    """bits a code, and what each block of a matrix (out, in) stores beside it.

    block       (rows, columns) that share a scale; 0 means the whole axis
    scale_bits  of one scale; zero_bits of one zero point
    per_matrix  bits once a matrix; per_column bits once an input column (g_idx of GPTQ)
    where       the roles that are quantized; with `experts_only`, only experts where the model has any
    unit        the arithmetic that it was made for (Device.native)
    """

    name: str
    title: str
    bits: Fraction
    source: str
    block: tuple[int, int] | None = None
    scale_bits: int = 0
    zero_bits: int = 0
    per_matrix: int = 0
    per_column: int = 0
    where: tuple[str, ...] = LINEAR
    experts_only: bool = False
    unit: str = "fp16"

    def matrix_bits(self, shape: tuple[int, ...]) -> Fraction:
        """Bits of one quantized matrix.

        >>> int(FORMATS["awq"].matrix_bits((4096, 4096))) / 4096**2
        4.15625
        """
        rows, columns = shape if len(shape) == 2 else (1, math.prod(shape))
        blocks = 0
        if self.block is not None:
            high, wide = (size or axis for size, axis in zip(self.block, (rows, columns), strict=True))
            blocks = -(-rows // high) * -(-columns // wide)
        codes = rows * columns * self.bits
        return codes + blocks * (self.scale_bits + self.zero_bits) + self.per_matrix + columns * self.per_column


def _plain(name: str, title: str, bits: int, unit: str) -> Format:
    return Format(name, title, Fraction(bits), "one number after the other", where=(), unit=unit)


def _mlx(bits: int) -> Format:
    source = "mlx.core.quantize, affine: scale and bias 16 bits a group; mlx-lm rounds embedding and head, too"
    return Format(f"mlx-{bits}bit", f"MLX, {bits} bits, groups of 64", Fraction(bits), source, (1, 64), 16, 16,
                  where=MATRICES)  # fmt: skip


_TABLE = (
    _plain("fp32", "FP32", 32, "fp32"),
    _plain("bf16", "BF16", 16, "bf16"),
    _plain("fp16", "FP16", 16, "fp16"),
    Format("int8", "INT8, one scale a row", Fraction(8), "compressed-tensors int-quantized: weight_scale 16 bits a row",
           (1, 0), 16, unit="int8"),
    Format("fp8", "FP8 E4M3, one scale a row", Fraction(8),
           "compressed-tensors float-quantized (FP8_DYNAMIC): weight_scale 16 bits a row", (1, 0), 16, unit="fp8"),
    Format("fp8-block", "FP8 E4M3, blocks of 128 x 128", Fraction(8),
           "DeepSeek-V3 technical report (arXiv:2412.19437) 3.3.2: weight_scale_inv, 32 bits a block", (128, 128), 32,
           unit="fp8"),
    Format("gptq", "GPTQ INT4, groups of 128", Fraction(4),
           "AutoGPTQ's layout: scale 16 and zero point 4 bits a group, g_idx 32 bits a column", (1, 128), 16, 4,
           per_column=32),
    Format("awq", "AWQ INT4, groups of 128", Fraction(4), "AutoAWQ's layout: scale 16 and zero point 4 bits a group",
           (1, 128), 16, 4),
    Format("w4a16", "INT4, groups of 128, symmetric", Fraction(4),
           "compressed-tensors pack-quantized: weight_scale 16 bits a group, weight_shape 128 bits a matrix", (1, 128),
           16, per_matrix=128),
    Format("nf4", "NF4, double quantization", Fraction(4),
           "QLoRA (arXiv:2305.14314) 3: 8 bits a block of 64, and 32 bits for 256 of these", (1, 64), 8),
    Format("mxfp4", "MXFP4", Fraction(4), "OCP Microscaling Formats 1.0: E8M0 scale a block of 32; experts only",
           (1, 32), 8, experts_only=True, unit="fp4"),
    Format("nvfp4", "NVFP4", Fraction(4),
           "NVIDIA ModelOpt: E4M3 scale a block of 16, FP32 scales of tensor and inputs", (1, 16), 8, per_matrix=64,
           unit="fp4"),
    *map(_mlx, (3, 4, 6, 8)),
)  # fmt: skip
FORMATS: dict[str, Format] = {f.name: f for f in _TABLE}
PACKED = {"gptq_v2": "gptq", "gptq": "gptq", "awq": "awq", "compressed-tensors": "w4a16"}  # layout: format
GGUF = tuple(mixes.BASE)
MIXTURES = ("mixtral", "qwen3_moe")  # whose GGUF files the course writes
ALIASES = {"gptq-int4": "gptq", "int4-g128": "gptq", "awq-int4": "awq", "w8a8": "int8",
           "bfloat16": "bf16", "float16": "fp16", "e4m3": "fp8", "16": "bf16"}  # fmt: skip


def packed(layout: str, bits: int, group: int, symmetric: bool = True) -> Format:
    """The format of a checkpoint in a layout of `artifacts.LAYOUTS`; group -1 is a whole row.

    >>> packed("gptq", 4, 64).title
    'GPTQ INT4, groups of 64'
    """
    base = FORMATS[PACKED[layout]]
    kind = base.title.split(",")[0].rstrip("0123456789") + str(bits)
    said = f"groups of {group}" if group > 0 else "one scale a row"
    zero = 0 if base.name == "w4a16" and symmetric else bits
    name = base.name if base.name != "w4a16" else f"w{bits}a16"
    return replace(base, name=f"{name}-g{group}", title=f"{kind}, {said}", bits=Fraction(bits),
                   block=(1, max(group, 0)), zero_bits=zero)  # fmt: skip


def of_files(config: Mapping[str, Any]) -> Format | None:
    """How the files beside a config.json are quantized, None where they are not; ValueError for what is not known."""
    claims = layouts.claimed(dict(config))
    if claims is None:
        return None
    try:
        layout = layouts.of_config(claims)
        facts = layout.facts(claims)
    except ValueError as error:
        raise ValueError(f"weights must be given, since config.json is that of quantized files: {error}") from None
    if layout.name not in PACKED:
        raise ValueError(f"weights must be given, since config.json is that of quantized files ({layout.name})")
    return packed(layout.name, facts.bits, facts.group, bool(facts.symmetric))


def weight_format(name: str | float | Format) -> Format | str:
    """The format of this name: a Format, the name of a GGUF mix, or for a number so many bits for every matrix.

    >>> weight_format("q4_k_m"), weight_format("4.5").title, weight_format("awq-g64").title
    ('Q4_K_M', '4.5 bits for every matrix', 'AWQ INT4, groups of 64')
    """
    if isinstance(name, Format):
        return name
    wanted = str(name).strip().lower()
    wanted = ALIASES.get(wanted, wanted)
    if wanted in FORMATS:
        return FORMATS[wanted]
    if grouped := re.fullmatch(r"(gptq|awq|w4a16)-g(\d{1,6})", wanted):
        layout = {name: layout for layout, name in PACKED.items()}[grouped[1]]
        if group := int(grouped[2]):
            return packed(layout, 4, group)
    mix = wanted.removeprefix("gguf:").removeprefix("gguf-").upper()
    if mix in mixes.BASE and (wanted.startswith("gguf") or mix not in ("F32", "F16", "BF16")):
        return mix
    try:
        bits = Fraction(wanted.removesuffix("bits").removesuffix("bit").strip())
    except (ValueError, ZeroDivisionError):
        bits = Fraction(0)
    if not 0 < bits <= 32:
        known = ", ".join((*FORMATS, *GGUF[3:]))
        raise ValueError(f"weights must be one of {known}, or bits such as 4.5, got {name!r}")
    return Format(f"{float(bits):g}-bit", f"{float(bits):g} bits for every matrix", bits, "no scales: an ideal figure",
                  where=MATRICES)  # fmt: skip


def title(fmt: Format | str) -> str:
    """How people call it."""
    return fmt if isinstance(fmt, str) else fmt.title


def stored(config: Mapping[str, Any], fmt: Format | str) -> list[tuple[Part, Fraction]]:
    """Every part of the model with its bits; what a Format leaves alone has 16, in GGUF the mix says it.

    >>> tiny = dict(model_type="llama", hidden_size=64, intermediate_size=64, num_hidden_layers=1,
    ...             num_attention_heads=1, vocab_size=64)
    >>> int(sum(bits for _, bits in stored(tiny, FORMATS["bf16"]))) // 8
    74112
    """
    found = parts(config)
    if isinstance(fmt, str):
        model = gguf_model(config)
        return [(part, _gguf_bits(part, fmt, model)) for part in found]
    if fmt.experts_only and any(part.role == "experts" for part in found):
        fmt = replace(fmt, where=("experts",))
    return [(part, part.count * one(part, fmt)) for part in found]


def one(part: Part, fmt: Format) -> Fraction:
    """Bits of one tensor of a part."""
    if not fmt.where:
        return math.prod(part.shape) * fmt.bits
    if part.role in fmt.where and part.role != "small":
        if fmt.name == "nf4":
            return _nf4(math.prod(part.shape))
        return fmt.matrix_bits(part.shape)
    return Fraction(math.prod(part.shape) * 16)


def _nf4(count: int) -> Fraction:
    blocks = -(-count // 64)
    return Fraction(4 * count + 8 * blocks + 32 * -(-blocks // 256) + 32)  # and the mean of the scales


def gguf_type(part: Part, layer: int | None, mix: str, model: mixes.Model) -> str:
    """The tensor type that a mix gives to this part in this layer."""
    stem, _, leaf = part.name.rpartition(".")
    name = (architectures.OUTSIDE | architectures.INSIDE).get(stem, f"{stem}_norm" if part.role == "small" else stem)
    place = "" if layer is None else f"blk.{layer}."
    shape = (part.experts, *part.shape) if part.role == "experts" else part.shape
    return mixes.tensor_type(f"{place}{name}.{leaf}", shape, mix, model)


def _gguf_bits(part: Part, mix: str, model: mixes.Model) -> Fraction:
    types = [gguf_type(part, layer, mix, model) for layer in (part.layers or (None,))]
    numbers = part.experts * math.prod(part.shape)
    return sum(Fraction(8 * numbers * size.bytes, size.elements) for size in map(mixes.size_of, types))


def gguf_model(config: Mapping[str, Any]) -> mixes.Model:
    """What the mixes ask about a model; ValueError for a mixture of a family whose files the course does not write."""
    c = released(config)
    if "parameters" in c:
        raise ValueError("weights: a GGUF mix needs the shapes of a config.json, and this is a bare count of weights")
    experts = next((c[key] for key in EXPERTS if c.get(key)), 0)
    if experts and (c.get("model_type") not in MIXTURES or any(part.role == "mlp" for part in parts(c))):
        raise ValueError(
            f"weights: of mixtures the GGUF mixes are known for {' and '.join(MIXTURES)} with experts in every layer,"
            f" and this config is a {c.get('model_type')}; take mxfp4, awq, fp8 or bits such as 4.5"
        )
    heads = c["num_attention_heads"]
    gqa = heads // (c.get("num_key_value_heads") or heads)
    return mixes.Model(c["num_hidden_layers"], gqa, tied(c), experts=experts)
