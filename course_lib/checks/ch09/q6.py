"""ch09.q6: six-bit codes whose bits come from two places."""

import torch

from course_lib.checks import Case, Exercise, Wrong, equals_reference, law
from course_lib.checks.inputs import uint8


def q6(ql, qh):
    first, second = ql.chunk(2, dim=1)
    low = torch.cat([first & 15, second & 15, first >> 4, second >> 4], dim=1)
    high = torch.cat([qh & 3, qh >> 2 & 3, qh >> 4 & 3, qh >> 6], dim=1)
    return (low | high << 4).to(torch.int8) - 32


def _low(ql):
    first, second = ql.chunk(2, dim=1)
    return [first & 15, second & 15, first >> 4, second >> 4]


def _high(qh):
    return [qh & 3, qh >> 2 & 3, qh >> 4 & 3, qh >> 6]


def _halves(codes):
    return codes[:, ::2], codes[:, 1::2]


def _with(low=_low, high=_high, join=lambda a, b: a | b << 4, off=32, order=lambda parts: torch.cat(parts, dim=1)):
    def variant(ql, qh):
        return (join(order(low(ql)), order(high(qh))).to(torch.int16) - off).to(torch.int8)

    return variant


def _byte_by_byte(ql):
    first, second = ql.chunk(2, dim=1)
    return [first & 15, first >> 4, second & 15, second >> 4]


def _nibbles_of_a_byte_together(ql, qh):
    low = torch.stack([ql & 15, ql >> 4], dim=2).flatten(1)
    return (low | torch.cat(_high(qh), dim=1) << 4).to(torch.int8) - 32


def _high_nibbles_first(ql):
    first, second = ql.chunk(2, dim=1)
    return [first >> 4, second >> 4, first & 15, second & 15]


def _twos_complement(ql, qh):
    q = torch.cat(_low(ql), dim=1) | torch.cat(_high(qh), dim=1) << 4
    return torch.where(q > 31, q.to(torch.int16) - 64, q.to(torch.int16)).to(torch.int8)


def _range(got, ql, qh):
    bad = got[(got < -32) | (got > 31)]
    return not len(bad) or f"{int(bad[0])} is not one of −32 … 31."


def _bytes_together(ql, qh):
    low, high = (torch.stack(parts, dim=2).flatten(1) for parts in ([ql & 15, ql >> 4], _high(qh)))
    return (low | high << 4).to(torch.int8) - 32


def _random(seed, n, w):
    g = torch.Generator().manual_seed(seed)
    ql, qh = (torch.randint(0, 256, (n, k * w), generator=g).to(torch.uint8) for k in (2, 1))
    return ql, qh


EXERCISE = Exercise(
    id="ch09.q6",
    title="Six bits from two places",
    spec="q6(ql, qh): codes −32 … 31, int8 (n, 4·k), of ql uint8 (n, 2·k) and qh uint8 (n, k); in Q6_K k is 32.",
    kind="build",
    stub='''
def q6(ql, qh):
    """Q6_K's codes, int8 (n, 4·k): low four bits from ql uint8 (n, 2·k), high two from qh uint8 (n, k), less 32."""
    ...
''',
    reference=q6,
    piece="q6",
    cases=[
        Case("four codes: 0, 1, 2, 3", uint8([0x20, 0x31]), uint8([0b10101010])),
        Case("four codes: −32, −16, 0, 16", uint8([0, 0]), uint8([0b11100100])),
        Case("all bits set", uint8([255, 255]), uint8([255])),
        Case("no bit set", uint8([0, 0]), uint8([0])),
        Case("four codes", uint8([0x4B, 0xD2]), uint8([0b10010011])),
        Case("eight codes", *_random(1, 1, 2)),
        Case("two rows of eight codes", *_random(2, 2, 2)),
        Case("quarters of twenty", *_random(5, 1, 20)),
        Case("half a block of Q6_K", *_random(3, 1, 32)),
        Case("many blocks", *_random(4, 30, 32)),
    ],
    properties=[
        law("six bits, signed", _range, "0 … 63, less 32."),
        equals_reference(why="Bits are bits."),
    ],
    wrong=[
        Wrong(
            "32 not taken off",
            _with(off=0),
            "Your codes run from 0 to 63. Q6_K means code − 32, so that 32 stands for 0.",
        ),
        Wrong(
            "31 taken off",
            _with(off=31),
            "Half of 64 is 32: codes run from −32 to 31.",
        ),
        Wrong(
            "two's complement",
            _twos_complement,
            "You read 32 … 63 as negative numbers. Here 32 is *taken off*: 0 means −32, and 32 means 0.",
        ),
        Wrong(
            "left in uint8",
            lambda ql, qh: (torch.cat(_low(ql), dim=1) | torch.cat(_high(qh), dim=1) << 4) - 32,
            "uint8 knows no sign: 3 − 32 wraps around to 227. Make it int8 first, then take 32 off.",
        ),
        Wrong(
            "both nibbles of a byte side by side",
            _with(low=_byte_by_byte),
            "The order of the quarters is: low nibbles of the first half of ql, low nibbles of its second half, then "
            "the high ones of the first half and of the second.",
        ),
        Wrong(
            "the nibbles of a byte as neighbours",
            _nibbles_of_a_byte_together,
            "The two nibbles of a byte are neighbours in yours. All low nibbles come first, then all high ones.",
        ),
        Wrong(
            "qh not masked",
            _with(high=lambda qh: [qh, qh >> 2, qh >> 4, qh >> 6]),
            "After the shift, bits of other quarters are still there: keep two of them, & 3.",
        ),
        Wrong(
            "high nibbles first",
            _with(low=_high_nibbles_first),
            "The low nibbles make the first two quarters, the high ones the last two.",
        ),
        Wrong(
            "qh from the top",
            _with(high=lambda qh: _high(qh)[::-1]),
            "The *lowest* two bits of qh belong to the first quarter.",
        ),
        Wrong(
            "qh left out",
            _with(join=lambda a, b: a),
            "Only the four low bits are there; all of your codes lie below −16. Add qh's two bits as bits 4 and 5.",
        ),
        Wrong(
            "qh at the bottom",
            _with(join=lambda a, b: a << 2 | b),
            "ql holds the *low* four bits, qh the two above them: low | high << 4.",
        ),
        Wrong(
            "qh not shifted",
            _with(join=lambda a, b: a | b),
            "The two bits of qh have to move up to bits 4 and 5: high << 4.",
        ),
        Wrong(
            "neighbours side by side",
            _with(order=lambda parts: torch.stack(parts, dim=2).flatten(1)),
            "The four codes of a byte of qh stand k places apart in the block, not side by side: cat, not stack.",
        ),
        Wrong(
            "even and odd bytes",
            _with(low=lambda ql: [*_halves(ql & 15), *_halves(ql >> 4)]),
            "You took every second byte of ql. Its two halves are wanted: chunk(2, dim=1).",
        ),
        Wrong(
            "each byte's codes as neighbours",
            _bytes_together,
            "You keep the codes of a byte together, in ql and in qh. They lie in different quarters: cat, not stack.",
        ),
        Wrong(
            "only qh side by side",
            lambda ql, qh: (torch.cat(_low(ql), 1) | torch.stack(_high(qh), 2).flatten(1) << 4).to(torch.int8) - 32,
            "The low bits are right. The four numbers of a byte of qh stand k places apart, too: cat, not stack.",
        ),
    ],
    hints=[
        "Four quarters of k codes. Quarter 0 and 1: low nibbles of the first and of the second half of ql; quarter 2 "
        "and 3: their high nibbles. qh gives each of them two bits, from the lowest up.",
        "ql = 0x4b, 0xd2 and qh = 10 01 00 11. Low bits: b, 2, 4, d; high ones: 11, 00, 01, 10. Codes: 0x3b, 0x02, "
        "0x14, 0x2d; less 32: 27, −30, −12, 13.",
        "    first, second = ql.chunk(2, dim=1)\n    low = torch.cat([first & 15, second & 15, ____, ____], dim=1)\n"
        "    high = torch.cat([qh & 3, qh >> 2 & 3, ____, ____], dim=1)\n"
        "    return (low | high << ____).to(torch.int8) - ____",
    ],
    passed="Four bits and two bits, apart, so that each part can be fetched and shifted for many weights at once.",
)
