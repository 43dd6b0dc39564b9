"""ch12.row_sum: a kernel that is right at 4,096 columns and wrong at 4,095."""

from course_lib.checks import Case, equals_reference
from course_lib.checks.inputs import float32, normal
from course_lib.checks.kernel import kernel_exercise, poisoned

LOAD = "tl.load(x + row * k + column, mask=column < k, other=0.0)"
KERNEL = f"""
@triton.jit
def row_sum(x, y, k, B: tl.constexpr):
    row = tl.program_id(0)
    total = 0.0
    for start in range(0, k, B):
        column = start + tl.arange(0, B)
        total += tl.sum({LOAD}, axis=0)
    tl.store(y + row, total)
"""
MASK = "mask=column < k, other=0.0"


def launch(kernel, x, B):
    y = poisoned(len(x))
    kernel[(len(x),)](x, y, x.shape[1], B=B)
    return y


EXERCISE = kernel_exercise(
    id="ch12.row_sum",
    title="The mask",
    spec="row_sum[(rows,)](x, y, k, B=B): y[r] is the sum of row r of x (rows, k), for any k.",
    kind="repair",
    stub='''
@triton.jit
def row_sum(x, y, k, B: tl.constexpr):
    """y[r] = sum of row r of x (rows, k), B columns at a time; one program a row: row_sum[(rows,)](x, y, k, B=B)."""
    row = tl.program_id(0)
    total = 0.0
    for start in range(0, k, B):
        column = start + tl.arange(0, B)
        total += tl.sum(tl.load(x + row * k + column), axis=0)
    tl.store(y + row, total)
''',
    kernel=KERNEL,
    launch=launch,
    cases=[
        Case("two tiles fill the row", float32([1, 2, 3, 4], [5, 6, 7, 8]), 2),
        Case("one column, a tile of two", float32([3.0]), 2),
        Case("three columns, tiles of two", float32([1, 2, 3]), 2),
        Case("three columns, a tile of four", float32([1, 2, 3], [4, 5, 6]), 4),
        Case("five columns, tiles of four", float32([1, 2, 3, 4, 5], [-6, 7, 8, 9, 10]), 4),
        Case("large numbers", float32([60000.0, 60000.0, 1.0]), 2),
        Case("33 columns, tiles of 16", normal(0, 4, 33), 16),
        Case("64 columns, tiles of 16", normal(1, 3, 64), 16),
    ],
    properties=[equals_reference(atol=1e-4, rtol=1e-6, why="A sum in float32, in any order.")],
    wrong=[
        (
            "a lane beyond the row reads",
            [(f", {MASK}", "")],
            "Lanes with column ≥ k still read: the next row's numbers, and behind the last row whatever lies there. "
            "Give tl.load a mask: column < k (k itself is outside).",
        ),
        (
            "no value for masked lanes",
            [(", other=0.0", "")],
            "A masked lane that is given no value may hold anything (here NaN, so that you notice). A sum needs "
            "other=0.0.",
        ),
        (
            "nothing stored",
            [("    tl.store(y + row, total)\n", "")],
            "y is as it came: full of NaN, since nobody has written it. tl.store puts the total into y[row].",
        ),
        (
            "a one for each masked lane",
            [("other=0.0", "other=1.0")],
            "Masked lanes are counted as 1. What may be added without changing a sum?",
        ),
        (
            "the tail is left out",
            [("range(0, k, B)", "range(0, k // B * B, B)"), (f", {MASK}", "")],
            "Whole tiles only: the last k % B columns are missing. Keep the loop, and mask its last tile.",
        ),
        (
            "every tile the first",
            [("start + tl.arange", "tl.arange")],
            "The lanes of a tile are columns start, start + 1, …: without start each tile reads the first one again.",
        ),
        (
            "the first tile only",
            [("column < k", "column < B")],
            "column < B holds in the first tile only. The row ends at k.",
        ),
        (
            "the last tile only",
            [("total += ", "total = ")],
            "Each tile replaces the total. It has to be added.",
        ),
        (
            "masked by the address",
            [("mask=column < k", "mask=row * k + column < k")],
            "row · k + column is the place in all of x: only row 0 lies below k. Compare the column with k.",
        ),
        (
            "masked by the number of the lane",
            [("mask=column < k", "mask=tl.arange(0, B) < k")],
            "The number of a lane in its tile is not its column: in the second tile lane 0 is column B.",
        ),
        (
            "masked by the number in the tile",
            [("column < k", "tl.arange(0, B) < k % B")],
            "The number of a lane in its tile is not its column. Compare start + arange with k.",
        ),
        (
            "summed in float16",
            [("row * k + column, mask=column < k, other=0.0)", "row * k + column, mask=column < k, other=0.0)"
                                                                ".to(tl.float16)")],
            "float16 ends at 65504 and keeps 11 bits. Sum in float32.",
        ),
    ],
    hints=[
        "How many lanes has the last tile, and how many of them have a column of this row?",
        "Row of 5, B = 4: the second tile has columns 4, 5, 6, 7. Only 4 is inside; the other three must read nothing "
        "and count as 0.",
        "        total += tl.sum(tl.load(x + row * k + column, mask=____, other=____), axis=0)",
    ],
    passed="Two arguments. Every load and every store of this chapter has them, or can say why not.",
)  # fmt: skip
