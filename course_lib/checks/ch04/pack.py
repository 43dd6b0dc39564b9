"""ch04.pack: codes of 2, 3 or 4 bits side by side in bytes, the lowest bit first."""

import torch

from course_lib.checks import Case, Exercise, Wrong, equals_reference, law
from course_lib.checks.inputs import uint8


def pack(codes, b):
    bits = codes.long()[:, None] >> torch.arange(b) & 1  # (n, b), lowest bit first
    stream = bits.flatten()
    rest = -len(stream) % 8
    stream = torch.cat([stream, torch.zeros(rest, dtype=torch.long)])
    return (stream.reshape(-1, 8) << torch.arange(8)).sum(dim=1).to(torch.uint8)


def _bits(codes, b):
    return codes.long()[:, None] >> torch.arange(b) & 1  # (n, b), lowest bit first


def _bytes(stream, places=None):
    """A stream of bits (n,) as bytes; `places` says what each of eight bits is worth (lowest first by default)."""
    places = torch.arange(8) if places is None else places
    stream = torch.cat([stream, torch.zeros(-len(stream) % 8, dtype=torch.long)])
    return (stream.reshape(-1, 8) << places).sum(dim=1).to(torch.uint8)


def _slots(codes, b, places=None):
    """8 // b codes in each byte, none across a border; `places` are the bits at which they begin."""
    per = 8 // b
    places = torch.arange(per) * b if places is None else places(per)
    codes = torch.cat([codes.long(), torch.zeros(-len(codes) % per, dtype=torch.long)])
    return (codes.reshape(-1, per) << places).sum(dim=1).to(torch.uint8)


def _halves(codes, b):
    """The first codes in the lowest slots of all bytes, the next ones in the slots above."""
    per = 8 // b
    codes = torch.cat([codes.long(), torch.zeros(-len(codes) % per, dtype=torch.long)])
    return (codes.reshape(per, -1) << (torch.arange(per) * b)[:, None]).sum(dim=0).to(torch.uint8)


def _border_cut(codes, b):
    """Each code goes into the byte in which it begins; what would lie in the next one is lost."""
    at = torch.arange(len(codes)) * b
    packed = torch.zeros((len(codes) * b + 7) // 8, dtype=torch.long)
    return packed.index_add(0, at // 8, codes.long() << at % 8 & 255).to(torch.uint8)


def _front_padded(codes, b):
    stream = _bits(codes, b).flatten()
    return _bytes(torch.cat([torch.zeros(-len(stream) % 8, dtype=torch.long), stream]))


def _as_long_as_needed(got, codes, b):
    need = (len(codes) * b + 7) // 8
    n = len(codes)
    fits = got.dim() != 1 or len(got) == need
    return fits or f"{n} codes of {b} bits are {n * b} bits. They fill {need} byte{'s' * (need > 1)}, not {len(got)}."


def _first_code_lowest(got, codes, b):
    first = int(got[0]) & (2**b - 1)
    told = (
        f"Your first byte is {int(got[0]):08b} in binary. Its lowest {b} bits say {first}; code 0 is {int(codes[0])}."
    )
    return first == int(codes[0]) or told


EXERCISE = Exercise(
    id="ch04.pack",
    title="No bit between them",
    spec="pack(codes, b) is uint8: the b bits of code 0, then those of code 1 …, each byte filled from its lowest bit.",
    kind="build",
    stub='''
def pack(codes, b):
    """uint8 bytes for codes (n,) in 0 … 2^b − 1: one stream of bits, lowest bit first, unused bits 0."""
    ...
''',
    reference=pack,
    piece="pack",
    cases=[
        Case("two codes, one byte", uint8(1, 2), 4),
        Case("four codes of two bits", uint8(0, 1, 2, 3), 2),
        Case("a code across two bytes", uint8(1, 2, 7), 3),
        Case("eight codes in three bytes", uint8(0, 1, 2, 3, 4, 5, 6, 7), 3),
        Case("half a byte left over", uint8(15, 0, 9), 4),
        Case("three codes of two bits", uint8(3, 0, 1), 2),
        Case("three bits, five codes", uint8(6, 5, 4, 3, 2), 3),
        Case("every 4-bit code", torch.arange(16).to(torch.uint8), 4),
        Case("every 2-bit code in every place", uint8(3, 2, 1, 0, 0, 3, 1, 2, 2, 0, 3, 1, 1, 1, 2, 3), 2),
    ],
    properties=[
        law("no bit wasted", _as_long_as_needed, "n codes are n·b bits; zeros fill up the last byte.", any_shape=True),
        law("the first code comes lowest", _first_code_lowest, "Lowest bit first: our rule, and that of GPTQ's words."),
        equals_reference(why="Bits are bits: every one has its place."),
    ],
    wrong=[
        Wrong(
            "nibbles swapped",
            lambda codes, b: _slots(codes, b, lambda per: torch.arange(per - 1, -1, -1) * b),
            "The first code of each byte sits at the top. It belongs into the lowest bits.",
        ),
        Wrong(
            "most significant bit first",
            lambda codes, b: _bytes(_bits(codes, b).flip(1).flatten(), torch.arange(7, -1, -1)),
            "You write each byte from its top bit down, as one writes numbers on paper. Fill it from the lowest bit.",
        ),
        Wrong(
            "the bits of each code reversed",
            lambda codes, b: _bytes(_bits(codes, b).flip(1).flatten()),
            "The codes are in the right places, but each is mirrored: 001 became 100. Its lowest bit comes first.",
        ),
        Wrong(
            "last byte first",
            lambda codes, b: pack(codes, b).flip(0),
            "The right bytes, in reverse order. Byte 0 holds code 0; to_bytes of a Python integer wants 'little'.",
        ),
        Wrong(
            "no code across two bytes",
            _slots,
            "You put 8 // b codes into each byte. That is right for 2 and 4 bits; of 3-bit codes it leaves 2 bits of "
            "every byte unused. Let a code begin in one byte and end in the next.",
        ),
        Wrong(
            "a byte for each code",
            lambda codes, b: codes.clone(),
            "Nothing is packed: every code still has a byte to itself.",
        ),
        Wrong(
            "first half low, second half high",
            _halves,
            "You fill the low places of all bytes first, as llama.cpp's Q4_0 does. Here neighbours share a byte.",
        ),
        Wrong(
            "the last bits dropped",
            lambda codes, b: _bytes(_bits(codes, b).flatten())[: max(1, len(codes) * b // 8)],
            "n·b // 8 rounds down. A byte that is partly filled is needed, too.",
        ),
        Wrong(
            "the part in the next byte lost",
            _border_cut,
            "Each code is put where it begins. What does not fit into that byte goes on in the next one, lowest bits "
            "first.",
        ),
        Wrong(
            "filled up at the front",
            _front_padded,
            "The unused bits come after the last code, not before the first.",
        ),
    ],
    hints=[
        "Turn every code into a row of b bits (shift by 0, 1, …, b − 1, and & 1), lay all rows end to end, cut into "
        "pieces of 8, and turn each piece into a byte.",
        "Codes 1, 2, 7 of 3 bits, lowest bit first: 100 010 111. In one row: 10001011 1. The first byte is "
        "1 + 16 + 64 + 128 = 209, the second is 1.",
        "def pack(codes, b):\n    bits = codes.long()[:, None] >> torch.arange(____) & 1\n    stream = bits.flatten()\n"
        "    stream = torch.cat([stream, torch.zeros(-len(stream) % ____, dtype=torch.long)])\n"
        "    return (stream.reshape(-1, ____) << torch.arange(____)).sum(dim=____).to(torch.uint8)",
    ],
    passed="Two, three or four bits: one rule for all. This is the order of GPTQ's 32-bit words, too.",
)
