"""A weight that stays in a GGUF file's blocks: what QuantLinear and the kernels take where a QTensor would not do."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from course_lib.formats import ggml


@dataclass(frozen=True, eq=False, repr=False)
class Blocks:
    """blocks (rows, row_bytes) uint8 of one type, such as Q4_K; ValueError where a row is not whole blocks.

    >>> import torch
    >>> w = Blocks(ggml.quantize(torch.randn(4, 256), "Q4_K"), "Q4_K")
    >>> w.shape, w.nbytes, w
    ((4, 256), 576, Blocks(Q4_K, shape=(4, 256), 4.500 bits/weight))
    """

    blocks: Tensor
    kind: str

    def __post_init__(self):
        size = ggml.block_type(self.kind).block_bytes
        if self.blocks.dim() != 2 or self.blocks.shape[1] % size:
            raise ValueError(f"blocks must be (rows, a multiple of {size} bytes) for {self.kind}, "
                             f"got shape {tuple(self.blocks.shape)}")  # fmt: skip

    @property
    def shape(self) -> tuple[int, int]:
        kind = ggml.block_type(self.kind)
        return len(self.blocks), self.blocks.shape[1] // kind.block_bytes * kind.elements

    @property
    def nbytes(self) -> int:
        return self.blocks.numel()

    def dequantize(self) -> Tensor:
        """float32 (rows, cols), where the blocks are."""
        return ggml.dequantize(self.blocks, self.kind).to(self.blocks.device)

    def __repr__(self) -> str:
        return f"Blocks({self.kind}, shape={self.shape}, {ggml.block_type(self.kind).bits_per_weight:.3f} bits/weight)"
