"""ps06.q1: the fifth bit"""

import torch

from course_lib.checks import Case
from course_lib.grading import Mistake, agrees, question


def fifth_bit(blocks):
    """Q5_0 blocks (n, 22) as codes, as numbers, and as Q5_1 blocks of the same numbers, where there are such."""
    d = blocks[:, :2].contiguous().view(torch.float16)  # (n, 1)
    qh, qs = blocks[:, 2:6], blocks[:, 6:]
    high = (qh[:, :, None] >> torch.arange(8, dtype=torch.uint8)) & 1  # (n, 4 bytes, 8 bits)
    codes = torch.cat([qs & 15, qs >> 4], dim=1) | (high.reshape(-1, 32) << 4)
    m = -16 * d  # d (q - 16) = d q + m
    return {
        "codes": codes,
        "w": d.float() * (codes.float() - 16),
        "q5_1": torch.cat([blocks[:, :2], m.view(torch.uint8), blocks[:, 2:]], dim=1),
        "fits": m.isfinite().flatten(),
    }


def _halves(qs):
    return torch.cat([qs & 15, qs >> 4], dim=1)


def _neighbours(qs):
    return torch.stack([qs & 15, qs >> 4], dim=2).flatten(1)


def _swapped(qs):
    return torch.cat([qs >> 4, qs & 15], dim=1)


def _rising(qh):
    return ((qh[:, :, None] >> torch.arange(8, dtype=torch.uint8)) & 1).flatten(1)


def _falling(qh):
    return ((qh[:, :, None] >> torch.arange(7, -1, -1, dtype=torch.uint8)) & 1).flatten(1)


def _bit(blocks, nibbles=_halves, bits=_rising, by=16, off=16, minus=-16, place=lambda b, m: [b[:, :2], m, b[:, 2:]],
         fits=lambda d, m: m.isfinite()):  # fmt: skip
    """The reference with one part changed."""
    d = blocks[:, :2].contiguous().view(torch.float16)
    codes = (nibbles(blocks[:, 6:]).int() + by * bits(blocks[:, 2:6]).int()).to(torch.uint8)
    m = minus * d
    return {
        "codes": codes,
        "w": d.float() * (codes.float() - off),
        "q5_1": torch.cat(place(blocks, m.view(torch.uint8)), dim=1),
        "fits": fits(d, m).flatten(),
    }


NAMES = ("the codes", "the numbers", "the same numbers as Q5_1", "which blocks can be Q5_1")

WRONG = [
    Mistake(
        "neighbours share a byte",
        lambda b: _bit(b, nibbles=_neighbours),
        "Byte l of qs holds weights l and l + 16, not 2l and 2l + 1: all low nibbles come first.",
        loses=NAMES[:2],
    ),
    Mistake(
        "high nibbles first",
        lambda b: _bit(b, nibbles=_swapped),
        "The low nibbles are weights 0 … 15, the high ones 16 … 31.",
        loses=NAMES[:2],
    ),
    Mistake(
        "the fifth bit left out",
        lambda b: _bit(b, by=0),
        "Without qh these are the codes of Q4_0. The plane's bit adds 16.",
        loses=NAMES[:2],
    ),
    Mistake(
        "the plane read from the top bit",
        lambda b: _bit(b, bits=_falling),
        "Weight 0 owns the lowest bit of the plane's first byte, weight 7 its highest.",
        loses=NAMES[:2],
    ),
    Mistake(
        "the fifth bit added below",
        lambda b: _bit(b, nibbles=lambda qs: _halves(qs) * 2, by=1),
        "The plane holds the *highest* bit of a code: it is worth 16, not 1.",
        loses=NAMES[:2],
    ),
    Mistake(
        "codes without their offset",
        lambda b: _bit(b, off=0),
        "Code 16 stands for 0: w = d (q − 16).",
        loses=NAMES[1:2],
    ),
    Mistake(
        "the offset of four bits",
        lambda b: _bit(b, off=8),
        "8 is the middle of 16 codes. Five bits have 32, and their middle is 16.",
        loses=NAMES[1:2],
    ),
    Mistake(
        "a minimum of the wrong sign",
        lambda b: _bit(b, minus=16),
        "d q + m has to be d (q − 16), so m = −16 d.",
        loses=NAMES[2:3],
    ),
    Mistake(
        "half the minimum",
        lambda b: _bit(b, minus=-8, fits=lambda d, m: (2 * m).isfinite()),
        "m = −8 d belongs to four bits; here code 16 must stand for 0.",
        loses=NAMES[2:3],
    ),
    Mistake(
        "the minimum behind the plane",
        lambda b: _bit(b, place=lambda b, m: [b[:, :6], m, b[:, 6:]]),
        "The fields of Q5_1 are d, m, qh, qs: m follows d at once.",
        loses=NAMES[2:3],
    ),
    Mistake(
        "the minimum before d",
        lambda b: _bit(b, place=lambda b, m: [m, b]),
        "The fields of Q5_1 begin with d; m is the second.",
        loses=NAMES[2:3],
    ),
    Mistake(
        "every block fits",
        lambda b: _bit(b, fits=lambda d, m: m == m),
        "float16 ends at 65504. Where 16 |d| lies beyond, m is infinite, and no Q5_1 block holds these numbers.",
        loses=NAMES[3:],
    ),
    Mistake(
        "large numbers refused",
        lambda b: _bit(b, fits=lambda d, m: (31 * d.float() + m.float()).abs() < 30_000),
        "What has to fit into float16 is m, nothing else: numbers that it helps to form may be as large as they like.",
        loses=NAMES[3:],
    ),
]


def exercise(seed):
    def case(name, offset, *scales):
        generator = torch.Generator().manual_seed(seed + offset)
        data = torch.randint(0, 256, (len(scales), 20), generator=generator, dtype=torch.uint8)
        d = torch.tensor(scales, dtype=torch.float16)[:, None].view(torch.uint8)
        return Case(name, torch.cat([d, data], dim=1))

    generator = torch.Generator().manual_seed(seed + 99)
    drawn = (0.01 + torch.rand(4, generator=generator)).tolist()
    some = [
        case("one block", 0, 1.0),
        case("three blocks", 1, drawn[0], -drawn[1], drawn[2]),
        case("a small scale", 2, 1e-6, drawn[3]),
    ]
    ends = [
        case("scales near the end", 3, 4094.0, 4096.0, -4094.0, -4096.0),
        case("two small ones, one large", 4, 0.5, 60000.0, 1e-7),
        case("just large enough to worry", 5, 2048.0, 3000.0),
    ]
    return question(
        "ps06.q1",
        "The fifth bit",
        "fifth_bit(blocks): codes and numbers of Q5_0 blocks, and Q5_1 blocks that hold the same.",
        fifth_bit,
        properties=[
            agrees(NAMES[0], some, "A nibble from qs, and bit j of the plane as the fifth.", part="codes"),
            agrees(NAMES[1], some, "w = d (q − 16).", part="w"),
            agrees(NAMES[2], some, "d, m = −16 d, qh, qs.", part="q5_1"),
            agrees(NAMES[3], ends, "m has to be finite in float16.", part="fits"),
        ],
        wrong=WRONG,
    )
