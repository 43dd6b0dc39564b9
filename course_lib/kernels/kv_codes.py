"""What `kv` does with single numbers of a cache: codes as float16 in registers, scales in pairs, powers of two."""

from __future__ import annotations

import triton
import triton.language as tl

from course_lib.kernels import interpreter  # noqa: F401  interpreter is mended by its import


def texts(*how: str) -> tl.constexpr:
    """PTX for each matrix: $0 = its codes in the two halfwords $1, plus a lift, as two float16."""
    return tl.constexpr([f"{{ .reg .b32 t; .reg .b16 b; {one} }}" for one in how])


def among(bits: str, mask: int, magic: int, lut: str = "0xEA") -> str:
    """`bits` under mask, put among (0xEA) or exclusive-or'ed into (0x6A) those of magic, in both halves."""
    return f"{bits}; lop3.b32 $0, t, 0x{mask:04X}{mask:04X}, 0x{magic:04X}{magic:04X}, {lut};"


FP8 = texts(*(f"prmt.b32 t, $1, 0, {c}; cvt.u16.u32 b, t; cvt.rn.f16x2.e4m3x2 $0, b;" for c in ("0x4420", "0x4431")))
INT8 = texts(*(among(bits, 0x03FC, 0x5E00, "0x6A") for bits in ("shl.b32 t, $1, 2", "shr.u32 t, $1, 6")))
PLACES = ("shl.b32 t, $1, 4", "mov.b32 t, $1", "shr.u32 t, $1, 4", "shr.u32 t, $1, 8")
INT4 = texts(*(among(bits, 0x00F0, 0x5400) for bits in PLACES))


@triton.jit
def numbers(w, j: tl.constexpr, BITS: tl.constexpr, SIGNED: tl.constexpr, kind: tl.constexpr, ASM: tl.constexpr):
    """Code j of each halfword plus a lift as `kind`.

    In float16 a code of 4 bits in the middle of the mantissa of 64 is 64 + code, one of 8 bits in that of 256 is
    256 + 128 + code: no conversion, two neighbours at a time."""
    if ASM and kind == tl.float16:
        if SIGNED:
            return tl.inline_asm_elementwise(FP8[j], "=r,r", [w], tl.float16, True, 2)
        elif BITS == 8:
            return tl.inline_asm_elementwise(INT8[j], "=r,r", [w], tl.float16, True, 2)
        else:
            return tl.inline_asm_elementwise(INT4[j], "=r,r", [w], tl.float16, True, 2)
    else:
        code = (w.to(tl.int32) >> (BITS * j)) & (255 if BITS == 8 else 15)
        if SIGNED:
            value = code.to(tl.uint8).to(tl.float8e4nv, bitcast=True).to(tl.float32)
        elif BITS == 8:
            value = code.to(tl.int8).to(tl.float32) + 384.0
        else:
            value = code.to(tl.float32) + 64.0
        return value.to(kind)


@triton.jit
def power(x, ASM: tl.constexpr):
    """2^x; on a GPU in one instruction, which gives 0 where a float32 would be subnormal."""
    if ASM:
        return tl.inline_asm_elementwise("ex2.approx.ftz.f32 $0, $1;", "=f,f", [x], tl.float32, True, 1)
    else:
        return tl.exp2(x)


@triton.jit
def logarithm_and_inverse(x, ASM: tl.constexpr):
    if ASM:
        return (tl.inline_asm_elementwise("lg2.approx.ftz.f32 $0, $1;", "=f,f", [x], tl.float32, True, 1),
                tl.inline_asm_elementwise("rcp.approx.ftz.f32 $0, $1;", "=f,f", [x], tl.float32, True, 1))  # fmt: skip
    else:
        return tl.log2(x), 1.0 / x


@triton.jit
def pairs(x, H: tl.constexpr):
    """x[0], x[2], … and x[1], x[3], … of 2H numbers in float32, read 8 bytes at a time."""
    both = tl.load(x.to(tl.pointer_type(tl.int64)) + tl.arange(0, H))
    return (
        (both & 0xFFFFFFFF).to(tl.int32).to(tl.float32, bitcast=True),
        (both >> 32).to(tl.int32).to(tl.float32, bitcast=True),
    )
