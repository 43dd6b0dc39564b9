"""The interpreter's loads, stores and atomics, held to the memory of the tensors that a kernel was given."""

from __future__ import annotations

import ml_dtypes
import numpy as np
from triton.runtime import interpreter

from course_lib.kernels.interpreter.access import Access
from course_lib.kernels.interpreter.values import FP8, bits, bits_of


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
