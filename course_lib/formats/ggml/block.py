"""BlockType: what all of ggml's block formats share: rows of blocks, a record of named fields, work in chunks."""

from __future__ import annotations

import numpy as np

CHUNK_ELEMENTS = 64 * 1024  # of one array during the search: several of them fit into a core's second-level cache
SUMS = {1: "ij->j", 2: "ij,ij->j", 3: "ij,ij,ij->j"}
F16 = np.dtype("<f2")


class BlockType:
    """One ggml type. `elements` weights of a row become one record of `dtype`, whose fields bear ggml's own names.

    A type defines name, type_id, elements, dtype and two steps over many blocks at once, which lie one a column:

    encode(x (elements, n), w (elements, n) or None) -> records (n,)    w is what each squared error counts
    decode(records (n,)) -> (n, elements) float32
    """

    name: str
    type_id: int
    elements: int
    dtype: np.dtype
    chunk = CHUNK_ELEMENTS
    uses_imatrix = True  # False where ggml ignores the importance matrix
    needs_imatrix = False  # True where ggml does not write without one

    @property
    def block_bytes(self) -> int:
        return self.dtype.itemsize

    @property
    def bits_per_weight(self) -> float:
        """Bits of a block over its weights, such as 4.5 for Q4_0 (18 bytes for 32 weights)."""
        return 8 * self.block_bytes / self.elements

    @property
    def is_written(self) -> bool:
        """Whether `quantize` writes it; what only llama.cpp writes has no encode here."""
        return type(self).encode is not BlockType.encode

    def row_bytes(self, cols: int) -> int:
        """Bytes of a row of `cols` weights; ValueError unless it is whole blocks."""
        if cols % self.elements or cols == 0:
            raise ValueError(f"x must have rows of whole {self.name} blocks, a multiple of {self.elements} columns,"
                             f" got {cols}")  # fmt: skip
        return cols // self.elements * self.block_bytes

    def importance(self, x: np.ndarray, columns: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Weight of each squared error, like x, from the importance matrix's `columns` (elements, n).

        rows: mean square of each block's whole row, (n,).
        """
        raise NotImplementedError

    def encode(self, x: np.ndarray, w: np.ndarray | None) -> np.ndarray:
        raise NotImplementedError(f"{self.name} is read here, not written")

    def decode(self, blocks: np.ndarray) -> np.ndarray:
        raise NotImplementedError

    def quantize(self, x: np.ndarray, imatrix: np.ndarray | None = None) -> np.ndarray:
        """Bytes (rows, row_bytes) of x (rows, cols) float32; imatrix (cols,) weighs the columns."""
        rows, cols = x.shape
        if self.needs_imatrix and imatrix is None:
            raise ValueError(f"imatrix must be given for {self.name}, one importance >= 0 a column, got None")
        records = np.empty(rows * (self.row_bytes(cols) // self.block_bytes), self.dtype)
        flat = x.reshape(-1, self.elements)
        if imatrix is not None:
            with np.errstate(over="ignore"):
                squares = mean_square(x)
            columns = imatrix.reshape(-1, self.elements)
            per_row = len(columns)
        step = max(1, self.chunk // self.elements)
        with np.errstate(all="ignore"):  # C computes on through infinities and so do we
            for first in range(0, len(flat), step):
                part = slice(first, min(first + step, len(flat)))
                xt, w = np.ascontiguousarray(flat[part].T), None
                if imatrix is not None:
                    at = np.arange(part.start, part.stop)
                    w = self.importance(xt, np.ascontiguousarray(columns[at % per_row].T), squares[at // per_row])
                try:
                    records[part] = self.encode(xt, w)
                except OverflowError as error:
                    raise ValueError(f"x must be smaller for {self.name}, got magnitudes up to {np.abs(xt).max():.3g}:"
                                     f" {error}, and ggml ends there, too") from None  # fmt: skip
        return records.view(np.uint8).reshape(rows, -1)

    def dequantize(self, data: np.ndarray) -> np.ndarray:
        """float32 (rows, cols) of bytes (rows, row_bytes)."""
        rows, row_bytes = data.shape
        if row_bytes % self.block_bytes or row_bytes == 0:
            raise ValueError(f"blocks must have rows of whole {self.name} blocks, a multiple of {self.block_bytes}"
                             f" bytes, got {row_bytes}")  # fmt: skip
        records = np.ascontiguousarray(data).reshape(-1).view(self.dtype)
        result = np.empty((len(records), self.elements), np.float32)
        step = max(1, 2 * CHUNK_ELEMENTS // self.elements)
        with np.errstate(all="ignore"):
            for first in range(0, len(records), step):
                result[first : first + step] = self.decode(records[first : first + step])
        return result.reshape(rows, -1)


def total(*factors: np.ndarray) -> np.ndarray:
    """Sum of each column of a product, in C's order: factors from left to right, addends from top to bottom.

    factors: contiguous float32 (n, blocks). One pass, and no products in memory. Each product is rounded before it is
    added on x86-64; NumPy for other processors may fuse the two.

    >>> total(np.float32([[1, 2], [3, 4]]), np.float32([[1, 1], [2, 2]])).tolist()
    [7.0, 10.0]
    """
    if factors[0].shape[1] == 1:  # NumPy has another order for a single column
        return total(*(np.repeat(factor, 2, axis=1) for factor in factors))[:1]
    return np.einsum(SUMS[len(factors)], *factors)


def mean_square(x: np.ndarray) -> np.ndarray:
    """Mean of x squared over each row (rows, cols), summed in C's order: from left to right in float32."""
    columns = np.ascontiguousarray(x.T)
    return total(columns, columns) / np.float32(x.shape[1])


def nearest_int(v: np.ndarray) -> np.ndarray:
    """Nearest integer of float32 v, ties to even, as C finds it: the low bits of v + 1.5 * 2^23.

    Beyond ±2^22 those bits are no longer the number's; the masks keep even that as it is in C.

    >>> nearest_int(np.float32([0.5, 1.5, -2.5])).tolist()
    [0, 2, -2]
    """
    bits = (v + np.float32(12582912.0)).view(np.int32)
    bits &= 0x007FFFFF
    bits -= 0x00400000
    return bits


def truncate(v: np.ndarray) -> np.ndarray:
    """float32 -> uint8 as C does it on x86-64: low byte of a 32-bit integer, which is INT_MIN where v does not fit."""
    return v.astype(np.int32).astype(np.uint8)


def first_largest(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(largest magnitude of each column, the number that has it with its sign): the first of several, never a NaN."""
    low, high = x.min(0), x.max(0)
    top = np.where(high > -low, high, low)
    unclear = ~(high != -low) | np.isnan(low)  # the same to both sides, or NaN among them: look which comes first
    if unclear.any():
        part = np.where(np.isnan(x[:, unclear]), 0, x[:, unclear])
        top[unclear] = np.take_along_axis(part, np.abs(part).argmax(0)[None], 0)[0]
    return np.abs(top), top + np.float32(0)  # + 0: never -0


def first_smallest(x: np.ndarray) -> np.ndarray:
    """The smallest number of each column; of several zeros the first, whichever sign it has."""
    low = x.min(0)
    zero = low == 0
    if zero.any():
        part = x[:, zero]
        low[zero] = np.take_along_axis(part, part.argmin(0)[None], 0)[0]
    return low


def inverse(d: np.ndarray) -> np.ndarray:
    """1/d, and 0 where d is 0."""
    return np.divide(np.float32(1), d, out=np.zeros_like(d), where=d != 0)
