"""ps09.q2: a GEMV straight from an AWQ checkpoint"""

import functools

import torch
import triton
import triton.language as tl

from course_lib.checks import Case
from course_lib.checks.compare import Tolerance
from course_lib.grading import Mistake, agrees, question
from course_lib.kernels import interpreter  # noqa: F401  mends the interpreter
from graded.ps09.remember import remembered


@triton.jit
def awq_kernel(x, words, zeros, scales, y, n, k, group, BK: tl.constexpr, BN: tl.constexpr):
    """One program BN columns of the weight, that is BN outputs."""
    column = tl.program_id(0) * BN + tl.arange(0, BN)[None, :]
    shift = 4 * (column % 8 // 2 + 4 * (column % 2))
    total = tl.zeros((BK, BN), tl.float32)
    for at in range(0, k, BK):
        row = at + tl.arange(0, BK)[:, None]
        inside = (row < k) & (column < n)
        word = tl.load(words + row * (n // 8) + column // 8, mask=inside, other=0)
        zero = tl.load(zeros + row // group * (n // 8) + column // 8, mask=inside, other=0)
        s = tl.load(scales + row // group * n + column, mask=inside, other=0.0).to(tl.float32)
        v = tl.load(x + row, mask=row < k, other=0.0).to(tl.float32)
        total += v * s * ((word >> shift & 15) - (zero >> shift & 15)).to(tl.float32)
    out = tl.program_id(0) * BN + tl.arange(0, BN)
    tl.store(y + out, tl.sum(total, axis=0), mask=out < n)


def awq_gemv(x, qweight, qzeros, scales, group, block_k, block_n):
    """y (n,) in float32 = x (k,) times an AWQ weight (k, n), in tiles of block_k rows and block_n columns."""
    n, k = scales.shape[1], len(x)
    y = torch.empty(n)
    grid = (triton.cdiv(n, block_n),)
    awq_kernel[grid](x, qweight, qzeros, scales, y, n, k, group, BK=block_k, BN=block_n)
    return y


ORDER = (0, 2, 4, 6, 1, 3, 5, 7)  # nibble j of a word holds column ORDER[j] of its eight


def _split(words, place=ORDER, signed_top=False):
    """(rows, 8·words) codes; nibble j goes to column place[j]."""
    codes = words[:, :, None] >> (4 * torch.arange(8, dtype=torch.int32)) & 15
    if signed_top:
        codes[:, :, 7] = words >> 28
    placed = torch.empty_like(codes)
    placed[:, :, list(place)] = codes
    return placed.reshape(len(words), -1)


def _inverse(words):
    return _split(words, (0, 4, 1, 5, 2, 6, 3, 7))


def _in_order(words):
    return _split(words, range(8))


def _backwards(words):
    return _split(words, [7 - c for c in ORDER])


def _cut_first(words):
    """The lowest four bits alone, shifted down."""
    return torch.stack([words & 15] + 7 * [torch.zeros_like(words)], dim=-1).flatten(1)


def _row_groups(k, group, block_k):
    return torch.arange(k) // group


def _whole(products, block_k, block_n):
    return products.sum(0)


def _awq(x, qweight, qzeros, scales, group, block_k, block_n, words=_split, zeros=_split, less=0, groups=_row_groups,
         steps=None, total=_whole, scaled=lambda s: s, code=lambda q, z, s: s * (q - z)):  # fmt: skip
    """The reference with one part changed, as whole matrices."""
    g = groups(len(x), group, block_k)
    w = code(words(qweight), (zeros(qzeros) + less)[g], scaled(scales.float())[g])
    products = x.float()[:, None] * w
    kept = len(x) if steps is None else steps(len(x), block_k)
    return total(products[:kept], block_k, block_n)


def _uneven(args):
    """Whether the tiles reach beyond the matrix."""
    x, _, _, scales, _, block_k, block_n = args
    return bool(len(x) % block_k), bool(scales.shape[1] % block_n)


def _no_mask(*args):
    if any(_uneven(args)):
        raise IndexError
    return _awq(*args)


def _open(*args):
    y = _awq(*args)
    return torch.full_like(y, torch.nan) if _uneven(args)[0] else y


def _short_grid(*args):
    y = _awq(*args)
    y[len(y) // args[-1] * args[-1] :] = torch.nan
    return y


def _in_half(products, block_k, block_n):
    """Every step's sum added to a float16."""
    y = torch.zeros(products.shape[1], dtype=torch.float16)
    for part in products.split(block_k):
        y = y + part.sum(0).half()
    return y.float()


NAMES = ("one group, whole tiles", "groups with zeros of their own", "a rest of rows and columns", "long rows")

LATER, REST = NAMES[1:3], NAMES[2:3]


def _changed(**parts):
    return functools.partial(_awq, **parts)


KNOWN = (  # name, an answer that makes it, what to say, which properties it loses
    ("nibbles in their own order", _changed(words=_in_order, zeros=_in_order),
     "Nibble 1 of a word holds column 2, not column 1: undo AWQ's order.", NAMES),
    ("the order the wrong way round", _changed(words=_inverse, zeros=_inverse),
     "The list says which column a nibble holds. A kernel needs the other direction: where column c lies.", NAMES),
    ("only the weights put in order", _changed(zeros=_in_order),
     "The zeros are packed as the weights are, eight columns a word, in the same order.", LATER),
    ("nibbles from the top", _changed(words=_backwards, zeros=_backwards),
     "Nibble j is bits 4j to 4j + 3: nibble 0 is the lowest.", NAMES),
    ("cut out before the shift", _changed(words=_cut_first, zeros=_cut_first),
     "word & 15 leaves the lowest nibble only: shift first, then take & 15.", NAMES),
    ("a signed top nibble", _changed(words=lambda w: _split(w, signed_top=True)),
     "The words are signed: what comes down from bit 31 drags ones along. Shift first, then take & 15.", NAMES),
    ("zeros forgotten", _changed(code=lambda q, z, s: s * q), "A weight is s · (q − z).", NAMES),
    ("a zero of 8 for all", _changed(code=lambda q, z, s: s * (q - 8)),
     "AWQ is asymmetric: each group of a column brings a zero of its own in `qzeros`.", NAMES[1:]),
    ("zeros added", _changed(code=lambda q, z, s: s * (q + z)), "A weight is s · (q − z): z is taken off.", NAMES),
    ("zeros taken off after the scale", _changed(code=lambda q, z, s: s * q - z),
     "The zero is a code: take it off before you multiply, s · (q − z).", NAMES),
    ("one added to the zeros", _changed(less=1), "Old GPTQ files store z − 1. AWQ stores z.", NAMES),
    ("the scale of the first column", _changed(scaled=lambda s: s[:, :1].expand_as(s)),
     "Each column has scales of its own: scales + g · n + column.", NAMES),
    ("the first group for all rows", _changed(groups=lambda k, group, block: torch.zeros(k, dtype=torch.long)),
     "Scale and zero belong to a column and a group of rows: row // group is the line to read.", LATER),
    ("one group a step", _changed(groups=lambda k, group, block: torch.arange(k) // block * block // group),
     "A step may cover several groups: find the group of each row of the tile, not of its first row.", LATER),
    ("a mask is missing", _no_mask,
     "The last tile reaches beyond the matrix: mask rows by k and columns by n, in every load and in the store.", REST),
    ("masked lanes left open", _open,
     "A masked lane without `other` is undefined, and even 0 times it is not 0: give it one.", REST),
    ("only whole steps", _changed(steps=lambda k, block: k // block * block),
     "What is left after the whole steps belongs to the sum, too.", REST),
    ("outputs left unwritten", _short_grid,
     "The grid must cover all n columns: cdiv(n, block_n) programs, not n // block_n.", REST),
    ("summed in float16", _changed(total=_in_half),
     "A float16 near 4,000 moves in steps of 2: convert before you add, and keep the sum in float32.", NAMES[3:]),
)  # fmt: skip
WRONG = [Mistake(name, answer, said, loses=lost) for name, answer, said, lost in KNOWN]


def exercise(seed):
    def case(name, offset, k, n, group, block_k, block_n, plain=False, positive=False):
        generator = torch.Generator().manual_seed(seed + offset)
        groups = -(-k // group)
        bits = [torch.randint(-(2**31), 2**31, (r, n // 8), generator=generator) for r in (k, groups)]
        qweight, qzeros = (words.to(torch.int32) for words in bits)
        if plain:  # 8 in every nibble
            qzeros = torch.full_like(qzeros, 0x88888888 - 2**32)
        if positive:  # no code below 8, all zeros 0: the sums grow
            qweight, qzeros = qweight | 0x88888888 - 2**32, torch.full_like(qzeros, 0x11111111)
        x = torch.rand(k, generator=generator) + 0.5 if positive else torch.randn(k, generator=generator)
        scales = torch.rand(groups, n, generator=generator) * 0.1 + 0.15
        return Case(name, x.half(), qweight, qzeros, scales.half(), group, block_k, block_n)

    one = [
        case("eight columns", 0, 16, 8, 16, 16, 8, plain=True),
        case("32 columns, four steps", 1, 64, 32, 64, 16, 16, plain=True),
    ]
    groups = [
        case("a group a step", 2, 64, 16, 16, 16, 16),
        case("four groups a step", 3, 128, 16, 16, 64, 16),
        case("two steps a group", 4, 128, 24, 64, 32, 8),
    ]
    rest = [
        case("rows and columns left over", 5, 83, 24, 16, 32, 16),
        case("less than a tile", 6, 21, 8, 8, 32, 16),
    ]
    long = [case("2,048 rows", 7, 2048, 8, 2048, 256, 8, positive=True)]
    loose = dict(rtol=2e-3, atol=5e-2)
    return question(
        "ps09.q2",
        "A product straight from an AWQ file",
        "awq_gemv(x, qweight, qzeros, scales, group, block_k, block_n): x times the weight of an AWQ checkpoint.",
        remembered(awq_gemv),
        kernels=[awq_kernel],
        properties=[
            agrees(NAMES[0], one, "The order of eight nibbles, all 32 bits.", **loose),
            agrees(NAMES[1], groups, "Each row's group has scales and zeros.", **loose),
            agrees(NAMES[2], rest, "Masks for rows and columns; every output is written.", **loose),
            agrees(NAMES[3], long, "Sums in float32.", rtol=2e-5, atol=1e-3),
        ],
        wrong=WRONG,
        alike=Tolerance(atol=3e-3, rtol=3e-4),
    )
