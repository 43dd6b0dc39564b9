"""What a result of the wrong type, dtype or shape may lack: a few words that end the sentence about it."""

import torch

_AXIS = {True: "; an axis of length 1 too many", False: "; an axis of length 1 is missing, which keepdim=True keeps"}


def how_to_write(got, dtype: torch.dtype) -> str:
    """How a tensor of the learner's own would get its dtype: torch reads a type off how its numbers are written."""
    if not isinstance(got, torch.Tensor):
        return how_to_make(got, dtype)
    whole = dtype == torch.float32 and got.dtype == torch.int64
    return "; write 1.0 for 1" if whole else f"; add dtype={dtype}"


def how_to_make(got, dtype: torch.dtype) -> str:
    """How what is no tensor becomes one."""
    if isinstance(got, bytes):
        return f"; torch.tensor(list(…), dtype={dtype}) makes a tensor of bytes"
    if not isinstance(got, (list, tuple)):
        return ""
    tensors = [item for item in got if isinstance(item, torch.Tensor)]
    if len(got) == len(tensors) == 2 and isinstance(got, tuple) and got[1].dtype == torch.int64:
        return "; max, min, sort and topk give (values, indices): take .values or .indices"
    if tensors:
        return "; torch.stack(…) makes one tensor of many"
    return f"; write torch.tensor(…{'' if dtype == torch.float32 else f', dtype={dtype}'})"


def how_to_mend(got: torch.Tensor, expected: torch.Tensor) -> str:
    """What may be all that a tensor of another dtype, or of another shape, lacks."""
    if got.shape == expected.shape and not got.is_complex():
        return f"; if its numbers are right, .to({expected.dtype}) is all that is missing"
    if got.dtype != expected.dtype or got.numel() != expected.numel() or got.numel() == 0:
        return ""
    if [n for n in got.shape if n > 1] == [n for n in expected.shape if n > 1] and got.ndim != expected.ndim:
        return _AXIS[got.ndim > expected.ndim]
    if got.ndim == expected.ndim == 2:
        return "; are rows and columns exchanged (.T)?" if got.shape == expected.shape[::-1] else ""
    return f"; if its numbers are right, .reshape{tuple(expected.shape)} is all that is missing"
