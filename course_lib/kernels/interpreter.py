"""Triton's interpreter, mended: kernels on a CPU give what a GPU gives, or refuse.

With TRITON_INTERPRET=1 a kernel runs program by program in NumPy. As released (3.6 to 3.9) it keeps bf16 and fp8 tiles
as integers and computes on the bit patterns, drops the carry of an fp8 rounding, reads fp8's NaN as a number, and lets
a load or store go anywhere. Importing this module changes seven things where there is no GPU:

- bf16 and fp8 tiles are ml_dtypes arrays, so that NumPy computes on values (`_get_np_dtype`);
- casts round once, to nearest even; float to fp8 saturates, as `cvt.rn.satfinite` does on a GPU (`cast`);
- a dot product is summed in float32, an integer one in int32 (`dot`);
- every load, store and atomic must stay inside a tensor that was passed to the kernel (`Memory`), and may be watched;
- a masked lane that is given no value reads as NaN (or 90), since on a GPU it is undefined;
- inline PTX is evaluated, as far as `ptx` knows the instructions;
- autotuning takes its first configuration, since there is no clock worth asking.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass

import ml_dtypes
import numpy as np
import triton
import triton.language as tl
from triton.runtime import interpreter

import course_lib.kernels  # noqa: F401  it decides that kernels are interpreted
from course_lib.kernels import ptx

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


@dataclass(frozen=True)
class Access:
    """One load or store of one program: which argument, which of its bytes, and the mask."""

    program: tuple[int, int, int]
    kind: str  # load, store or atomic
    argument: str
    offsets: np.ndarray  # in bytes from the argument's first element; -1 where masked
    itemsize: int


class Memory:
    """The interpreter's loads and stores, held to the arguments' own memory."""

    def __init__(self, raw):
        self.raw, self.extents, self.watcher, self.has_other = raw, [], None, False

    def __getattr__(self, name):
        return getattr(self.raw, name)

    def load(self, ptrs, mask, other, dtype):
        dtype = np.dtype(dtype)
        self.check("load", ptrs, mask, dtype.itemsize)
        return self.raw.load(ptrs, mask, bits(other), bits_of(dtype)).view(dtype)

    def store(self, ptrs, value, mask):
        self.check("store", ptrs, mask, value.dtype.itemsize)
        return self.raw.store(ptrs, bits(value), mask)

    def atomic_rmw(self, op, ptr, value, mask, semantic):
        if value.dtype in FP8 or value.dtype == ml_dtypes.bfloat16:
            raise TypeError(f"an atomic on {value.dtype} cannot be interpreted; use float32")
        self.check("atomic", ptr, mask, value.dtype.itemsize)
        return self.raw.atomic_rmw(op, ptr, value, mask, semantic)

    def atomic_cas(self, ptr, expected, value, semantic):
        self.check("atomic", ptr, np.ones(np.shape(ptr), bool), value.dtype.itemsize)
        return self.raw.atomic_cas(ptr, expected, value, semantic)

    def check(self, kind, ptrs, mask, itemsize):
        """Raise IndexError unless each unmasked address lies in one argument; tell the watcher."""
        ptrs, mask = np.broadcast_arrays(ptrs, np.asarray(mask, bool))  # of plain numbers: int32
        left = ptrs[mask].astype(np.int64)
        if not left.size and not self.watcher:
            return
        inside = np.zeros(left.shape, bool)
        for name, low, high in self.extents:
            here = (left >= low) & (left + itemsize <= high)
            inside |= here
            if self.watcher and here.any():
                offsets = np.full(ptrs.shape, -1)
                offsets[mask] = np.where(here, left - low, -1)
                self.watcher(Access(interpreter.interpreter_builder.grid_idx, kind, name, offsets, itemsize))
        if not inside.all():
            raise IndexError(self.sentence(kind, int(left[~inside][0]), itemsize))

    def sentence(self, kind, address, itemsize):
        if not self.extents:
            return f"{kind} outside: no tensor was passed to this kernel"
        away = [(max(low - address, address + itemsize - high), name, low, high) for name, low, high in self.extents]
        _, name, low, high = min(away)
        where = f"{address - low} bytes from its start" if address >= low else f"{low - address} bytes before its start"
        program = interpreter.interpreter_builder.grid_idx
        return (
            f"{kind} outside {name!r} in program {program}: {where}, it is {high - low} bytes long; is a mask missing?"
        )


def bits_of(dtype):
    return np.dtype(INTEGERS[dtype.itemsize]) if dtype in FP8 or dtype == ml_dtypes.bfloat16 else dtype


def is_float(dtype):
    return dtype.kind == "f" or bits_of(dtype) != dtype


def bits(array):
    return array.view(bits_of(array.dtype))


def extent(name, tensor):
    """Return (name, first byte, end) of the memory that a tensor's elements reach."""
    reach = 1 + sum((n - 1) * stride for n, stride in zip(tensor.shape, tensor.stride(), strict=True))
    low = tensor.data_ptr()
    return name, low, low + (reach * tensor.element_size() if tensor.numel() else 0)


def tensors(name, value):
    """Yield the tensors in a kernel's argument: itself, a tuple's, a descriptor's, a wrapper's."""
    if isinstance(value, tuple):
        for part in value:
            yield from tensors(name, part)
    elif hasattr(value, "data_ptr"):
        yield name, interpreter._unwrap_tensor(value)
    elif hasattr(value, "block_shape") and hasattr(value, "base"):
        yield from tensors(name, value.base)


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


def refused(what):
    def refuse(self, *args, **kwargs):
        raise NotImplementedError(f"{what} cannot be interpreted on a CPU; it needs a GPU")

    return refuse


def wrap(owner, name, around):
    """Put `around(original, *args)` in the place of `owner.name`."""
    original = getattr(owner, name)
    setattr(owner, name, lambda *args, **kwargs: around(original, *args, **kwargs))


def np_dtype(original, tt_dtype):
    element = tt_dtype.element_ty if isinstance(tt_dtype, tl.block_type) else tt_dtype
    pointer = isinstance(element, tl.pointer_type)
    return original(tt_dtype) if pointer or element not in VALUES else np.dtype(VALUES[element])


def with_extents(original, executor, args, kwargs):
    """Note the memory of every tensor argument before the programs run."""
    host, named = original(executor, args, kwargs)
    pairs = [*zip(executor.arg_names, host, strict=False), *named.items()]
    memory().extents = [extent(*found) for name, value in pairs for found in tensors(name, value)]
    return host, named


def noting_other(original, semantic, ptr, mask, other, *rest):
    """Note whether `other` was given: triton asks `if other`, which a single lane's 0 does not survive."""
    memory().has_other = other is not None
    return original(semantic, ptr, mask, other, *rest)


def with_poison(original, builder, ptrs, mask, other, *policy):
    """A masked lane without `other` is undefined on a GPU: fill it with what cannot go unnoticed, not with 0."""
    if other is None and not memory().has_other:
        kind = ptrs.get_element_ty()
        dtype = interpreter._get_np_dtype(kind)
        poison = np.nan if is_float(dtype) else 90
        data = np.full(np.shape(ptrs.data), poison).astype(dtype)
        other = interpreter.TensorHandle(data, kind)
    return original(builder, ptrs, mask, other, *policy)


def with_index(original, tensor, scope):
    original(tensor, scope)
    scope.set_attr(tensor, "__index__", lambda self: int(self.handle.data.item()))


def call(original, function, *args, **kwargs):
    """Run a `@triton.jit` function inside a kernel, triton's own among them, though it was decorated for a GPU."""
    return interpreter.InterpretedFunction(function.fn)(*args, **kwargs)


def memory() -> Memory:
    return interpreter._interpreter


@contextmanager
def watch(watcher):
    """Call `watcher(Access)` for every load, store and atomic of the kernels that run inside."""
    memory().watcher = watcher
    try:
        yield
    finally:
        memory().watcher = None


def mend():
    """Mend the interpreter of this process, once."""
    if isinstance(interpreter._interpreter, Memory):
        return
    interpreter._interpreter = Memory(interpreter._interpreter)
    builder = interpreter.InterpreterBuilder
    builder.cast_impl, builder.create_fp_to_fp, builder.create_dot, builder.create_fma = cast, cast_float, dot, fma
    builder.create_inline_asm = inline_asm
    builder.create_dot_scaled = refused("tl.dot_scaled")
    builder.get_bf16 = lambda self, value: interpreter.TensorHandle(np.array([value], ml_dtypes.bfloat16), tl.bfloat16)
    wrap(interpreter, "_get_np_dtype", np_dtype)
    wrap(triton.language.semantic.TritonSemantic, "load", noting_other)
    wrap(builder, "create_masked_load", with_poison)
    wrap(interpreter, "_patch_lang_tensor", with_index)
    wrap(interpreter.GridExecutor, "_init_args_hst", with_extents)
    wrap(triton.JITFunction, "__call__", call)


if triton.knobs.runtime.interpret:
    mend()
    triton.runtime.autotuner.Autotuner._bench = lambda self, *args, config, **meta: [0.0, 0.0, 0.0]
