"""What `course bench kernels` measures: how to draw weights of a kind, multiply by them, and know the right answer."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import partial

import torch
from torch import Tensor

from course_lib.kernels import ON_GPU, ggml, packing, trellis, w4a16
from course_lib.kernels.measure import clock
from course_lib.qtensor import QTensor
from course_lib.scheme import Scheme

DEVICE = "cuda" if ON_GPU else "cpu"  # the CPU only to test that these are right


@dataclass(frozen=True)
class Family:
    """A kernel that multiplies x (m, k) by a weight (n, k).

    draw(n, k) gives a weight on the GPU, every code of it at random; run(x, weight) is the call that is timed;
    exact(x, weight) is the right product in float64, from the codes by another way than the kernel's.
    """

    name: str
    draw: Callable[[int, int], object]
    run: Callable[[Tensor, object], Tensor]
    exact: Callable[[Tensor, object], Tensor]
    dtype: torch.dtype = torch.bfloat16
    most: int = 512  # tokens
    shapes: tuple[tuple[int, int], ...] = ()  # where `check` runs


def drawn(n: int, k: int, scheme: Scheme, zeros: bool, act_order: bool) -> QTensor:
    """An integer QTensor whose codes take all 16 values; with act-order, columns lie in any group."""
    cols = k // scheme.block[1] if scheme.block[1] > 0 else 1
    codes = torch.randint(0, 16, (n, k), device=DEVICE, dtype=torch.uint8)
    scale = (0.5 + torch.rand(n, cols, device=DEVICE)) / 64
    zero = torch.randint(0, 16, (n, cols), device=DEVICE, dtype=torch.uint8) if zeros else torch.full_like(scale, 8)
    g_idx = (torch.randperm(k, device=DEVICE) // scheme.block[1]).to(torch.int32) if act_order else None
    return QTensor(codes, scale.half().float(), zero.to(torch.uint8), scheme, (n, k), g_idx)


def draw_int4(n, k, group=128, zeros=False, act_order=False, dtype=torch.bfloat16, run: int | None = None):
    scheme = Scheme.int(4, symmetric=False if zeros else "full", group=group)
    return packing.pack(drawn(n, k, scheme, zeros, act_order), dtype, run)


def product(x: Tensor, w: Tensor) -> Tensor:
    return x.double() @ w.double().T


def int4(name: str, dtype: torch.dtype = torch.bfloat16, **more) -> Family:
    return Family(f"w4a16{name}", partial(draw_int4, dtype=dtype, **more), lambda x, w: w4a16.linear(x, w),
                  lambda x, w: product(x, packing.unpack(w)), dtype, shapes=((2048, 4096), (1000, 1152)))  # fmt: skip


def draw_ggml(n: int, k: int, kind: str) -> Tensor:
    """Random bytes, but for the float16 fields, which must be numbers."""
    elements, size = ggml.BLOCKS[kind]
    blocks = torch.randint(0, 256, (n, k // elements, size), dtype=torch.uint8, device=DEVICE)
    for at in {"Q4_0": [0], "Q8_0": [0], "Q4_K": [0, 2], "Q6_K": [208]}[kind]:
        d = (0.5 + torch.rand(n, k // elements, 1, device=DEVICE)).half() / 1024
        blocks[..., at : at + 2] = d.view(torch.uint8)
    return blocks.reshape(n, -1)


def from_bytes(name: str, kind: str) -> Family:
    from course_lib.formats import ggml as formats

    return Family(name, partial(draw_ggml, kind=kind), lambda x, w: ggml.gemv(x[0], w, kind)[None],
                  lambda x, w: product(x, formats.dequantize(w, kind).to(x.device)), torch.float16, 1,
                  ((2048, 4096), (333, 1792)))  # fmt: skip


def draw_trellis(n: int, k: int, code: str, bits: int = 2):
    """Any bytes are streams; windows of 16 bits, as QTIP and exllamav3 have them."""
    streams = torch.randint(0, 256, (-(-n // 16) * -(-k // 16), 32 * bits), dtype=torch.uint8, device=DEVICE)
    return trellis.pack(streams, torch.tensor(1 / 64, device=DEVICE), (n, k), bits, code, 16)


def computed(code: str) -> Family:
    return Family(f"trellis-{code}", partial(draw_trellis, code=code), lambda x, w: trellis.gemv(x[0], w)[None],
                  lambda x, w: product(x, trellis.unpack(w)), torch.float16, 1,
                  ((2048, 4096), (333, 1000)))  # fmt: skip


def fp8_codes(*shape: int) -> Tensor:
    """All finite E4M3 numbers."""
    codes = torch.randint(0, 256, shape, dtype=torch.uint8, device=DEVICE)
    return torch.where((codes & 127) == 127, codes - 1, codes).view(torch.float8_e4m3fn)


def draw_fp8(n: int, k: int, blocked: bool) -> tuple[Tensor, Tensor]:
    shape = (-(-n // 128), -(-k // 128)) if blocked else (n, 1)
    return fp8_codes(n, k), (0.5 + torch.rand(shape, device=DEVICE)) / 4096


def exact_fp8(x: Tensor, weight: tuple[Tensor, Tensor], blocked: bool) -> Tensor:
    from course_lib.kernels import w8a8

    codes, scale = weight
    q, s, _ = w8a8.quantize_tokens(x, torch.float8_e4m3fn, 128 if blocked else None)
    tall, wide = (128, 128) if blocked else (1, codes.shape[1])
    spread = scale.double().repeat_interleave(tall, 0).repeat_interleave(wide, 1)[: codes.shape[0], : codes.shape[1]]
    tokens = s.double().repeat_interleave(wide if blocked else x.shape[1], 1)[:, : x.shape[1]]
    return (q.double() * tokens) @ (codes.double() * spread).T


def fp8(name: str, blocked: bool) -> Family:
    from course_lib.kernels import w8a8

    return Family(name, partial(draw_fp8, blocked=blocked), lambda x, w: w8a8.fp8_linear(x, *w),
                  partial(exact_fp8, blocked=blocked), shapes=((2048, 4096), (512, 640)))  # fmt: skip


def draw_int8(n: int, k: int) -> tuple[Tensor, Tensor, Tensor]:
    codes = torch.randint(-128, 128, (n, k), dtype=torch.int8, device=DEVICE)
    zero = torch.randint(-128, 128, (n,), dtype=torch.int32, device=DEVICE)
    return codes, (0.5 + torch.rand(n, 1, device=DEVICE)) / 4096, zero


def exact_int8(x: Tensor, weight: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    from course_lib.kernels import w8a8

    codes, scale, zero = weight
    q, s, _ = w8a8.quantize_tokens(x)
    w = (codes.double() - zero.double()[:, None]) * scale.double().reshape(-1, 1)
    return (q.double() * s.double()) @ w.T


def int8() -> Family:
    from course_lib.kernels import w8a8

    return Family("int8-w8a8", draw_int8, lambda x, w: w8a8.int8_linear(x, *w), exact_int8,
                  shapes=((2048, 4096), (1000, 640)))  # fmt: skip


def draw_fp4(n: int, k: int, block: int):
    """Random E2M1 codes under E8M0 or E4M3 scales: NVFP4's third scale is 1/64 for the tensor."""
    from course_lib.formats import microscaling
    from course_lib.kernels import fp4

    pattern = microscaling.quantize(torch.ones(1, block), "mxfp4" if block == 32 else "nvfp4")
    codes = torch.randint(0, 16, (n, k), dtype=torch.uint8, device=DEVICE)
    if block == 32:
        scale = torch.randint(112, 122, (n, k // block), dtype=torch.uint8, device=DEVICE).view(torch.float8_e8m0fnu)
        third = None
    else:
        scale = (0.25 + torch.rand(n, k // block, device=DEVICE)).to(torch.float8_e4m3fn)
        third = torch.tensor(1 / 64, device=DEVICE)
    return fp4.pack(QTensor(codes, scale, None, pattern.scheme, (n, k), tensor_scale=third))


def exact_fp4(x: Tensor, packed) -> Tensor:
    from course_lib.kernels import fp4

    return product(x, fp4.unpack(packed))


def four_bit_floats(name: str, block: int) -> Family:
    from course_lib.kernels import fp4

    return Family(name, partial(draw_fp4, block=block), lambda x, w: fp4.linear(x, w), exact_fp4,
                  shapes=((2048, 4096), (1000, 640)))  # fmt: skip


def families() -> dict[str, Family]:
    known = [
        int4("-g128"),
        int4("-g128-fp16", torch.float16),
        int4("-g128-zeros", zeros=True),
        int4("-g64-zeros", group=64, zeros=True),
        int4("-g32-fp16", torch.float16, group=32),
        int4("-channel", group=None),
        int4("-act-order", act_order=True),
        from_bytes("q4_k", "Q4_K"),
        from_bytes("q6_k", "Q6_K"),
        from_bytes("q4_0", "Q4_0"),
        from_bytes("q8_0", "Q8_0"),
        computed("1mad"),
        computed("3inst"),
        fp8("fp8-row", blocked=False),
        fp8("fp8-block128", blocked=True),
        int8(),
        four_bit_floats("mxfp4", 32),
        four_bit_floats("nvfp4", 16),
    ]
    return {family.name: family for family in known}


def tensors(weight) -> list[Tensor]:
    """Every tensor of a weight."""
    if isinstance(weight, Tensor):
        return [weight]
    parts = weight if isinstance(weight, tuple) else [getattr(weight, f.name) for f in fields(weight)]
    return [t for t in parts if isinstance(t, Tensor)]


def copied(weight):
    """The same weight elsewhere in memory."""
    if isinstance(weight, Tensor):
        return weight.clone()
    if isinstance(weight, tuple):
        return tuple(copied(t) for t in weight)
    assert is_dataclass(weight)
    return replace(weight, **{f.name: copied(v) for f in fields(weight)
                              if isinstance(v := getattr(weight, f.name), Tensor)})  # fmt: skip


def nbytes(weight) -> int:
    return sum(t.numel() * t.element_size() for t in tensors(weight))


def in_rotation(weight) -> list:
    """The weight and copies of it, more than clock.ROTATE bytes together."""
    count = max(1, -(-int(clock.ROTATE) // nbytes(weight)))
    return [weight, *(copied(weight) for _ in range(count - 1))]


def close(y: Tensor, exact: Tensor) -> float:
    """‖y − exact‖ / ‖exact‖; infinite where y has a NaN or lacks the shape."""
    if y.shape != exact.shape or not bool(torch.isfinite(y).all()):
        return float("inf")
    return float((y.double() - exact).norm() / exact.norm())


def limit(dtype: torch.dtype) -> float:
    """The relative error that a product in this dtype may have: a rounding of weights, of sums and of the result."""
    return 2 * torch.finfo(dtype).eps if dtype == torch.float16 else torch.finfo(dtype).eps


@contextmanager
def poisoned():
    """Inside, every tensor that is made without values is NaN: an output that a kernel forgot to write shows."""
    torch.use_deterministic_algorithms(True, warn_only=True)  # what makes torch fill uninitialized memory
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)
