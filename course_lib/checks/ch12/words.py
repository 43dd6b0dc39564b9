"""Words for the cases of chapter 12: codes packed as the kernels read them, with all 32 bits in use."""

import torch

from course_lib.kernels import packing

ALL = tuple(range(16))


def words(rows, W):
    """Codes 0…15 (n, k), a list of rows -> (n, blocks·W) int32: nibble j of word c of a block is column W·j + c."""
    return packing.pack_words(torch.tensor(rows), 8 * W)


def codes(seed, n, k):
    return torch.randint(0, 16, (n, k), generator=torch.Generator().manual_seed(seed)).tolist()


def randn(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))
