"""The places of triton's interpreter that are changed, and what is put there."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import triton
import triton.language as tl
from triton.runtime import interpreter

from course_lib.kernels.interpreter.access import memory
from course_lib.kernels.interpreter.bounds import Memory, extent, tensors
from course_lib.kernels.interpreter.values import VALUES, cast, cast_float, dot, fma, inline_asm, is_float


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


def with_poison(original, builder, ptrs, mask, other, *policy, **named):
    """A masked lane without `other` is undefined on a GPU: fill it with what cannot go unnoticed, not with 0."""
    if other is None and not memory().has_other:
        kind = ptrs.get_element_ty()
        dtype = interpreter._get_np_dtype(kind)
        poison = np.nan if is_float(dtype) else 90
        data = np.full(np.shape(ptrs.data), poison).astype(dtype)
        other = interpreter.TensorHandle(data, kind)
    return original(builder, ptrs, mask, other, *policy, **named)


def with_index(original, tensor, scope):
    original(tensor, scope)
    scope.set_attr(tensor, "__index__", lambda self: int(self.handle.data.item()))


def call(original, function, *args, **kwargs):
    """Run a `@triton.jit` function inside a kernel, triton's own among them, though it was decorated for a GPU."""
    return interpreter.InterpretedFunction(function.fn)(*args, **kwargs)


def mend():
    """Mend the interpreter of this process, once."""
    if isinstance(interpreter._interpreter, Memory):
        return
    interpreter._interpreter = Memory(interpreter._interpreter)
    builder = interpreter.InterpreterBuilder
    builder.cast_impl, builder.create_fp_to_fp, builder.create_dot, builder.create_fma = cast, cast_float, dot, fma
    builder.create_minnumf = lambda self, a, b: self.binary_op(a, b, np.fmin)  # a GPU takes the one that is no NaN
    builder.create_maxnumf = lambda self, a, b: self.binary_op(a, b, np.fmax)
    builder.create_inline_asm = inline_asm
    builder.create_dot_scaled = refused("tl.dot_scaled")
    builder.get_bf16 = lambda self, value: interpreter.TensorHandle(np.array([value], ml_dtypes.bfloat16), tl.bfloat16)
    wrap(interpreter, "_get_np_dtype", np_dtype)
    wrap(triton.language.semantic.TritonSemantic, "load", noting_other)
    wrap(builder, "create_masked_load", with_poison)
    wrap(interpreter, "_patch_lang_tensor", with_index)
    wrap(interpreter.GridExecutor, "_init_args_hst", with_extents)
    wrap(triton.JITFunction, "__call__", call)
