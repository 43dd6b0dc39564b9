"""ps03.q1: two orders of the same nibbles"""

import torch

from course_lib.checks import Case
from course_lib.grading import Mistake, agrees, question


def to_halves(packed, block):
    """Repack bytes (rows, n/2) of 4-bit codes from neighbours in a byte to halves of a block in a byte; uint8."""
    codes = torch.stack([packed & 15, packed >> 4], dim=-1).flatten(-2)
    halves = codes.unflatten(-1, (-1, 2, block // 2))
    first, second = halves.unbind(-2)
    return (first | (second << 4)).flatten(-2)


def _halves(packed, block, swap_in=False, swap_out=False):
    low, high = (packed >> 4, packed & 15) if swap_in else (packed & 15, packed >> 4)
    first, second = torch.stack([low, high], -1).flatten(-2).unflatten(-1, (-1, 2, block // 2)).unbind(-2)
    first, second = (second, first) if swap_out else (first, second)
    return (first | (second << 4)).flatten(-2)


def _to_neighbours(packed, block):
    blocks = packed.unflatten(-1, (-1, block // 2))
    codes = torch.cat([blocks & 15, blocks >> 4], dim=-1).flatten(-2)
    return codes[..., ::2] | (codes[..., 1::2] << 4)


def _added_not_shifted(packed, block):
    codes = torch.stack([packed & 15, packed >> 4], dim=-1).flatten(-2)
    first, second = codes.unflatten(-1, (-1, 2, block // 2)).unbind(-2)
    return ((first << 4) + second).flatten(-2)


def _three_bits_kept(packed, block):
    return _halves(packed, block) & 0x77


NAMES = ("one block", "several blocks and rows, each on its own", "every byte, and the smallest block")


def _runs_not_pairs(packed, block):
    first, second = torch.cat([packed & 15, packed >> 4], -1).unflatten(-1, (-1, 2, block // 2)).unbind(-2)
    return (first | (second << 4)).flatten(-2)


WRONG = [
    Mistake(
        "nibbles swapped on reading",
        lambda p, block: _halves(p, block, swap_in=True),
        "The first code of a byte is its low nibble: packed & 15.",
        loses=NAMES,
    ),
    Mistake(
        "nibbles swapped on writing",
        lambda p, block: _halves(p, block, swap_out=True),
        "The first half of the block belongs into the low nibbles.",
        loses=NAMES,
    ),
    Mistake(
        "halves of the whole row",
        lambda p, block: _halves(p, 2 * p.shape[1]),
        "Split each block of `block` codes in two, not the row.",
        loses=NAMES[1:],
    ),
    Mistake(
        "the other way round",
        _to_neighbours,
        "You read halves and wrote neighbours; the file has neighbours, the kernel wants halves.",
        loses=NAMES,
    ),
    Mistake(
        "blocks of bytes, not of codes",
        lambda p, block: _halves(p, 2 * block),
        "A block counts codes; in bytes it is half as long.",
        loses=NAMES,
    ),
    Mistake(
        "the high bit lost",
        _three_bits_kept,
        "A nibble has four bits: mask with 15, not with 7.",
        loses=NAMES,
    ),
    Mistake(
        "all low nibbles before all high ones",
        _runs_not_pairs,
        "The codes of a byte are neighbours: low, high, low, high. Stack the nibbles along a new last axis.",
        loses=NAMES,
    ),
    Mistake(
        "the first row only",
        lambda p, block: _halves(p[:1], block),
        "Each row of bytes is repacked; yours has one row.",
        loses=NAMES[1:],
    ),
    Mistake(
        "as it came",
        lambda p, block: p,
        "You returned the file's bytes: nothing has moved.",
        loses=NAMES,
    ),
]


def exercise(seed):
    generator = torch.Generator().manual_seed(seed)

    def random(n_rows, n_bytes):
        return torch.randint(0, 256, (n_rows, n_bytes), generator=generator, dtype=torch.uint8)

    one = [
        Case("one block of 4 codes", torch.tensor([[0x21, 0x43]], dtype=torch.uint8), 4),
        Case("one block of 32 codes", random(1, 16), 32),
    ]
    many = [
        Case("blocks of 8, three rows", random(3, 20), 8),
        Case("blocks of 32, two rows", random(2, 64), 32),
    ]
    every = [
        Case("every byte, blocks of 16", torch.arange(256, dtype=torch.uint8).reshape(2, 128), 16),
        Case("every byte, blocks of 2", torch.arange(256, dtype=torch.uint8).reshape(1, 256), 2),
    ]
    return question(
        "ps03.q1",
        "Two orders of the same nibbles",
        "to_halves(packed, block) moves codes i and i + block/2 of each block into one byte, i in the low nibble.",
        to_halves,
        properties=[
            agrees(NAMES[0], one, "Code i is low, code i + block/2 is high."),
            agrees(NAMES[1], many, "The order begins anew with each block.", points=2),
            agrees(NAMES[2], every, "With two codes a block, both orders are the same."),
        ],
        wrong=WRONG,
    )
