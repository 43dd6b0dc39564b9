"""ch04.unpack: bytes back to codes; the broken version cannot read a code that lies across two bytes."""

import torch

from course_lib.checks import Case, Exercise, Wrong, equals_reference, law
from course_lib.checks.ch04.pack import pack
from course_lib.checks.inputs import uint8


def unpack(packed, b, n):
    bits = packed.long()[:, None] >> torch.arange(8) & 1  # (bytes, 8), lowest bit first
    codes = bits.flatten()[: n * b].reshape(n, b)
    return (codes << torch.arange(b)).sum(dim=1).to(torch.uint8)


def _as_it_was(packed, b, n):
    per_byte = 8 // b
    shifts = torch.arange(per_byte) * b
    codes = packed.long()[:, None] >> shifts & (2**b - 1)
    return codes.flatten()[:n].to(torch.uint8)


def _stream(packed):
    return (packed.long()[:, None] >> torch.arange(8) & 1).flatten()  # lowest bit first


def _codes(stream, b, n, places=None):
    places = torch.arange(b) if places is None else places
    return (stream[: n * b].reshape(n, b) << places).sum(dim=1).to(torch.uint8)


def _top_down(packed, b, n):
    stream = (packed.long()[:, None] >> torch.arange(7, -1, -1) & 1).flatten()
    return _codes(stream, b, n, torch.arange(b - 1, -1, -1))


def _swapped(packed, b, n):
    """Top slot of each byte first; 3-bit codes in two slots a byte."""
    shifts = torch.arange(8 // b - 1, -1, -1) * b
    codes = packed.long()[:, None] >> shifts & (2**b - 1)
    return codes.flatten()[:n].to(torch.uint8)


def _last_byte_first(packed, b, n):
    return _codes(_stream(packed.flip(0)), b, n)


def _unmasked(packed, b, n):
    number = sum(int(byte) << (8 * j) for j, byte in enumerate(packed.tolist()))
    return torch.tensor([number >> (i * b) & 255 for i in range(n)], dtype=torch.uint8)


def _too_many(packed, b, n):
    stream = _stream(packed)
    return _codes(stream, b, len(stream) // b)


def _one_byte_of_a_straddler(packed, b, n):
    """Each code is read from the byte in which it begins; what lies in the next one is lost."""
    at = torch.arange(n) * b
    return (packed.long()[at // 8] >> at % 8 & (2**b - 1)).to(torch.uint8)


def _as_many(got, packed, b, n):
    return got.dim() != 1 or len(got) == n or f"{n} codes were packed, you return {len(got)}."


def _in_range(got, packed, b, n):
    return bool((got < 2**b).all()) or f"A code of {b} bits is at most {2**b - 1}; one of yours is {int(got.max())}."


def _case(name, b, *codes):
    return Case(name, pack(uint8(*codes), b), b, len(codes))


EXERCISE = Exercise(
    id="ch04.unpack",
    title="Three bits do not divide eight",
    spec="unpack(packed, b, n): the n codes that pack put into these bytes, for b of 2, 3 or 4.",
    kind="repair",
    stub='''
def unpack(packed, b, n):
    """The n codes, uint8, that pack put into the bytes `packed`."""
    per_byte = 8 // b
    shifts = torch.arange(per_byte) * b
    codes = packed.long()[:, None] >> shifts & (2**b - 1)
    return codes.flatten()[:n].to(torch.uint8)
''',
    reference=unpack,
    piece="unpack",
    cases=[
        _case("two codes, one byte", 4, 1, 2),
        _case("four codes of two bits", 2, 0, 1, 2, 3),
        _case("a code across two bytes", 3, 1, 2, 7),
        _case("eight codes in three bytes", 3, 0, 1, 2, 3, 4, 5, 6, 7),
        _case("half a byte left over", 4, 15, 0, 9),
        _case("two bits, five codes", 2, 3, 0, 1, 2, 1),
        _case("three bits, five codes", 3, 6, 5, 4, 3, 2),
        _case("every 4-bit code", 4, *range(16)),
    ],
    properties=[
        law(
            "as many codes as were packed",
            _as_many,
            "The zeros that fill up the last byte are no codes.",
            any_shape=True,
        ),
        law("codes of b bits", _in_range, "What comes back has to be one of the 2^b codes."),
        equals_reference(why="unpack undoes pack, bit for bit."),
    ],
    wrong=[
        Wrong(
            "as it was: 8 // b codes in each byte",
            _as_it_was,
            "8 // 3 is 2, but code 2 of a 3-bit stream begins in byte 0 and ends in byte 1. Go bit by bit.",
        ),
        Wrong(
            "the part in the next byte lost",
            _one_byte_of_a_straddler,
            "Each code is found where it begins, at bit i·b. One that crosses a border goes on in the next byte.",
        ),
        Wrong(
            "nibbles swapped",
            _swapped,
            "You read the top of each byte first. pack put the first code into the lowest bits.",
        ),
        Wrong(
            "most significant bit first",
            _top_down,
            "You read the bits of a byte from the top down. The stream begins with the lowest bit of byte 0.",
        ),
        Wrong(
            "last byte first",
            _last_byte_first,
            "The stream runs from byte 0 upwards; you began with the last byte.",
        ),
        Wrong(
            "mask forgotten",
            _unmasked,
            "After the shift the neighbour's bits are still there. & (2**b − 1) keeps b of them.",
        ),
        Wrong(
            "the filling returned, too",
            _too_many,
            "The last byte may hold unused bits. n says how many codes there are.",
        ),
        Wrong(
            "the bits of each code reversed",
            lambda packed, b, n: _codes(_stream(packed), b, n, torch.arange(b - 1, -1, -1)),
            "You found the right bits of each code and read them backwards: the first one is worth 1.",
        ),
    ],
    hints=[
        "pack lays all codes into one row of bits. Make that row again, and cut it into pieces of b instead of 8.",
        "Bytes 209 and 1, three codes of 3 bits: 209 is 10001011 lowest bit first, 1 is 10000000. Cut by threes: "
        "100 010 111, that is 1, 2, 7.",
        "def unpack(packed, b, n):\n    bits = packed.long()[:, None] >> torch.arange(____) & 1\n"
        "    codes = bits.flatten()[: ____].reshape(n, ____)\n"
        "    return (codes << torch.arange(____)).sum(dim=1).to(torch.uint8)",
    ],
    passed="pack and unpack undo each other for every width. GPTQ's kernels do the same with 32 codes in three words.",
)
