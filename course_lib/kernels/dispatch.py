"""Which kernel multiplies by a quantized weight: one decision, said in words.

    weight          inputs            kernel
    int4            16 bits           w4a16
    int8            int8 a token      int8 W8A8
    E4M3            E4M3 a token      fp8 W8A8
    MXFP4, NVFP4    16 bits           mxfp4, nvfp4
    GGUF blocks     16 bits           q4_0, q8_0, q4_k, q6_k, one token at a time

Everything else, and everything on a CPU, is the reference: decode the weight, multiply in torch. `prefer("kernels")`
runs the kernels on a CPU, too, in Triton's interpreter; `prefer("reference")` keeps a GPU from them.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from course_lib.qtensor import QTensor
from course_lib.scheme import Scheme

PREFERENCES = ("auto", "kernels", "reference")
_preferred = ["auto"]


@dataclass(frozen=True, eq=False)
class Route:
    """A kernel by name with run(x (tokens, in)) -> (tokens, out), or no kernel and the reason.

    >>> str(Route(why="x is on the CPU"))
    'reference, because x is on the CPU'
    """

    kernel: str | None = None
    run: Callable[[Tensor], Tensor] | None = None
    why: str = ""
    most: int | None = None  # tokens that the kernel takes at a time

    def __str__(self) -> str:
        return self.kernel or f"reference, because {self.why}"


@contextmanager
def prefer(what: str) -> Iterator[None]:
    """Inside: "kernels" wherever one fits, on a CPU, too; "reference" nowhere; "auto" on a GPU only.

    >>> with prefer("reference"):
    ...     preferred()
    'reference'
    """
    if what not in PREFERENCES:
        raise ValueError(f"what must be one of {', '.join(PREFERENCES)}, got {what!r}")
    _preferred.append(what)
    try:
        yield
    finally:
        _preferred.pop()


def preferred() -> str:
    return _preferred[-1]


def unavailable(x: Tensor) -> str:
    """Why no kernel may run on x, whatever the weight; "" where one may."""
    if preferred() == "reference":
        return "it was asked for"
    if preferred() == "auto" and not x.is_cuda:
        return f"x is on the {'CPU' if x.device.type == 'cpu' else x.device}"
    if importlib.util.find_spec("triton") is None:
        return "triton is not installed"
    if torch.is_grad_enabled() and x.requires_grad:
        return "kernels have no gradient, and x asks for one"
    if x.dtype not in (torch.float16, torch.bfloat16, torch.float32):
        return f"x is {x.dtype}"
    return ""


def route(weight, activations: Scheme | None, x: Tensor) -> Route:
    """The Route for a weight (a QTensor, or GGUF blocks) with x's dtype and device. It packs: keep what it returns."""
    if why := unavailable(x):
        return Route(why=why)
    make = _made_of(weight, activations)
    if isinstance(make, str):
        return Route(why=make)
    try:
        return make(weight, activations, x)
    except ValueError as error:  # what a packing cannot hold
        return Route(why=str(error))


def _made_of(weight, activations: Scheme | None):
    """The function that makes a Route for such a weight and such inputs, or why there is none."""
    if not isinstance(weight, QTensor):
        known = hasattr(weight, "blocks") and hasattr(weight, "kind") and activations is None
        return _blocks if known else f"there is no kernel for {type(weight).__name__}"
    scheme, inputs = weight.scheme, "16 bits" if activations is None else activations.format
    if tuple(weight.codes.shape) != weight.shape or len(weight.shape) != 2:
        return "the weight is padded" if len(weight.shape) == 2 else "the weight is no matrix"
    if activations is not None and not _on_the_fly(activations):
        return f"no kernel quantizes inputs as {activations.name}"
    pairs = {("int4", "16 bits"): _int4, ("e2m1", "16 bits"): _fp4, ("int8", "int8"): _int8, ("e4m3fn", "e4m3fn"): _fp8}
    found = pairs.get((scheme.format, inputs))
    return found or f"there is no kernel for {scheme.format} weights and inputs in {inputs}"


def _on_the_fly(scheme: Scheme) -> bool:
    """Whether `w8a8.quantize_tokens` gives these codes: symmetric, a float32 scale a token or 128 channels of E4M3."""
    plain = scheme.symmetric is True and scheme.scale_dtype == torch.float32 and not scheme.tensor_scale
    widths = {"int8": (-1,), "e4m3fn": (-1, 128)}.get(scheme.format, ())
    return plain and scheme.block[0] == 1 and scheme.block[1] in widths


def _int4(q: QTensor, activations: Scheme | None, x: Tensor) -> Route:
    from course_lib.kernels import packing, w4a16

    packed = packing.pack(q, x.dtype, run=None).to(x.device)
    kernel = None if x.is_cuda else "gemm"
    return Route("w4a16", lambda x: w4a16.linear(x, packed, kernel))


def _fp4(q: QTensor, activations: Scheme | None, x: Tensor) -> Route:
    from course_lib.kernels import fp4

    packed = fp4.pack(q).to(x.device)
    return Route("mxfp4" if packed.block == 32 else "nvfp4", lambda x: fp4.linear(x, packed))


def _int8(q: QTensor, activations: Scheme | None, x: Tensor) -> Route:
    from course_lib.kernels import w8a8

    if q.scheme.block not in ((1, -1), (-1, -1)) or not isinstance(q.scale, Tensor) or q.g_idx is not None:
        raise ValueError(f"an int8 kernel takes one scale a row, and the weight is {q.scheme.name}")
    signed = q.scheme.symmetric is True
    codes = q.codes if signed else (q.codes.to(torch.int16) - 128).to(torch.int8)
    zero = None if signed else q.zero_point.to(torch.int32).expand(q.shape[0], 1) - 128
    scale = q.step.float().expand(q.shape[0], 1)
    parts = [t if t is None else t.contiguous().to(x.device) for t in (codes, scale, zero)]
    return Route("int8 W8A8", lambda x: w8a8.int8_linear(x, *parts))


def _fp8(q: QTensor, activations: Scheme | None, x: Tensor) -> Route:
    from course_lib.kernels import w8a8

    inputs = {(1, -1): (1, -1), (-1, -1): (1, -1), (128, 128): (1, 128)}.get(q.scheme.block)
    if inputs is None or inputs != activations.block or not isinstance(q.scale, Tensor) or q.g_idx is not None:
        raise ValueError("an fp8 kernel takes one scale a row or tensor and a token, or one for 128×128 weights and "
                         f"128 channels, and here are {q.scheme.name} and {activations.name}")  # fmt: skip
    if x.is_cuda and torch.version.cuda and torch.cuda.get_device_capability(x.device) < (8, 9):
        raise ValueError("this GPU has no E4M3")
    codes = q.codes.view(torch.float8_e4m3fn).contiguous().to(x.device)
    scale = q.step.float().contiguous().to(x.device)
    return Route("fp8 W8A8", lambda x: w8a8.fp8_linear(x, codes, scale))


def _blocks(weight, activations: None, x: Tensor) -> Route:
    from course_lib.kernels import ggml

    if weight.kind not in ggml.BLOCKS:
        raise ValueError(f"there is no kernel for {weight.kind}")
    blocks = weight.blocks.contiguous().to(x.device)
    return Route(weight.kind.lower(), partial(_one_token, ggml.gemv, blocks, weight.kind), most=1)


def _one_token(gemv, blocks: Tensor, kind: str, x: Tensor) -> Tensor:
    return gemv(x[0], blocks, kind)[None]
