"""What a tile holds and how it is computed with: bf16 and fp8 as values, rounded once."""

from __future__ import annotations

from dataclasses import dataclass

import ml_dtypes
import numpy as np
import triton.language as tl
from triton.runtime import interpreter

from course_lib.kernels.interpreter import ptx

VALUES = {
    tl.bfloat16: ml_dtypes.bfloat16,
    tl.float8e4nv: ml_dtypes.float8_e4m3fn,
    tl.float8e5: ml_dtypes.float8_e5m2,
    tl.float8e4b8: ml_dtypes.float8_e4m3fnuz,
    tl.float8e5b16: ml_dtypes.float8_e5m2fnuz,
}
FP8 = {np.dtype(kind): float(ml_dtypes.finfo(kind).max) for kind in list(VALUES.values())[1:]}
INTEGERS = {1: np.uint8, 2: np.uint16, 4: np.uint32, 8: np.uint64}
RTZ = interpreter._ir.ROUNDING_MODE.RTZ


def bits_of(dtype):
    return np.dtype(INTEGERS[dtype.itemsize]) if dtype in FP8 or dtype == ml_dtypes.bfloat16 else dtype


def is_float(dtype):
    return dtype.kind == "f" or bits_of(dtype) != dtype


def bits(array):
    return array.view(bits_of(array.dtype))


def convert(data, dtype, toward_zero=False):
    """Return `data` as `dtype`, rounded once: to nearest even, or toward zero. Into fp8 it saturates; NaN stays NaN.

    Float to integer goes toward zero and is clamped, NaN gives 0: PTX `cvt.rzi`.
    """
    dtype = np.dtype(dtype)
    if data.dtype == dtype:
        return data
    if is_float(data.dtype) and dtype.kind in "iu":
        low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
        wide = np.nan_to_num(data.astype(np.float64), nan=0.0, posinf=high, neginf=low)
        inside = np.where((wide > low) & (wide < high), wide, 0).astype(dtype)  # float(2^63 - 1) is 2^63
        return np.where(wide >= high, high, np.where(wide <= low, low, inside)).astype(dtype)
    with np.errstate(over="ignore", invalid="ignore"):
        source = np.clip(data.astype(np.float32), -FP8[dtype], FP8[dtype]) if dtype in FP8 else data
        out = source.astype(dtype)
    if toward_zero:
        beyond = np.abs(out.astype(np.float64)) > np.abs(data.astype(np.float64))
        out = np.where(beyond, bits(out) - 1, bits(out)).astype(bits(out).dtype).view(dtype)  # one magnitude lower
    return out


def cast(self, src, dst_type):
    dtype = interpreter._get_np_dtype(dst_type)
    return interpreter.TensorHandle(convert(src.data, dtype), dst_type.scalar)


def cast_float(self, src, dst_type, rounding_mode):
    dtype = interpreter._get_np_dtype(dst_type)
    return interpreter.TensorHandle(convert(src.data, dtype, rounding_mode == RTZ), dst_type.scalar)


def dot(self, a, b, d, input_precision, max_num_imprecise_acc):
    integers = a.data.dtype.kind in "iu"
    wide = np.int32 if integers else np.float64 if d.data.dtype == np.float64 else np.float32
    product = np.matmul(a.data.astype(wide), b.data.astype(wide)) + d.data.astype(wide)
    return interpreter.TensorHandle(product.astype(d.data.dtype), d.dtype.scalar)


def fma(self, x, y, z):
    """x·y + z rounded once: the product of two floats is exact in float64."""
    wide = np.float64 if is_float(z.data.dtype) else z.data.dtype
    return interpreter.TensorHandle(
        (x.data.astype(wide) * y.data.astype(wide) + z.data.astype(wide)).astype(z.data.dtype), z.dtype.scalar
    )


@dataclass(frozen=True)
class Results:
    """What an inline text gave, as the compiler hands it out."""

    handles: list

    def get_result(self, i):
        return self.handles[i]


def inline_asm(self, text, constraints, values, types, is_pure, pack):
    outputs = [interpreter._get_np_dtype(kind.scalar) for kind in types]
    arrays = ptx.evaluate(text, [bits(v.data) for v in values], outputs, pack)
    return Results([interpreter.TensorHandle(a, kind.scalar) for a, kind in zip(arrays, types, strict=True)])
