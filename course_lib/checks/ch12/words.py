"""Words for chapter 12: a packing as simple as a fast one can be, and codes that put all 32 bits to use.

A block of 8·W columns is W words. Bits 4j … 4j + 3 of word c hold the code of column W·j + c of the block: the columns
that meet nibble j of all words lie side by side. (`kernels.packing` goes one step further and keeps them in pairs.)
"""

import torch

ALL = tuple(range(16))


def words(rows, W):
    """Codes 0…15 (n, k), a tensor or a list of rows -> (n, blocks·W) int32; the last block is filled up with 8.

    >>> [hex(w) for w in words([range(8)], 1)[0].tolist()]
    ['0x76543210']
    """
    codes = torch.as_tensor(rows, dtype=torch.int64) if isinstance(rows, torch.Tensor) else torch.tensor(
        [list(row) for row in rows])  # fmt: skip
    codes = torch.nn.functional.pad(codes, (0, -codes.shape[1] % (8 * W)), value=8)
    nibbles = codes.reshape(len(codes), -1, 8, W)
    packed = (nibbles << (4 * torch.arange(8)[:, None])).sum(2).flatten(1)
    return torch.where(packed >= 2**31, packed - 2**32, packed).to(torch.int32)


def codes(seed, n, k):
    """Random codes 0…15 (n, k), as lists."""
    return torch.randint(0, 16, (n, k), generator=torch.Generator().manual_seed(seed)).tolist()
