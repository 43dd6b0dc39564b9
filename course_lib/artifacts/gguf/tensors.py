"""The tensors of a GGUF file: types by id, and one tensor's place in the data."""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np

from course_lib.artifacts.gguf.values import GGUFError
from course_lib.formats import ggml

FLOATS = {0: ("F32", np.dtype("<f4")), 1: ("F16", np.dtype("<f2")), 30: ("BF16", np.dtype("<u2"))}
WHOLE = {24: ("I8", np.dtype("i1")), 25: ("I16", np.dtype("<i2")), 26: ("I32", np.dtype("<i4")),
         27: ("I64", np.dtype("<i8")), 28: ("F64", np.dtype("<f8"))}  # fmt: skip

REMOVED = {4: "Q4_2", 5: "Q4_3", 31: "Q4_0_4_4", 32: "Q4_0_4_8", 33: "Q4_0_8_8", 36: "IQ4_NL_4_4", 37: "IQ4_NL_4_8",
           38: "IQ4_NL_8_8"}  # fmt: skip


class Kind(NamedTuple):
    """A tensor type: its name, and how many bytes hold how many elements of a row."""

    name: str
    elements: int
    bytes: int


@functools.cache
def kind(type_id: int) -> Kind | None:
    """The tensor type of this id, or None; types that the course does not write are known by their size only."""
    if type_id in FLOATS | WHOLE:
        name, dtype = (FLOATS | WHOLE)[type_id]
        return Kind(name, 1, dtype.itemsize)
    if type_id in ggml.BY_ID:
        t = ggml.BY_ID[type_id]
        return Kind(t.name, t.elements, t.block_bytes)
    import gguf

    for known, (elements, size) in gguf.GGML_QUANT_SIZES.items():
        if known.value == type_id:
            return Kind(known.name, elements, size)
    return None


def type_id(name: str) -> int:
    """The id of a tensor type by its name, such as "F16" or "Q4_K"; ValueError for a name that nobody writes here."""
    for number, (known, _) in (FLOATS | WHOLE).items():
        if known == name:
            return number
    return ggml.block_type(name).type_id


class TensorInfo(NamedTuple):
    """One tensor: shape as PyTorch has it (the file stores it the other way round), type and place in the data."""

    name: str
    shape: tuple[int, ...]
    type_id: int
    offset: int
    nbytes: int

    @property
    def type(self) -> str:
        return kind(self.type_id).name

    @property
    def bits_per_weight(self) -> float:
        k = kind(self.type_id)
        return 8 * k.bytes / k.elements


def decode(info: TensorInfo, data: np.ndarray) -> np.ndarray:
    """float32 of the shape of info from its bytes; types beyond the course's own go through the gguf package.

    GGUFError for a type that the package does not decode either: Q8_1 and Q8_K, which hold inputs.
    """
    with np.errstate(all="ignore"):  # NaN, infinity and float64 beyond float32 are the file's
        if info.type_id == 30:
            values = (data.view("<u2").astype(np.uint32) << 16).view(np.float32)
        elif info.type_id in FLOATS | WHOLE:
            values = data.view((FLOATS | WHOLE)[info.type_id][1]).astype(np.float32)
        else:
            values = _blocks(info, data.reshape(int(np.prod(info.shape[:-1], dtype=np.int64)), -1))
    return values.reshape(info.shape)


def _blocks(info: TensorInfo, data: np.ndarray) -> np.ndarray:
    """float32 (rows, cols) of blocks (rows, row_bytes)."""
    if info.type_id in ggml.BY_ID:
        return ggml.BY_ID[info.type_id].dequantize(data)
    import gguf

    try:
        return gguf.dequantize(data, gguf.GGMLQuantizationType(info.type_id))
    except NotImplementedError:
        raise GGUFError(f"{info.name} has the tensor type {info.type}, which is not decoded") from None
