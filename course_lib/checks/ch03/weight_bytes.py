"""ch03.weight_bytes: the bytes of packed codes with a scale and a zero point per group."""

import math

from course_lib.checks import Case, Exercise, Wrong, equals_reference, relation


def weight_bytes(params, bits, group, scale_bits=16, zero_bits=0):
    groups = math.ceil(params / group)
    codes = math.ceil(params * bits / 8)
    return codes + math.ceil(groups * (scale_bits + zero_bits) / 8)


def _codes(params, bits):
    return math.ceil(params * bits / 8)


def _twice_the_weights(run, params, bits, group, scale_bits=16, zero_bits=0):
    one, two = (run(n * group, bits, group, scale_bits, zero_bits) for n in (64, 128))
    return two == 2 * one or f"{64 * group:,} weights cost you {one:,} bytes, and twice as many {two:,}."


def _half_the_group(run, params, bits, group, scale_bits=16, zero_bits=0):
    whole = 64 * group  # every group full, and whole bytes for its scales
    coarse, fine = (run(whole, bits, g, scale_bits, zero_bits) - _codes(whole, bits) for g in (2 * group, group))
    told = f"For {whole:,} weights, groups of {2 * group} cost you {coarse:,} bytes and groups of {group} {fine:,}."
    return fine == 2 * coarse or told


EXERCISE = Exercise(
    id="ch03.weight_bytes",
    title="Every byte on the bill",
    spec="weight_bytes(params, bits, group, …) is the bytes of packed codes plus a scale and a zero point per group.",
    kind="build",
    stub='''
def weight_bytes(params, bits, group, scale_bits=16, zero_bits=0):
    """Bytes of `params` codes of `bits` bits, with a scale and a zero point for each `group` of them."""
    ...
''',
    reference=weight_bytes,
    piece="weight_bytes",
    cases=[
        Case("two groups by hand", 256, 4, 128),
        Case("two groups with zero points", 256, 4, 128, 16, 4),
        Case("the last group is not full", 300, 4, 128, 16, 4),
        Case("the last byte is not full", 5, 3, 5),
        Case("one bit in the last byte", 3, 3, 3),
        Case("a scale of 32 bits", 512, 8, 64, 32),
        Case("three bits, zero points of three bits", 1024, 3, 64, 16, 3),
        Case("one matrix of 4096 × 4096", 4096 * 4096, 4, 32, 16, 4),
        Case("70 billion weights", 70_000_000_000, 4, 128),
    ],
    properties=[
        relation("twice the weights, twice the bytes", _twice_the_weights, "Codes and groups grow with the weights."),
        relation("half the group, twice the scales", _half_the_group, "Twice as many groups, twice as many scales."),
        equals_reference(why="Bytes are counted, not estimated: a file of these weights has exactly so many."),
    ],
    wrong=[
        Wrong(
            "the codes only",
            lambda params, bits, group, scale_bits=16, zero_bits=0: _codes(params, bits),
            "Without its scale a code means nothing. Every group stores one, and a zero point where there is one.",
        ),
        Wrong(
            "zero points forgotten",
            lambda params, bits, group, scale_bits=16, zero_bits=0: (
                _codes(params, bits) + math.ceil(math.ceil(params / group) * scale_bits / 8)
            ),
            "An asymmetric group stores a zero point of zero_bits beside its scale.",
        ),
        Wrong(
            "bits, not bytes",
            lambda params, bits, group, scale_bits=16, zero_bits=0: (
                params * bits + math.ceil(params / group) * (scale_bits + zero_bits)
            ),
            "That is the right number of bits. Eight of them make a byte.",
        ),
        Wrong(
            "scale bits counted as bytes",
            lambda params, bits, group, scale_bits=16, zero_bits=0: (
                _codes(params, bits) + math.ceil(params / group) * (scale_bits + zero_bits)
            ),
            "The codes are in bytes, the scales still in bits: divide those by 8, too.",
        ),
        Wrong(
            "code bits counted as bytes",
            lambda params, bits, group, scale_bits=16, zero_bits=0: math.ceil(
                params * bits + math.ceil(params / group) * (scale_bits + zero_bits) / 8
            ),
            "The scales are in bytes, the codes still in bits: divide those by 8, too.",
        ),
        Wrong(
            "one scale for all",
            lambda params, bits, group, scale_bits=16, zero_bits=0: (
                _codes(params, bits) + math.ceil((scale_bits + zero_bits) / 8)
            ),
            "There are params / group groups, and each stores its own scale.",
        ),
        Wrong(
            "a scale for every weight of a group",
            lambda params, bits, group, scale_bits=16, zero_bits=0: (
                _codes(params, bits) + math.ceil(params * (scale_bits + zero_bits) / 8)
            ),
            "A group shares one scale: divide the number of weights by group to get the number of scales.",
        ),
        Wrong(
            "the last group dropped",
            lambda params, bits, group, scale_bits=16, zero_bits=0: (
                _codes(params, bits) + math.ceil(params // group * (scale_bits + zero_bits) / 8)
            ),
            "// rounds down: a last group that is not full needs a scale as well. Round up, with math.ceil.",
        ),
        Wrong(
            "the last group filled up",
            lambda params, bits, group, scale_bits=16, zero_bits=0: (
                _codes(math.ceil(params / group) * group, bits)
                + math.ceil(math.ceil(params / group) * (scale_bits + zero_bits) / 8)
            ),
            "You count codes for a full last group. Only its scale is whole: 300 weights have 300 codes.",
        ),
        Wrong(
            "part of a scale for part of a group",
            lambda params, bits, group, scale_bits=16, zero_bits=0: math.ceil(
                params * bits / 8 + params / group * (scale_bits + zero_bits) / 8
            ),
            "300 weights in groups of 128 are 3 groups, not 2.34: a group that is not full needs a whole scale.",
        ),
        Wrong(
            "every group rounded up to bytes",
            lambda params, bits, group, scale_bits=16, zero_bits=0: (
                _codes(params, bits) + math.ceil(params / group) * math.ceil((scale_bits + zero_bits) / 8)
            ),
            "Zero points are packed as codes are: two of 4 bits share a byte. Add up their bits, then round up once.",
        ),
        Wrong(
            "always scales of 16 bits",
            lambda params, bits, group, scale_bits=16, zero_bits=0: (
                _codes(params, bits) + math.ceil(math.ceil(params / group) * (16 + zero_bits) / 8)
            ),
            "Scales may have another width than 16 bits: use scale_bits.",
        ),
        Wrong(
            "groups and bytes rounded down",
            lambda params, bits, group, scale_bits=16, zero_bits=0: (
                params * bits // 8 + params // group * (scale_bits + zero_bits) // 8
            ),
            "// and int() round down, and what they drop has to be stored, too: math.ceil, for groups and for bytes.",
        ),
        Wrong(
            "rounded down to whole bytes",
            lambda params, bits, group, scale_bits=16, zero_bits=0: (
                params * bits // 8 + math.ceil(params / group) * (scale_bits + zero_bits) // 8
            ),
            "15 bits do not fit into one byte. Round up: a byte that is partly used is stored whole.",
        ),
        Wrong(
            "rounded to the nearest byte",
            lambda params, bits, group, scale_bits=16, zero_bits=0: round(
                (params * bits + math.ceil(params / group) * (scale_bits + zero_bits)) / 8
            ),
            "round() drops a last byte that holds fewer than half of its bits. They have to be stored: math.ceil.",
        ),
        Wrong(
            "a byte for every code",
            lambda params, bits, group, scale_bits=16, zero_bits=0: (
                params + math.ceil(math.ceil(params / group) * (scale_bits + zero_bits) / 8)
            ),
            "Codes are packed: two of 4 bits share a byte. Unpacked, a 4-bit model is as large as an 8-bit one.",
        ),
        Wrong(
            "nothing rounded up",
            lambda params, bits, group, scale_bits=16, zero_bits=0: (
                params * bits / 8 + params / group * (scale_bits + zero_bits) / 8
            ),
            "A group that is not full needs a whole scale, and a file has no half bytes: math.ceil in both places.",
        ),
        Wrong(
            "the sum not rounded up",
            lambda params, bits, group, scale_bits=16, zero_bits=0: (
                (params * bits + math.ceil(params / group) * (scale_bits + zero_bits)) / 8
            ),
            "There is no half byte in a file. Round the codes up with math.ceil, and the metadata, too.",
        ),
    ],
    hints=[
        "Two lines on the bill: the codes, and a scale and a zero point per group. Count bits, then whole bytes.",
        "300 weights of 4 bits in groups of 128, scales of 16 bits, zero points of 4: codes 300 · 4 / 8 = 150 bytes. "
        "Three groups, the last not full: 3 · 20 bits = 60 bits = 7.5 bytes, so 8. Together 158.",
        "def weight_bytes(params, bits, group, scale_bits=16, zero_bits=0):\n    groups = math.ceil(____ / ____)\n"
        "    codes = math.ceil(____ / 8)\n    return codes + math.ceil(groups * (____ + ____) / 8)",
    ],
    passed="This is the whole bill of a packed tensor. Chapter 04 asks what a smaller group buys for its bytes.",
)
