"""ch12.gemv: one token through a 4-bit weight matrix."""

import torch

from course_lib.checks import Case, equals_reference, law
from course_lib.checks.ch12.words import ALL, codes, words
from course_lib.checks.inputs import normal
from course_lib.checks.kernel import kernel_exercise, poisoned

KERNEL = """
@triton.jit
def gemv(x, words, scale, y, n, k, W: tl.constexpr, GB: tl.constexpr, BN: tl.constexpr):
    rows = tl.program_id(0) * BN + tl.arange(0, BN)
    blocks = tl.cdiv(k, 8 * W)
    groups = tl.cdiv(blocks, GB)
    c = tl.arange(0, W)
    acc = tl.zeros((BN, W), tl.float32)
    for b in range(0, blocks):
        at = rows[:, None] * (blocks * W) + b * W + c[None, :]
        word = tl.load(words + at, mask=(rows < n)[:, None], other=0)
        s = tl.load(scale + rows * groups + b // GB, mask=rows < n, other=0.0).to(tl.float32)
        for j in tl.static_range(8):
            column = 8 * W * b + W * j + c
            v = tl.load(x + column, mask=column < k, other=0.0).to(tl.float32)
            q = ((word >> (4 * j)) & 15) - 8
            acc += s[:, None] * q * v[None, :]
    tl.store(y + rows, tl.sum(acc, axis=1), mask=rows < n)
"""


def launch(kernel, x, words, scale, W, BN):
    n, k, blocks = len(words), len(x), words.shape[1] // W
    y = poisoned(n)
    kernel[(-(-n // BN),)](x, words, scale, y, n, k, W=W, GB=-(-blocks // scale.shape[1]), BN=BN)
    return y


def _h(*numbers):
    return torch.tensor(numbers, dtype=torch.float16)


def _s(*rows):
    return torch.tensor(rows, dtype=torch.float16)


EXERCISE = kernel_exercise(
    id="ch12.gemv",
    title="One token through a 4-bit matrix",
    spec="gemv[(cdiv(n, BN),)](x, words, scale, y, n, k, W, GB, BN): y[r] = Σ scale·(q − 8)·x, in float32.",
    kind="build",
    stub='''
@triton.jit
def gemv(x, words, scale, y, n, k, W: tl.constexpr, GB: tl.constexpr, BN: tl.constexpr):
    """y (n,) = Σ scale · (q − 8) · x (k,), summed in float32; BN rows a program, packed as in ch12.dequantize."""
    rows = tl.program_id(0) * BN + tl.arange(0, BN)
    blocks = tl.cdiv(k, 8 * W)
    groups = tl.cdiv(blocks, GB)
    c = tl.arange(0, W)
    acc = tl.zeros((BN, W), tl.float32)
    for b in range(0, blocks):
        at = rows[:, None] * (blocks * W) + b * W + c[None, :]
        ...
    tl.store(y + rows, tl.sum(acc, axis=1), mask=rows < n)
''',
    kernel=KERNEL,
    launch=launch,
    piece="gemv",
    cases=[
        Case("one word, x is one everywhere", _h(*[1] * 8), words([ALL[:8]], 1), _s([1.0]), 1, 1),
        Case("one word, codes from 8", _h(1, 0, 0, 0, 0, 0, 0, 100), words([ALL[8:]], 1), _s([0.5]), 1, 1),
        Case("two words", _h(*range(16)), words([ALL], 2), _s([1.0]), 2, 1),
        Case("two groups", _h(*range(16)), words([ALL], 1), _s([1.0, 0.25]), 1, 1),
        Case("x ends inside a block", _h(1, 2, 3), words([[15, 0, 9]], 1), _s([1.0]), 1, 1),
        Case("other codes behind the end", _h(1, 2, 3), words([[15, 0, 9, *[15] * 5]], 1), _s([1.0]), 1, 1),
        Case("x ends in the second block", _h(*[1] * 10), words([ALL[6:]], 1), _s([1.0]), 1, 1),
        Case("large sums", _h(*[9000] * 8), words([[15] * 8], 1), _s([1.0]), 1, 1),
        Case("small after large", _h(4096, 1, 1, 1, 1, 1, 1, 1), words([[15] + [9] * 7], 1), _s([1.0]), 1, 1),
        Case("three rows, two at a time", _h(1, 1, 1), words([[15] * 3, [1] * 3, [9] * 3], 1), _s([1], [1], [4]), 1, 2),
        Case("two rows, a group of two blocks", _h(*[1] * 16), words(codes(4, 2, 16), 1), _s([1.0], [0.5]), 1, 2),
        Case("groups of two blocks", _h(*range(32)), words(codes(5, 1, 32), 1), _s([1.0, 0.25]), 1, 1),
        Case("five rows, two groups of two blocks", normal(6, 64).half(), words(codes(7, 5, 64), 2),
             normal(8, 5, 2).abs().half() / 8, 2, 4),
        Case("seven rows, odd width", normal(9, 45).half(), words(codes(10, 7, 45), 2),
             normal(11, 7, 3).abs().half() / 8, 2, 4),
    ],
    properties=[
        equals_reference(atol=2e-3, rtol=1e-5, why="Sums in float32, in any order, of products that are exact in it."),
        law(
            "every row is written",
            lambda got, x, words, scale, W, BN: bool(torch.isfinite(got).all())
            or "There is a NaN or an infinity in y: a row was not written, or a lane read nothing.",
            "y came full of NaN.",
        ),
    ],
    wrong=[
        (
            "x is read beyond its end",
            [("v = tl.load(x + column, mask=column < k, other=0.0)", "v = tl.load(x + column)")],
            "The last block may be longer than x: the load of x needs mask=column < k, other=0.0.",
        ),
        (
            "no value for masked lanes of x",
            [("mask=column < k, other=0.0", "mask=column < k")],
            "A masked lane without other may hold anything; here it is NaN. Give x other=0.0: then the code does not "
            "matter.",
        ),
        (
            "a one for each masked lane of x",
            [("mask=column < k, other=0.0", "mask=column < k, other=1.0")],
            "What lies behind the end of a row is no weight, whatever its code says. Give x other=0.0 there.",
        ),
        (
            "rows beyond the matrix are read",
            [("mask=rows < n, other=0.0)", "other=None)")],
            "The last program may have rows that the matrix has not: words and scales need mask=rows < n, other=0.",
        ),
        (
            "no mask at all",
            [
                ("v = tl.load(x + column, mask=column < k, other=0.0)", "v = tl.load(x + column)"),
                (", mask=(rows < n)[:, None], other=0)", ")"),
                (", mask=rows < n, other=0.0)", ")"),
            ],
            "Three loads, three masks: columns of x end at k, rows of words and scales at n. Masked lanes count as 0.",
        ),
        (
            "blocks W columns apart",
            [("8 * W * b + W * j", "W * b + W * j")],
            "A block is 8·W columns long: block b begins at column 8·W·b.",
        ),
        (
            "the last block is left out",
            [("range(0, blocks)", "range(0, k // (8 * W))")],
            "k // (8·W) counts whole blocks only. The columns behind them are missing: cdiv, and a mask.",
        ),
        (
            "wrong nibble",
            [("4 * j", "28 - 4 * j")],
            "Nibble 0 is the lowest: bits 0 … 3. You begin with bits 28 … 31.",
        ),
        (
            "higher nibbles left in",
            [("& 15) - 8", "& -1) - 8")],
            "Keep four bits after the shift: & 15. The top bit of a word is its sign.",
        ),
        (
            "neighbours in one word",
            [("W * j + c\n", "8 * c + j\n")],
            "Nibble j of word c meets x[8·W·b + W·j + c], not x[8·W·b + 8·c + j].",
        ),
        (
            "scale of the block, not of the group",
            [("+ b // GB", "+ b")],
            "A group is GB blocks long: block b takes scale b // GB of its row.",
        ),
        (
            "the first group's scale for all",
            [("rows * groups + b // GB", "rows * groups")],
            "Every group of a row has a scale of its own: + b // GB.",
        ),
        (
            "one scale for a whole row",
            [("rows * groups + b // GB", "rows")],
            "A row may have several groups, each with its own scale: rows · groups + b // GB.",
        ),
        (
            "as many scales as blocks",
            [("rows * groups + b // GB", "rows * blocks + b // GB")],
            "scale is (n, groups): from one row to the next it is `groups` numbers, not `blocks`.",
        ),
        (
            "scales spread along the row",
            [("s[:, None] * q", "s[None, :] * q")],
            "A scale belongs to a row of the tile: s[:, None]. s[None, :] would be one a column.",
        ),
        ("no scale", [("s[:, None] * q", "q")], "The scale is loaded and not used: acc += scale · q · x."),
        (
            "every block reads the first columns",
            [("8 * W * b + W * j", "W * j")],
            "Block b begins at column 8·W·b. You give every block the beginning of x.",
        ),
        (
            "codes read as signed",
            [("((word >> (4 * j)) & 15) - 8", "((((word >> (4 * j)) & 15) ^ 8) - 8)")],
            "As two's complement the codes from 8 on would be negative. Here 8 is zero: q − 8 for all of them.",
        ),
        ("no 8 taken off", [(" & 15) - 8", " & 15)")], "Codes run from 0 to 15 and 8 means zero: q − 8."),
        (
            "summed in float16",
            [("tl.zeros((BN, W), tl.float32)", "tl.zeros((BN, W), tl.float16)"),
             ("acc += s[:, None] * q * v[None, :]", "acc = (acc + s[:, None] * q * v[None, :]).to(tl.float16)")],
            "float16 ends at 65504 and keeps 11 bits: sums overflow, and small products vanish beside large ones. "
            "Take x and scale to float32, and add there.",
        ),
        (
            "product in float16",
            [("other=0.0).to(tl.float32)\n        for", "other=0.0)\n        for"),
             ("mask=column < k, other=0.0).to(tl.float32)", "mask=column < k, other=0.0)"),
             ("q = ((word >> (4 * j)) & 15) - 8", "q = (((word >> (4 * j)) & 15) - 8).to(tl.float16)")],
            "The sum is float32, the product s·q·x is still rounded to float16 (and overflows at 65504). Take x and s "
            "to float32 first.",
        ),
        (
            "the scale multiplied again and again",
            [("acc += s[:, None] * q * v[None, :]", "acc = (acc + q * v[None, :]) * s[:, None]")],
            "A scale belongs to its own group's sum. Here the whole sum so far is multiplied each time.",
        ),
        (
            "the last block only",
            [("acc += s[:, None]", "acc = s[:, None]")],
            "Each turn replaces the sum. It has to be added.",
        ),
    ],
    hints=[
        "In each block: load BN × W words and BN scales. Then for each j a tile of x with W numbers, and "
        "BN × W codes; their product, times the scale, goes into acc.",
        "Word 0x76543210, x all 1, scale 1: codes less 8 are −8 … −1, so y = −36. rows past n and columns past k read "
        "0.",
        "        word = tl.load(words + at, mask=____, other=0)\n"
        "        s = tl.load(scale + rows * groups + ____, mask=rows < n, other=0.0).to(tl.float32)\n"
        "        for j in tl.static_range(8):\n            column = ____\n"
        "            v = tl.load(x + column, mask=____, other=____).to(tl.float32)\n"
        "            q = ((word >> ____) & 15) - ____\n            acc += s[:, None] * q * v[None, :]",
    ],
    passed="That is version 1 of the library. It is correct, and it is slow; the next sections say why, in numbers.",
)  # fmt: skip
