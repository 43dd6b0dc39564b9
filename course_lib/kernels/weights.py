"""A quantized weight as one kernel reads it: packed once, multiplied by, and given back code for code.

    weight          inputs            form    kernel
    int4            16 bits           Int4    w4a16
    int8            int8 a token      Int8    int8 W8A8
    E4M3            E4M3 a token      Fp8     fp8 W8A8
    MXFP4, NVFP4    16 bits           Fp4     mxfp4, nvfp4
    GGUF blocks     16 bits           Gguf    q4_0, q8_0, q4_k, q6_k, one token at a time
    a trellis       16 bits           Turned  trellis; `calibrate.trellis` has the form

A form has `kernel`, its name; `most`, the tokens that it takes at a time, or None; `multiply(x (tokens, in))`; and
`restore()`, the weight it was made of. It holds no tensor but those that the kernel reads.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, is_dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from course_lib.kernels.packing import PackedInt4
from course_lib.kernels.pieces import fits
from course_lib.qtensor import QTensor
from course_lib.scheme import Scheme


@dataclass(frozen=True, eq=False)
class Int4:
    """Codes as `packing` lays them out, in the longest runs that suit; scales as the scheme has them."""

    packed: PackedInt4
    scheme: Scheme
    kernel: ClassVar[str] = "w4a16"
    most: ClassVar[int | None] = None

    @classmethod
    def of(cls, q: QTensor, activations: None) -> Int4:
        from course_lib.kernels import packing

        kept = q.scheme.scale_dtype if q.scheme.scale_dtype in (torch.float16, torch.bfloat16) else torch.float32
        return cls(packing.pack(q, kept, run=None), q.scheme)

    def multiply(self, x: Tensor) -> Tensor:
        from course_lib.kernels import w4a16

        return w4a16.linear(x, self.packed, None if x.is_cuda else "gemm")

    def restore(self) -> QTensor:
        from course_lib.kernels import packing

        return packing.restored(self.packed, self.scheme)


@dataclass(frozen=True, eq=False)
class Fp4:
    """Codes and scales as `fp4` lays them out."""

    packed: object  # fp4.PackedFp4, whose module imports triton
    scheme: Scheme
    most: ClassVar[int | None] = None

    @classmethod
    def of(cls, q: QTensor, activations: None) -> Fp4:
        from course_lib.kernels import fp4

        return cls(fp4.pack(q), q.scheme)

    @property
    def kernel(self) -> str:
        return "mxfp4" if self.packed.block == 32 else "nvfp4"

    def multiply(self, x: Tensor) -> Tensor:
        from course_lib.kernels import fp4

        return fp4.linear(x, self.packed)

    def restore(self) -> QTensor:
        from course_lib.kernels import fp4

        return fp4.restored(self.packed, self.scheme)


@dataclass(frozen=True, eq=False)
class Int8:
    """codes (n, k) int8, less 128 where the scheme's begin at 0; scale (n, 1) float32; zero (n, 1) int32 or None."""

    codes: Tensor
    scale: Tensor
    zero: Tensor | None
    scheme: Scheme
    kernel: ClassVar[str] = "int8 W8A8"
    most: ClassVar[int | None] = None

    @classmethod
    def of(cls, q: QTensor, activations: Scheme) -> Int8:
        if q.scheme.block not in ((1, -1), (-1, -1)) or not isinstance(q.scale, Tensor) or q.g_idx is not None:
            raise ValueError(f"an int8 kernel takes one scale a row, and the weight is {q.scheme.name}")
        scale = q.step.float().expand(q.shape[0], 1).contiguous()
        if q.scheme.symmetric is True:
            return cls(q.codes.contiguous(), scale, None, q.scheme)
        codes = (q.codes.to(torch.int16) - 128).to(torch.int8)
        zero = q.zero_point.to(torch.int32).expand(q.shape[0], 1) - 128
        return cls(codes, scale, zero.contiguous(), q.scheme)

    def multiply(self, x: Tensor) -> Tensor:
        from course_lib.kernels import w8a8

        return w8a8.int8_linear(x, self.codes, self.scale, self.zero)

    def restore(self) -> QTensor:
        rows = 1 if self.scheme.block[0] == -1 else None  # one scale for all of them
        codes, zero, scale = self.codes, None, self.scale[:rows].to(self.scheme.scale_dtype)
        if self.zero is not None:
            codes = (codes.to(torch.int16) + 128).to(torch.uint8)
            zero = (self.zero[:rows] + 128).to(torch.uint8)
        return QTensor(codes, scale, zero, self.scheme, tuple(codes.shape))


@dataclass(frozen=True, eq=False)
class Fp8:
    """codes (n, k) E4M3; scale (1, 1), (n, 1) or (n/128, k/128) float32."""

    codes: Tensor
    scale: Tensor
    scheme: Scheme
    kernel: ClassVar[str] = "fp8 W8A8"
    most: ClassVar[int | None] = None

    @classmethod
    def of(cls, q: QTensor, activations: Scheme) -> Fp8:
        inputs = {(1, -1): (1, -1), (-1, -1): (1, -1), (128, 128): (1, 128)}.get(q.scheme.block)
        if inputs is None or inputs != activations.block or not isinstance(q.scale, Tensor) or q.g_idx is not None:
            raise ValueError("an fp8 kernel takes one scale a row or tensor and a token, or one for 128×128 weights and"
                             f" 128 channels, and here are {q.scheme.name} and {activations.name}")  # fmt: skip
        if q.codes.is_cuda and torch.version.cuda and torch.cuda.get_device_capability(q.codes.device) < (8, 9):
            raise ValueError("this GPU has no E4M3")
        return cls(q.codes.view(torch.float8_e4m3fn).contiguous(), q.step.float().contiguous(), q.scheme)

    def multiply(self, x: Tensor) -> Tensor:
        from course_lib.kernels import w8a8

        return w8a8.fp8_linear(x, self.codes, self.scale)

    def restore(self) -> QTensor:
        codes, scale = self.codes.view(torch.uint8), self.scale.to(self.scheme.scale_dtype)
        return QTensor(codes, scale, None, self.scheme, tuple(codes.shape))


@dataclass(frozen=True, eq=False)
class Gguf:
    """A file's own blocks: nothing is repacked."""

    weight: object  # formats.ggml.weight.Blocks
    most: ClassVar[int | None] = 1

    @classmethod
    def of(cls, weight, activations: None) -> Gguf:
        from course_lib.kernels import ggml

        if weight.kind not in ggml.BLOCKS:
            raise ValueError(f"there is no kernel for {weight.kind}")
        fits("blocks", weight.blocks.shape)
        return cls(replace(weight, blocks=weight.blocks.contiguous()))

    @property
    def kernel(self) -> str:
        return self.weight.kind.lower()

    def multiply(self, x: Tensor) -> Tensor:
        from course_lib.kernels import ggml

        return ggml.gemv(x[0], self.weight.blocks, self.weight.kind)[None]

    def restore(self):
        return self.weight


Form = Int4 | Fp4 | Int8 | Fp8 | Gguf
FORMS = {("int4", "16 bits"): Int4, ("e2m1", "16 bits"): Fp4, ("int8", "int8"): Int8, ("e4m3fn", "e4m3fn"): Fp8}


def of(weight, activations: Scheme | None) -> Form:
    """The form of a weight (a QTensor, or GGUF blocks) for such inputs, where the weight is; ValueError says why none.

    >>> from course_lib import quantize
    >>> form = of(quantize(torch.randn(8, 128), Scheme.int(4, group=64)), None)
    >>> form.kernel, form.packed.nbytes  # 8 · (128/2 + 2·4)
    ('w4a16', 576)
    """
    if hasattr(weight, "form") and activations is None:  # it brings its own
        return weight.form()
    if not isinstance(weight, QTensor):
        if not (hasattr(weight, "blocks") and hasattr(weight, "kind") and activations is None):
            raise ValueError(f"there is no kernel for {type(weight).__name__}")
        return Gguf.of(weight, activations)
    scheme, inputs = weight.scheme, "16 bits" if activations is None else activations.format
    if tuple(weight.codes.shape) != weight.shape or len(weight.shape) != 2:
        raise ValueError("the weight is padded" if len(weight.shape) == 2 else "the weight is no matrix")
    fits("codes", weight.shape)
    if activations is not None and not _on_the_fly(activations):
        raise ValueError(f"no kernel quantizes inputs as {activations.name}")
    if (scheme.format, inputs) not in FORMS:
        raise ValueError(f"there is no kernel for {scheme.format} weights and inputs in {inputs}")
    if scheme.zero_dtype is not None:
        raise ValueError(f"the kernels subtract whole zero points, and the weight has real ones ({scheme.name})")
    return FORMS[scheme.format, inputs].of(weight, activations)


def _on_the_fly(scheme: Scheme) -> bool:
    """Whether `w8a8.quantize_tokens` gives these codes: symmetric, a float32 scale a token or 128 channels of E4M3."""
    exact = scheme.scale_dtype == torch.float32 and not scheme.tensor_scale and scheme.scale_scheme is None
    widths = {"int8": (-1,), "e4m3fn": (-1, 128)}.get(scheme.format, ())
    return scheme.symmetric is True and exact and scheme.block[0] == 1 and scheme.block[1] in widths


def tensors(form, prefix: str = "") -> dict[str, Tensor]:
    """Name -> tensor of a form, a QTensor or GGUF blocks, and of what lies in it."""
    found: dict[str, Tensor] = {}
    for name, value in ((field.name, getattr(form, field.name)) for field in fields(form)):
        if isinstance(value, Tensor):
            found[prefix + name] = value
        elif is_dataclass(value):
            found |= tensors(value, f"{prefix}{name}_")
    return found


def moved(form, device):
    """The same on another device."""
    parts = {field.name: getattr(form, field.name) for field in fields(form)}
    return replace(form, **{name: value.to(device) if isinstance(value, Tensor) else moved(value, device)
                            for name, value in parts.items()
                            if isinstance(value, Tensor) or (is_dataclass(value) and tensors(value))})  # fmt: skip


def same(one, other) -> bool:
    """Whether two weights are equal bit for bit.

    >>> from course_lib import quantize
    >>> q = quantize(torch.randn(8, 128), Scheme.int(4, group=64))
    >>> same(of(q, None).restore(), q)
    True
    """
    mine, theirs = tensors(one), tensors(other)
    return mine.keys() == theirs.keys() and all(
        t.dtype == u.dtype and t.shape == u.shape and torch.equal(*(v.reshape(-1).view(torch.uint8) for v in (t, u)))
        for t, u in ((mine[name], theirs[name]) for name in mine)
    )
