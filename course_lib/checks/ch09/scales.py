"""ch09.scales: sixteen 6-bit numbers in twelve bytes, and a reader that had only met small ones."""

import torch

from course_lib.checks import Case, Exercise, Wrong, equals_reference, law
from course_lib.checks.inputs import uint8


def scales(data):
    first, second, third = data[:, :4], data[:, 4:8], data[:, 8:]
    sc = torch.cat([first & 63, third & 15 | first >> 6 << 4], dim=1)
    m = torch.cat([second & 63, third >> 4 | second >> 6 << 4], dim=1)
    return sc, m


def _with(low=lambda f: f & 63, sc=None, m=None):
    """The reference with another way to read the first four, or the last four of either kind."""
    sc = sc or (lambda f, s, t: t & 15 | f >> 6 << 4)
    m = m or (lambda f, s, t: t >> 4 | s >> 6 << 4)

    def variant(data):
        f, s, t = data[:, :4], data[:, 4:8], data[:, 8:]
        return torch.cat([low(f), sc(f, s, t)], dim=1), torch.cat([low(s), m(f, s, t)], dim=1)

    return variant


def _six_bits(got, data):
    for what, values in zip(("scale", "minimum"), got, strict=True):
        far = (values > 63).nonzero()
        if len(far):
            n, k = (int(i) for i in far[0])
            return f"A 6-bit number is 63 at most. Your {what} {k} of row {n} is {int(values[n, k])}."
    return True


def _no_bit_lost(got, data):
    sc, m = got
    back = torch.cat(
        [sc[:, :4] | sc[:, 4:] >> 4 << 6, m[:, :4] | m[:, 4:] >> 4 << 6, sc[:, 4:] & 15 | (m[:, 4:] & 15) << 4], dim=1
    )
    wrong = (back != data).nonzero()
    if not len(wrong):
        return True
    n, k = (int(i) for i in wrong[0])
    return f"Laid down again, your numbers give byte {k} as {int(back[n, k]):08b}. It was {int(data[n, k]):08b}."


_SMALL = uint8([1, 2, 3, 4, 5, 6, 7, 8, 0x19, 0x2A, 0x3B, 0x4C])

EXERCISE = Exercise(
    id="ch09.scales",
    title="Repair: sixteen numbers in twelve bytes",
    spec="scales(data): the eight 6-bit scales and eight 6-bit minima, each uint8 (n, 8), of uint8 (n, 12).",
    kind="repair",
    stub='''
def scales(data):
    """Eight scales and eight minima, each uint8 (n, 8) and below 64, from the twelve bytes of Q4_K, uint8 (n, 12)."""
    first, second, third = data[:, :4], data[:, 4:8], data[:, 8:]
    sc = torch.cat([first, third & 15], dim=1)
    m = torch.cat([second, third >> 4], dim=1)
    return sc, m
''',
    reference=scales,
    piece="scales",
    cases=[
        Case("small numbers, its old test", _SMALL),
        Case("scale 4 is 16", uint8([64, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])),
        Case("minimum 5 is 48", uint8([0, 0, 0, 0, 0, 192, 0, 0, 0, 0, 0, 0])),
        Case("scale 0 is 40, minimum 3 is 33", uint8([40, 0, 0, 0, 0, 0, 0, 33, 0, 0, 0, 0])),
        Case("scale 6 is 27, minimum 7 is 36", uint8([0, 0, 64, 0, 0, 0, 0, 128, 0, 0, 11, 64])),
        Case("every bit set", uint8([255] * 12)),
        Case("all different", uint8([0x9B, 0x47, 0xD2, 0x2E, 0x71, 0xA8, 0x0F, 0xE6, 0x35, 0xC9, 0x5C, 0x93])),
        Case("many rows", torch.randint(0, 256, (40, 12), generator=torch.Generator().manual_seed(0)).to(torch.uint8)),
    ],
    properties=[
        law("six bits each", _six_bits, "What stands above bit 5 belongs to another number."),
        law("no bit is lost", _no_bit_lost, "Sixteen numbers of six bits are 96 bits: all of the twelve bytes."),
        equals_reference(why="Bits are bits."),
    ],
    wrong=[
        Wrong(
            "the top bits dropped",
            _with(sc=lambda f, s, t: t & 15, m=lambda f, s, t: t >> 4),
            "The first four are mended. The last four have six bits as well: their upper two hide in bytes 0 to 7.",
        ),
        Wrong(
            "the first four not cut off",
            _with(low=lambda f: f),
            "The last four are mended. The first four still carry two bits of theirs: take the lower six only.",
        ),
        Wrong(
            "only the scales mended",
            _with(m=lambda f, s, t: t >> 4),
            "The scales are right. The last four minima lack two bits in the same way: they hide in bytes 4 to 7.",
        ),
        Wrong(
            "top bits at the bottom",
            _with(sc=lambda f, s, t: t & 15 | f >> 6, m=lambda f, s, t: t >> 4 | s >> 6),
            "You shifted the two bits down, and not up again: they are bits 4 and 5 of the number.",
        ),
        Wrong(
            "top bits below",
            _with(sc=lambda f, s, t: (t & 15) << 2 | f >> 6, m=lambda f, s, t: t >> 4 << 2 | s >> 6),
            "The nibble is the lower part, the two bits are the upper part: nibble | bits << 4.",
        ),
        Wrong(
            "top bits of the other",
            _with(sc=lambda f, s, t: t & 15 | s >> 6 << 4, m=lambda f, s, t: t >> 4 | f >> 6 << 4),
            "The upper bits of the *scales* are in bytes 0 to 3, those of the minima in bytes 4 to 7.",
        ),
        Wrong(
            "nibbles swapped",
            _with(sc=lambda f, s, t: t >> 4 | f >> 6 << 4, m=lambda f, s, t: t & 15 | s >> 6 << 4),
            "In bytes 8 to 11 the scale is the low nibble, the minimum the high one.",
        ),
        Wrong(
            "not cut off before the shift",
            _with(sc=lambda f, s, t: t & 15 | f >> 2, m=lambda f, s, t: t >> 4 | s >> 2),
            "A shift by 2 puts the two bits in place, but bits of another number come along. Mask them: & 48.",
        ),
        Wrong(
            "five bits",
            _with(low=lambda f: f & 31),
            "& 31 keeps five bits. Six bits are & 63.",
        ),
        Wrong(
            "minima first",
            lambda data: scales(data)[::-1],
            "Both are right, in the wrong order: scales first.",
        ),
        Wrong(
            "one bit of the two",
            _with(sc=lambda f, s, t: t & 15 | (f >> 6 & 1) << 4, m=lambda f, s, t: t >> 4 | (s >> 6 & 1) << 4),
            "Each of the last four lacks two bits, and you brought back one: numbers from 32 on are still wrong.",
        ),
        Wrong(
            "plus before the shift",
            _with(sc=lambda f, s, t: t & 15 + f >> 6 << 4, m=lambda f, s, t: t >> 4 + s >> 6 << 4),
            "`a >> 6 << 4 + b` is `a >> 6 << (4 + b)`: + binds tighter than shifts and &. Use |, or brackets.",
        ),
    ],
    hints=[
        "Draw byte 0: bits 0 to 5 are scale 0. Bits 6 and 7 are the top two bits of scale 4, whose other four bits are "
        "the low nibble of byte 8.",
        "Byte 0 = 01 000011 and byte 8 = 0000 1010. Scale 0 is 000011 = 3, scale 4 is 01 1010 = 26.",
        "    sc = torch.cat([first & ____, third & 15 | first >> ____ << ____], dim=1)\n"
        "    m = torch.cat([second & ____, third >> 4 | second >> ____ << ____], dim=1)",
    ],
    passed="Numbers below 16 hid both faults. A test for packed bits needs a case in which every bit is set somewhere.",
)
