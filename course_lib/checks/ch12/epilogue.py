"""ch12.epilogue: whole-number sums become numbers again, zero points included."""

import torch

from course_lib.checks import Case, equals_reference
from course_lib.checks.inputs import float32
from course_lib.checks.kernel import kernel_exercise, poisoned

KERNEL = """
@triton.jit
def epilogue(acc, sx, sw, zw, total, y, m, n, BM: tl.constexpr, BN: tl.constexpr):
    tokens = tl.program_id(0) * BM + tl.arange(0, BM)
    channels = tl.program_id(1) * BN + tl.arange(0, BN)
    inside = (tokens < m)[:, None] & (channels < n)[None, :]
    at = tokens[:, None] * n + channels[None, :]
    a = tl.load(acc + at, mask=inside, other=0)
    t = tl.load(total + tokens, mask=tokens < m, other=0)
    z = tl.load(zw + channels, mask=channels < n, other=0)
    u = tl.load(sx + tokens, mask=tokens < m, other=0.0)
    v = tl.load(sw + channels, mask=channels < n, other=0.0)
    whole = a - z[None, :] * t[:, None]
    tl.store(y + at, whole.to(tl.float32) * u[:, None] * v[None, :], mask=inside)
"""


def launch(kernel, acc, sx, sw, zw, total):
    (m, n), BM, BN = acc.shape, 2, 2
    y = poisoned(m, n)
    kernel[(-(-m // BM), -(-n // BN))](acc, sx, sw, zw, total, y, m, n, BM=BM, BN=BN)
    return y


def _i(*rows):
    return torch.tensor(rows, dtype=torch.int32)


def _random(seed, m, n):
    g = torch.Generator().manual_seed(seed)
    acc = torch.randint(-(2**22), 2**22, (m, n), generator=g, dtype=torch.int32)
    zero, total = (torch.randint(-100, 100, (c,), generator=g, dtype=torch.int32) for c in (n, m))
    return acc, torch.rand(m, generator=g), torch.rand(n, generator=g), zero, total


EXERCISE = kernel_exercise(
    id="ch12.epilogue",
    title="The end of an INT8 product",
    spec="epilogue: y[i, j] = sx[i]·sw[j]·(acc[i, j] − zw[j]·total[i]); tiles of BM × BN, the difference in int32.",
    kind="build",
    stub='''
@triton.jit
def epilogue(acc, sx, sw, zw, total, y, m, n, BM: tl.constexpr, BN: tl.constexpr):
    """y (m, n) = sx · sw · (acc − zw · total) in float32, on the grid (cdiv(m, BM), cdiv(n, BN)).

    acc (m, n) int32: Σ qx·qw. A token i has the scale sx[i] and total[i] = Σ qx; a channel j has sw[j] and the zero
    point zw[j] of its weights. The difference is a whole number: take it in int32, where it is exact.
    """
    tokens = tl.program_id(0) * BM + tl.arange(0, BM)
    channels = tl.program_id(1) * BN + tl.arange(0, BN)
    inside = (tokens < m)[:, None] & (channels < n)[None, :]
    at = tokens[:, None] * n + channels[None, :]
    ...
''',
    kernel=KERNEL,
    launch=launch,
    cases=[
        Case("one token, one channel", _i([10]), float32(0.5), float32(0.1), _i(2), _i(3)),
        Case("one token, two channels", _i([10, 20]), float32(0.5), float32(0.1, 1.0), _i(0, -1), _i(4)),
        Case("two tokens, one channel", _i([10], [20]), float32(0.5, 2.0), float32(0.1), _i(3), _i(1, -4)),
        Case("two by two", _i([10, 20], [30, 40]), float32(1.0, 10.0), float32(0.5, 0.25), _i(1, 2), _i(3, 5)),
        Case("large sums", _i([2**25 + 3]), float32(1.0), float32(1.0), _i(1), _i(2**25)),
        Case("three by three", *_random(0, 3, 3)),
        Case("three tokens, five channels", *_random(1, 3, 5)),
        Case("five tokens, two channels", *_random(2, 5, 2)),
    ],
    properties=[equals_reference(ulps=3, why="One rounding to float32 and two products.")],
    wrong=[
        (
            "scales swapped",
            [("sx + tokens, mask=tokens < m", "sx + channels, mask=channels < m"),
             ("sw + channels, mask=channels < n", "sw + tokens, mask=tokens < n"),
             ("u[:, None] * v[None, :]", "u[None, :] * v[:, None]")],
            "sx is one scale a token (a row of the tile, [:, None]), sw one a channel (a column, [None, :]).",
        ),
        (
            "scales spread the wrong way",
            [("u[:, None] * v[None, :]", "u[None, :] * v[:, None]")],
            "A token's scale belongs to a row of the tile, [:, None]; a channel's to a column, [None, :].",
        ),
        (
            "zero points spread the wrong way",
            [("z[None, :] * t[:, None]", "z[:, None] * t[None, :]")],
            "zw has one number a channel, a column of the tile: [None, :]. total has one a token: [:, None].",
        ),
        (
            "a sum for each channel",
            [("total + tokens, mask=tokens < m", "total + channels, mask=channels < n")],
            "total has one number a token, Σ qx: load it where the tokens are.",
        ),
        (
            "a sum over acc",
            [("t = tl.load(total + tokens, mask=tokens < m, other=0)", "t = tl.sum(a, axis=1)")],
            "Σ qx adds up the token's codes. acc holds products with weights already: load total.",
        ),
        (
            "nothing stored",
            [("tl.store(y + at, whole.to(tl.float32) * u[:, None] * v[None, :], mask=inside)", "whole + 0")],
            "y is as it came, full of NaN. tl.store(y + at, …, mask=inside) gives the result.",
        ),
        (
            "sums stored as they are",
            [("whole.to(tl.float32) * u[:, None] * v[None, :]", "a.to(tl.float32)")],
            "Those are the whole-number sums. Take zw·total off, and multiply by both scales.",
        ),
        ("no zero point", [("a - z[None, :] * t[:, None]", "a")], "The zero point's share is missing: − zw·total."),
        (
            "zero point added",
            [("a - z[None, :]", "a + z[None, :]")],
            "Σ qx·(qw − z) = Σ qx·qw − z·Σ qx: it is subtracted.",
        ),
        (
            "the zero point without the token's sum",
            [("z[None, :] * t[:, None]", "z[None, :]")],
            "z is taken off every one of the token's codes: z · Σ qx, not z once.",
        ),
        (
            "corrected after scaling",
            [("whole.to(tl.float32) * u[:, None] * v[None, :]",
              "a.to(tl.float32) * u[:, None] * v[None, :] - (z[None, :] * t[:, None]).to(tl.float32)")],
            "acc and zw·total are both in steps of sx·sw. Take the difference first, then scale it.",
        ),
        (
            "difference in float32",
            [("a - z[None, :] * t[:, None]", "a.to(tl.float32) - (z[None, :] * t[:, None]).to(tl.float32)"),
             ("whole.to(tl.float32)", "whole")],
            "Above 2^24 a float32 no longer holds every whole number. Subtract in int32, then convert.",
        ),
        (
            "difference in float16",
            [("whole.to(tl.float32)", "whole.to(tl.float16).to(tl.float32)")],
            "float16 keeps 11 bits and ends at 65504. Convert the sum to float32.",
        ),
        ("the token's scale only", [(" * v[None, :]", "")], "Each channel has a scale, too: · sw."),
        ("the channel's scale only", [(" * u[:, None]", "")], "Each token has a scale, too: · sx."),
        (
            "rows m apart",
            [("tokens[:, None] * n + channels", "tokens[:, None] * m + channels")],
            "acc and y are (m, n): from one token to the next it is n numbers.",
        ),
        (
            "no mask at the edges",
            [(", mask=inside, other=0)", ")"), (", mask=inside)", ")")],
            "The last tiles reach beyond m and n. Every load has a mask, and the store: `inside` for acc and y, "
            "tokens < m or channels < n for the others.",
        ),
    ],
    hints=[
        "Load a tile of acc, a column of total and sx, a row of zw and sw, each with its mask. [:, None] makes a "
        "column of a tile, [None, :] a row.",
        "acc 10, zero 2, total 3: 10 − 2·3 = 4. Scales 0.5 and 0.1: y = 4 · 0.05 = 0.2.",
        "    a = tl.load(acc + at, mask=inside, other=0)\n    t = tl.load(total + ____, mask=tokens < m, other=0)\n"
        "    z = tl.load(zw + ____, mask=channels < n, other=0)\n"
        "    u = tl.load(sx + ____, mask=tokens < m, other=0.0)\n"
        "    v = tl.load(sw + ____, mask=channels < n, other=0.0)\n    whole = a - z[____] * t[____]\n"
        "    tl.store(y + at, whole.to(tl.float32) * u[____] * v[____], mask=____)",
    ],
    passed="This is how a W8A8 kernel of any library ends. The zero point cost one product a tile, not one a weight.",
)  # fmt: skip
