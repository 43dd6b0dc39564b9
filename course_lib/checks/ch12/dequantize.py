"""ch12.dequantize: eight codes out of every word, each with its group's scale and zero point."""

import torch

from course_lib.checks import Case, equals_reference, law
from course_lib.checks.ch12.words import ALL, codes, words
from course_lib.checks.inputs import float32, normal
from course_lib.checks.kernel import kernel_exercise, poisoned

KERNEL = """
@triton.jit
def dequantize(words, scale, zero, w, k, W: tl.constexpr, GB: tl.constexpr):
    row, b = tl.program_id(0), tl.program_id(1)
    blocks = tl.num_programs(1)
    c = tl.arange(0, W)
    word = tl.load(words + (row * blocks + b) * W + c)
    group = row * tl.cdiv(blocks, GB) + b // GB
    s, z = tl.load(scale + group), tl.load(zero + group)
    for j in tl.static_range(8):
        q = (word >> (4 * j)) & 15
        column = 8 * W * b + W * j + c
        tl.store(w + row * k + column, s * (q - z), mask=column < k)
"""


def launch(kernel, words, scale, zero, k, W):
    n, blocks = len(words), words.shape[1] // W
    w = poisoned(n, k)
    kernel[(n, blocks)](words, scale, zero, w, k, W=W, GB=-(-blocks // scale.shape[1]))
    return w


def _grid(got, words, scale, zero, k, W):
    """Each weight of a row must be one of the 16 values of a group of that row."""
    if not bool(torch.isfinite(got).all()):
        return "There is a NaN in w: some weight was never stored."
    values = (scale[:, :, None] * (torch.arange(16) - zero[:, :, None])).flatten(1)
    off = (got[:, :, None] - values[:, None, :]).abs().amin(2)
    if bool((off <= 1e-5 * (1 + got.abs())).all()):
        return True
    i, j = divmod(int(off.argmax()), got.shape[1])
    return f"w[{i}, {j}] = {got[i, j]:.6g} is none of the sixteen values s·(q − z) of a group in its row."


EXERCISE = kernel_exercise(
    id="ch12.dequantize",
    title="Eight codes out of a word",
    spec="dequantize[(n, blocks)](words, scale, zero, w, k, W, GB): w[row, column] = scale·(q − zero), masked at k.",
    kind="build",
    stub='''
@triton.jit
def dequantize(words, scale, zero, w, k, W: tl.constexpr, GB: tl.constexpr):
    """w (n, k) = scale · (q − zero). Program (row, b) has block b of a row: W words, 8·W columns.

    Bits 4j … 4j + 3 of word c are the code of column 8·W·b + W·j + c. A group is GB blocks: scale, zero (n, groups).
    """
    row, b = tl.program_id(0), tl.program_id(1)
    blocks = tl.num_programs(1)
    c = tl.arange(0, W)
    word = tl.load(words + (row * blocks + b) * W + c)
    ...
''',
    kernel=KERNEL,
    launch=launch,
    cases=[
        Case("one word, codes 0 … 7", words([ALL[:8]], 1), float32([1.0]), float32([0.0]), 8, 1),
        Case("one word, codes 8 … 15", words([ALL[8:]], 1), float32([1.0]), float32([0.0]), 8, 1),
        Case("a scale and a zero", words([[3, 9, 15, 0, 8, 1, 7, 12]], 1), float32([0.5]), float32([8.0]), 8, 1),
        Case("two words, all codes", words([ALL], 2), float32([0.25]), float32([7.0]), 16, 2),
        Case("two groups", words([ALL], 1), float32([1.0, 10.0]), float32([8.0, 3.0]), 16, 1),
        Case("a row ends inside a block", words([ALL[3:13]], 1), float32([1.0]), float32([2.0]), 10, 1),
        Case("two rows that end inside a block", words([[15] * 5, [1] * 5], 1),
             float32([1], [2]), float32([0], [5]), 5, 1),
        Case("groups of two blocks", words(codes(0, 1, 32), 1), float32([1.0, 3.0]), float32([8.0, 4.0]), 32, 1),
        Case("two rows, groups of two blocks", words(codes(1, 2, 32), 1),
             normal(2, 2, 2), float32([8, 7], [6, 9]), 32, 1),
        Case("two rows, a group not full", words(codes(5, 2, 24), 1), normal(6, 2, 2), float32([8, 7], [6, 9]), 24, 1),
        Case("three rows, odd width", words(codes(3, 3, 29), 2),
             normal(4, 3, 2), float32([8, 7], [6, 9], [3, 4]), 29, 2),
    ],
    properties=[
        law("every weight lies on its row's grid", _grid, "A code has sixteen values, no more."),
        equals_reference(ulps=2, why="One difference and one product."),
    ],
    wrong=[
        (
            "nibbles from the top",
            [("4 * j", "28 - 4 * j")],
            "Nibble 0 is the lowest: bits 0 … 3. You begin with bits 28 … 31.",
        ),
        (
            "higher nibbles left in",
            [(") & 15", ")")],
            "Shifting brings nibble j down to bit 0, but the others are still above it (and a word's top bit is its "
            "sign). Keep four bits: & 15.",
        ),
        (
            "three bits kept",
            [(") & 15", ") & 7")],
            "A nibble has four bits: & 15. & 7 drops the top one, and codes from 8 on come out 8 too small.",
        ),
        (
            "every block at the beginning of the row",
            [("8 * W * b + W * j", "W * j")],
            "Block b begins at column 8·W·b. You write all blocks of a row over the first.",
        ),
        (
            "the lowest nibble eight times",
            [("word >> (4 * j)", "word")],
            "Every column gets nibble 0. Shift by 4·j first.",
        ),
        (
            "shifted by j bits",
            [("4 * j", "j")],
            "A nibble is four bits wide: shift by 4·j.",
        ),
        (
            "neighbours in one word",
            [("8 * W * b + W * j + c", "8 * W * b + 8 * c + j")],
            "That is another packing (GPTQ's). Here a word's nibbles are W columns apart: 8·W·b + W·j + c.",
        ),
        (
            "scale of the block, not of the group",
            [("+ b // GB", "+ b")],
            "A group is GB blocks long. Block b lies in group b // GB.",
        ),
        (
            "groups rounded down",
            [("tl.cdiv(blocks, GB)", "(blocks // GB)")],
            "Three blocks in groups of two are two groups: the last one need not be full. Round up: cdiv.",
        ),
        (
            "every row the first row's scale",
            [("row * tl.cdiv(blocks, GB) + b // GB", "b // GB")],
            "scale is (n, groups): skip row · groups numbers to come to this row.",
        ),
        (
            "one scale for a whole row",
            [("row * tl.cdiv(blocks, GB) + b // GB", "row")],
            "A row may have several groups, each with its own scale and zero point: row · groups + b // GB.",
        ),
        (
            "rows GB groups apart",
            [("row * tl.cdiv(blocks, GB)", "row * GB")],
            "GB counts the blocks of a group. From one row to the next it is as many scales as a row has groups: "
            "cdiv(blocks, GB).",
        ),
        (
            "groups counted through the end of a row",
            [("row * tl.cdiv(blocks, GB) + b // GB", "(row * blocks + b) // GB")],
            "A row's last group need not be full, and the next row still begins a new one. Divide b alone by GB.",
        ),
        (
            "scaled before the zero is taken off",
            [("s * (q - z)", "s * q - z")],
            "The zero point is a code: take it off before scaling. s·(q − z).",
        ),
        ("no zero", [("s * (q - z)", "s * q")], "The zero point is missing: s·(q − z)."),
        ("zero added", [("(q - z)", "(q + z)")], "The zero point is the code that means 0: subtract it."),
        (
            "code and zero exchanged",
            [("(q - z)", "(z - q)")],
            "Turned round: the zero point is taken off the code, q − z.",
        ),
        (
            "masked before the shift",
            [("(word >> (4 * j)) & 15", "(word & 15) >> (4 * j)")],
            "word & 15 keeps nibble 0 alone, and the shift moves it away. Shift first, then keep four bits.",
        ),
        (
            "rows of whole blocks",
            [("row * k + column", "row * (8 * W * blocks) + column")],
            "w is (n, k): the next row begins k numbers on, even where the last block of a row is not full.",
        ),
        (
            "codes read as signed",
            [("& 15\n", "& 15\n        q = tl.where(q > 7, q - 16, q)\n")],
            "Codes run from 0 to 15 here. Their sign is made by the zero point alone.",
        ),
        (
            "no mask at the end of a row",
            [(", mask=column < k", "")],
            "Columns from k on belong to the next row, and behind the last row to nobody. Mask the store: column < k, "
            "and k itself is outside.",
        ),
        (
            "codes stored",
            [("s * (q - z)", "q * 1.0")],
            "Those are the codes. A weight is s·(q − z), with the scale and the zero point of its group.",
        ),
        (
            "nothing stored",
            [("tl.store(w + row * k + column, s * (q - z), mask=column < k)", "s * (q - z)")],
            "w is as it was allocated, full of NaN. A kernel gives its result with tl.store.",
        ),
    ],
    hints=[
        "Load the scale and the zero of this block's group. Then, for each j in tl.static_range(8), make a tile of W "
        "codes, the W columns that they belong to, and store W weights.",
        "W = 1, word 0x76543210: j = 0 gives 0 for column 0, j = 1 gives (word >> 4) & 15 = 1 for column 1. W = 2: "
        "nibble 1 of words 0 and 1 are columns 2 and 3.",
        "    group = row * tl.cdiv(blocks, GB) + ____\n    s, z = tl.load(scale + group), tl.load(zero + ____)\n"
        "    for j in tl.static_range(8):\n        q = (word >> ____) & ____\n        column = 8 * W * b + ____ + c\n"
        "        tl.store(w + row * k + column, ____, mask=____)",
    ],
    passed="Shift, mask, subtract, scale: four steps for each weight. The rest of the chapter makes them fewer.",
)  # fmt: skip
