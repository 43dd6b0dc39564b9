"""ps02.q2: what the file really holds"""

import math

from course_lib.checks import Case
from course_lib.grading import Mistake, agrees, question
from graded.ps02.draw import draw


def file_bytes(rows, cols, bits, group, scale_bits, zero_bits):
    """Bytes of a packed matrix: codes and zero points in 32-bit words row by row, scale_bits for each group's scale."""

    def word_bytes(n_bits):
        return 4 * math.ceil(n_bits / 32)

    groups = math.ceil(cols / group)
    scale_bytes = groups * scale_bits // 8
    return rows * (word_bytes(cols * bits) + scale_bytes + word_bytes(groups * zero_bits))


def _file(rows, cols, bits, group, scale_bits, zero_bits, word=32, zero_word=32, short=math.ceil, scale_unit=8):
    def stored(n, unit):
        return math.ceil(n / unit) * unit // 8

    groups = short(cols / group)
    return rows * (
        stored(cols * bits, word) + groups * scale_bits // scale_unit + stored(groups * zero_bits, zero_word)
    )


def _rounded_once(rows, cols, bits, group, scale_bits, zero_bits):
    groups = rows * math.ceil(cols / group)
    return 4 * (math.ceil(rows * cols * bits / 32) + math.ceil(groups * zero_bits / 32)) + groups * scale_bits // 8


def _groups_across_rows(rows, cols, bits, group, scale_bits, zero_bits):
    extra = math.ceil(rows * cols / group) - rows * math.ceil(cols / group)
    return file_bytes(rows, cols, bits, group, scale_bits, zero_bits) + extra * scale_bits // 8


def _one_stream(rows, cols, bits, group, scale_bits, zero_bits):
    groups = math.ceil(cols / group)
    return rows * (4 * math.ceil((cols * bits + groups * zero_bits) / 32) + groups * scale_bits // 8)


NAMES = ("rows that divide evenly", "codes fill whole words, row by row", "a short last group has its own scale",
         "zero points fill words of their own")  # fmt: skip


def _words(n_bits):
    return 4 * math.ceil(n_bits / 32)


def _other(codes=None, scales=None, zeros=None, groups=lambda cols, group: math.ceil(cols / group)):
    def count(rows, cols, bits, group, scale_bits, zero_bits):
        n = groups(cols, group)
        row = codes(cols, bits, group) if codes else _words(cols * bits)
        row += scales(n, scale_bits) if scales else n * scale_bits // 8
        return rows * (row + (zeros(n, zero_bits, cols) if zeros else _words(n * zero_bits)))

    return count


def _groups_of_the_matrix(rows, cols, bits, group, scale_bits, zero_bits):
    groups = math.ceil(rows * cols / group)
    return rows * _words(cols * bits) + groups * scale_bits // 8 + _words(groups * zero_bits)


def _whole_codes_only(n, bits, *_):
    return 4 * math.ceil(n / (32 // bits)) if bits else 0


WRONG = [
    Mistake(
        "rounded once, for the matrix",
        _rounded_once,
        "Each row starts with a new word: round up a row, then multiply by the rows.",
        loses=(NAMES[1], NAMES[3]),
    ),
    Mistake(
        "the short group forgotten",
        lambda *a: _file(*a, short=math.floor),
        "cols // group drops the last, short group; it has a scale all the same.",
        loses=NAMES[2:3],
    ),
    Mistake(
        "groups across rows",
        _groups_across_rows,
        "A group never runs on into the next row: count the groups of one row first.",
        loses=NAMES[2:3],
    ),
    Mistake(
        "bytes instead of words",
        lambda *a: _file(*a, word=8, zero_word=8),
        "A row is padded to 32 bits, not to 8: kernels read it in words.",
        loses=(NAMES[1], NAMES[3]),
    ),
    Mistake(
        "zero points unpadded",
        lambda *a: _file(*a, zero_word=8),
        "Zero points are packed into 32-bit words, too.",
        loses=NAMES[3:],
    ),
    Mistake(
        "codes and zero points in one stream",
        _one_stream,
        "Zero points are packed apart from the codes: they begin with a word of their own.",
        loses=NAMES[3:],
    ),
    Mistake(
        "zero points forgotten",
        lambda r, c, b, g, s, z: file_bytes(r, c, b, g, s, 0),
        "With zero_bits above 0 each group stores a zero point as well.",
        loses=NAMES[3:],
    ),
    Mistake(
        "bits of a scale taken for bytes",
        lambda *a: _file(*a, scale_unit=1),
        "scale_bits are bits: 16 of them are 2 bytes.",
        loses=NAMES,
    ),
    Mistake(
        "each group in words of its own",
        _other(
            codes=lambda cols, bits, group: sum(_words(min(group, cols - at) * bits) for at in range(0, cols, group))
        ),
        "Only rows begin with a new word; within a row the codes of a group follow those of the one before.",
        loses=NAMES[1:2],
    ),
    Mistake(
        "groups counted over the matrix",
        _groups_of_the_matrix,
        "Count groups and words of zero points for one row, and multiply by the rows: neither runs on into the next.",
        loses=NAMES[2:],
    ),
    Mistake(
        "scales in words",
        _other(scales=lambda n, bits: _words(n * bits)),
        "Only codes and zero points are packed into words; a scale takes its scale_bits and no more.",
        loses=NAMES[1:],
    ),
    Mistake(
        "codes padded to bytes",
        _other(codes=lambda cols, bits, group: math.ceil(cols * bits / 8)),
        "A row of codes fills whole words of 32 bits, as its zero points do.",
        loses=(NAMES[1], NAMES[3]),
    ),
    Mistake(
        "no code across two words",
        _other(codes=_whole_codes_only, zeros=_whole_codes_only),
        "The codes are packed without gaps: one may begin in a word and end in the next.",
        loses=(NAMES[1], NAMES[3]),
    ),
    Mistake(
        "a zero point for each weight",
        _other(zeros=lambda n, bits, cols: _words(cols * bits)),
        "A zero point belongs to a group, as a scale does.",
        loses=NAMES[3:],
    ),
    Mistake(
        "a word of zero points in any case",
        _other(zeros=lambda n, bits, cols: max(4, _words(n * bits))),
        "With zero_bits = 0 nothing is stored for zero points.",
        loses=NAMES[:3],
    ),
    Mistake(
        "one word more than needed",
        _other(codes=lambda cols, bits, group: 4 * (cols * bits // 32 + 1)),
        "// 32 and + 1 adds a word to a row that ends with one: round up.",
        loses=(NAMES[0], NAMES[2], NAMES[3]),
    ),
    Mistake(
        "the short group filled up",
        _other(codes=lambda cols, bits, group: _words(math.ceil(cols / group) * group * bits)),
        "A short group has its scale, but no codes for weights that are not there.",
        loses=NAMES[2:3],
    ),
    Mistake(
        "two bytes for every scale",
        _other(scales=lambda n, bits: 2 * n),
        "A scale has scale_bits bits: 8, 16 or 32.",
        loses=(NAMES[0], NAMES[3]),
    ),
    Mistake(
        "bits, not bytes",
        lambda *a: 8 * file_bytes(*a),
        "Asked for are bytes: divide the bits by 8.",
        loses=NAMES,
    ),
]


def exercise(seed):
    r, k, m = draw(seed, (3, 40), (3, 12), (2, 6))
    even = [
        Case("4 bits, g128, fp16 scales", 128 * r, 1024 * k, 4, 128, 16, 0),
        Case("8 bits, one group a row, fp32 scales", r, 256 * k, 8, 256 * k, 32, 0),
    ]
    words = [
        Case("3 bits, 100 columns", r, 100, 3, 25, 16, 0),
        Case("5 bits, few columns", 2 * r + 1, 32 * k + 1, 5, 32 * k + 1, 16, 0),
    ]
    short = [
        Case("4 bits, 4096 + 64 columns", r, 4160, 4, 128, 16, 0),
        Case("a group wider than the row", r, 64 * k, 4, 1000 * m, 16, 0),
    ]
    zeros = [
        Case("4-bit zero points, 3 groups", r, 384, 4, 128, 16, 4),
        Case("8-bit zero points, 5 groups", r, 160 * k, 8, 32 * k, 8, 8),
        Case("3-bit zero points, 11 groups", r, 11 * 32, 3, 32, 16, 3),
        Case("zero points that the last word of codes has room for", r, 100, 3, 50, 16, 3),
    ]
    return question(
        "ps02.q2",
        "What the file really holds",
        "file_bytes(rows, cols, bits, group, scale_bits, zero_bits) counts a packed matrix to the byte.",
        file_bytes,
        properties=[
            agrees(NAMES[0], even, "Codes and scales, nothing else."),
            agrees(NAMES[1], words, "A row begins in a word of its own."),
            agrees(NAMES[2], short, "Three weights and a scale are a group."),
            agrees(NAMES[3], zeros, "They are packed like codes."),
        ],
        wrong=WRONG,
    )
