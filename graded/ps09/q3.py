"""ps09.q3: int8 in, int8 out, with zero points on both sides"""

import torch
import triton
import triton.language as tl

from course_lib.checks import Case
from course_lib.grading import Mistake, agrees, question
from course_lib.kernels import interpreter  # noqa: F401  mends the interpreter
from graded.ps09.remember import remembered


@triton.jit
def int8_kernel(qx, sx, zx, qw, sw, zw, bias, out, so, zo, m, n, k, BM: tl.constexpr, BN: tl.constexpr,
                BK: tl.constexpr):  # fmt: skip
    """One program BM tokens by BN channels."""
    t = tl.program_id(0) * BM + tl.arange(0, BM)[:, None]
    c = tl.program_id(1) * BN + tl.arange(0, BN)[None, :]
    products = tl.zeros((BM, BN), tl.int32)
    sum_x, sum_w = tl.zeros((BM, 1), tl.int32), tl.zeros((1, BN), tl.int32)
    for at in range(0, k, BK):
        i = at + tl.arange(0, BK)
        a = tl.load(qx + t * k + i[None, :], mask=(t < m) & (i < k)[None, :], other=0)
        b = tl.load(qw + c * k + i[:, None], mask=(c < n) & (i < k)[:, None], other=0)
        products += tl.dot(a, b, out_dtype=tl.int32)
        sum_x += tl.sum(a.to(tl.int32), axis=1, keep_dims=True)
        sum_w += tl.sum(b.to(tl.int32), axis=0, keep_dims=True)
    z, v = tl.load(zx + t, mask=t < m, other=0), tl.load(zw + c, mask=c < n, other=0)
    products += k * z * v - z * sum_w - v * sum_x
    scale = tl.load(sx + t, mask=t < m, other=0.0) * tl.load(sw + c, mask=c < n, other=0.0)
    y = (products.to(tl.float32) * scale + tl.load(bias + c, mask=c < n, other=0.0)) / so
    y = tl.minimum(tl.maximum(y, -1000.0), 1000.0)
    q = (y + 12582912.0) - 12582912.0 + zo
    tl.store(out + t * n + c, tl.minimum(tl.maximum(q, -128.0), 127.0).to(tl.int8), mask=(t < m) & (c < n))


def int8_layer(qx, sx, zx, qw, sw, zw, bias, so, zo, block):
    """int8 (m, n): the next layer's input, from int8 tokens (m, k) and int8 weights (n, k), `block` columns a step."""
    (m, k), n = qx.shape, len(qw)
    out = torch.empty((m, n), dtype=torch.int8)
    grid = (triton.cdiv(m, 16), triton.cdiv(n, 16))
    int8_kernel[grid](qx, sx, zx, qw, sw, zw, bias, out, so, zo, m, n, k, BM=16, BN=16, BK=block)
    return out


def _corrected(x, w, zx, zw, k):
    return k * zx * zw - zx * w.sum(1) - zw * x.sum(1, keepdim=True)


def _ends(y):
    return y.clamp(-128, 127)


def _layer(qx, sx, zx, qw, sw, zw, bias, so, zo, block, lanes=None, product=None, correct=_corrected,
           finish=lambda y, bias, so: (y + bias) / so, rounded=torch.round, clip=_ends, late=False):  # fmt: skip
    """The reference with one part changed, in whole matrices. lanes: what fills the last step up."""
    k = qx.shape[1]
    spare = -k % block
    x, w = qx.double(), qw.double()
    if spare and lanes is not None:
        x, w = (torch.cat([t, torch.full((len(t), spare), float(lanes))], dim=1) for t in (x, w))
    z, v = zx.double()[:, None], zw.double()
    total = (x @ w.T if product is None else product(x, w, block)) + correct(x, w, z, v, k)
    y = finish(total.float() * (sx[:, None] * sw), bias, so)
    y = clip(rounded(y)) + zo if late else clip(rounded(y) + zo)
    return y.long().to(torch.int8)


def _no_mask(*args):
    if args[0].shape[1] % args[-1]:
        raise IndexError
    return _layer(*args)


def _in_float(x, w, block):
    total = torch.zeros(len(x), len(w))
    for a, b in zip(x.split(block, dim=1), w.split(block, dim=1), strict=True):
        total = total + (a @ b.T).float()
    return total.double()


def _lanes_shifted(*args):
    """Zero points taken off in the tile, where masked lanes hold 0."""
    spare = -args[0].shape[1] % args[-1]
    return _layer(*args, correct=lambda x, w, zx, zw, k: _corrected(x, w, zx, zw, k) + spare * zx * zw)


def _half_up(y):
    return torch.floor(y + 0.5)


def _half_away(y):
    return y.sign() * torch.floor(y.abs() + 0.5)


NAMES = ("no zero points", "zero points of one side", "zero points of both", "a rest of columns", "ties and ends")

WRONG = [
    Mistake(
        "a mask is missing",
        _no_mask,
        "The last step reaches beyond the rows of both matrices: mask by k, too.",
        loses=NAMES[3:4],
    ),
    Mistake(
        "masked lanes left open",
        lambda *a: _layer(*a, lanes=90),
        "A masked lane without `other` is undefined; the interpreter puts 90 there. Say other=0.",
        loses=NAMES[3:4],
    ),
    Mistake(
        "masked lanes shifted",
        _lanes_shifted,
        "Zero points taken off in the tile turn a masked lane's 0 into zx · zw. Correct once, at the end, with k.",
        loses=NAMES[3:4],
    ),
    Mistake(
        "the tokens' zero points ignored",
        lambda *a: _layer(*a, correct=lambda x, w, zx, zw, k: -zw * x.sum(1, keepdim=True)),
        "Each token has a zero point, which meets the sum of a channel's codes.",
        loses=NAMES[1:4],
    ),
    Mistake(
        "the channels' zero points ignored",
        lambda *a: _layer(*a, correct=lambda x, w, zx, zw, k: -zx * w.sum(1)),
        "Each channel has a zero point, which meets the sum of a token's codes.",
        loses=NAMES[1:4],
    ),
    Mistake(
        "the last term forgotten",
        lambda *a: _layer(*a, correct=lambda x, w, zx, zw, k: _corrected(x, w, zx, zw, 0)),
        "Multiply out (qx − zx)(qw − zw): the fourth term is + k · zx · zw.",
        loses=NAMES[2:4],
    ),
    Mistake(
        "the last term subtracted",
        lambda *a: _layer(*a, correct=lambda x, w, zx, zw, k: _corrected(x, w, zx, zw, -k)),
        "Minus times minus: the fourth term is added.",
        loses=NAMES[2:4],
    ),
    Mistake(
        "the sums mixed up",
        lambda *a: _layer(
            *a, correct=lambda x, w, zx, zw, k: k * zx * zw - zx * x.sum(1, keepdim=True) - zw * w.sum(1)
        ),
        "A token's zero point multiplies the sum of the weight's codes, and the other way round.",
        loses=NAMES[1:4],
    ),
    Mistake(
        "summed in float32",
        lambda *a: _layer(*a, product=_in_float),
        "From 2²⁴ on a float32 holds even numbers only. A sum of int8 products belongs in int32.",
        loses=NAMES[2:3],
    ),
    Mistake(
        "the bias forgotten",
        lambda *a: _layer(*a, finish=lambda y, bias, so: y / so),
        "The bias is added before the result is quantized again.",
        loses=NAMES,
    ),
    Mistake(
        "the bias added afterwards",
        lambda *a: _layer(*a, finish=lambda y, bias, so: y / so + bias),
        "The bias is a number of y, not a code: add it before you divide by so.",
        loses=NAMES,
    ),
    Mistake(
        "rounded down",
        lambda *a: _layer(*a, rounded=torch.floor),
        "Round to the nearest code.",
        loses=NAMES,
    ),
    Mistake(
        "cut off",
        lambda *a: _layer(*a, rounded=torch.trunc),
        ".to(tl.int8) cuts off what stands behind the point: round first.",
        loses=NAMES,
    ),
    Mistake(
        "ties go up",
        lambda *a: _layer(*a, rounded=_half_up),
        "floor(y + ½) sends every tie up. Ties go to the even code: add 1.5 · 2²³ and take it off again.",
        loses=NAMES[4:],
    ),
    Mistake(
        "ties go away from zero",
        lambda *a: _layer(*a, rounded=_half_away),
        "Ties go to the even code.",
        loses=NAMES[4:],
    ),
    Mistake(
        "not clipped",
        lambda *a: _layer(*a, clip=lambda y: y),
        "An int8 that runs over comes out at the other end: clip to −128 … 127 first.",
        loses=NAMES[4:],
    ),
    Mistake(
        "clipped before the zero point",
        lambda *a: _layer(*a, late=True),
        "The zero point of the output shifts the code, and the ends are those of the shifted one: add, then clip.",
        loses=NAMES[4:],
    ),
]


def exercise(seed):
    def draw(generator, *shape, low=-128, high=128, dtype=torch.int8):
        return torch.randint(low, high, shape, generator=generator).to(dtype)

    def case(name, offset, m, k, n, block, tokens=False, channels=False):
        """Scales that bring the results to some dozen codes on either side."""
        generator = torch.Generator().manual_seed(seed + offset)
        zeros = dict(low=-90, high=90, dtype=torch.int32)
        zx = draw(generator, m, **zeros) * tokens
        zw = draw(generator, n, **zeros) * channels
        sx, sw = (torch.rand(size, generator=generator) * 0.02 + 0.01 for size in (m, n))
        bias = torch.randn(n, generator=generator)
        so = 0.02**2 * 74**2 * k**0.5 / 9 * (1.5 if tokens or channels else 1.0)
        args = draw(generator, m, k), sx, zx, draw(generator, n, k), sw, zw, bias, so, -4
        return Case(name, *args, block)

    def far(name, offset, k, block):
        """Codes next to a far zero point: large terms, small results."""
        generator = torch.Generator().manual_seed(seed + offset)
        qx, qw = (draw(generator, r, k, low=124, high=127) for r in (3, 5))
        zx, zw = (torch.full((r,), 125, dtype=torch.int32) for r in (3, 5))
        one = [torch.ones(r) for r in (3, 5)]
        bias = torch.randint(-5, 6, (5,), generator=generator) * 0.25
        return Case(name, qx, one[0], zx, qw, one[1], zw, bias + 0.125, 1.0, 3, block)

    def ends(name, offset, zo, spread):
        """Scales that are powers of two: exact halves, and results beyond both ends."""
        generator = torch.Generator().manual_seed(seed + offset)
        qx, qw = draw(generator, 6, 16, low=-3, high=4), draw(generator, 9, 16, low=-3, high=4)
        zero = [torch.zeros(r, dtype=torch.int32) for r in (6, 9)]
        sx, sw = torch.tensor([0.5, 1, 2, 0.25, 0.5, 4]), torch.tensor([0.5, 1, 1, 2, 0.25, 0.5, 1, 2, 4])
        bias = torch.tensor([0.5, -0.5, 1.0, 1.5, -1.0, 0.25, -2.5, 3.0, 0.0])
        return Case(name, qx, sx, zero[0], qw, sw, zero[1], bias, spread, zo, 16)

    none = [case("two tokens, one step", 0, 2, 16, 3, 16), case("20 tokens, four steps", 1, 20, 64, 18, 16)]
    side = [
        case("zero points of tokens", 2, 5, 32, 4, 16, tokens=True),
        case("zero points of channels", 3, 3, 32, 7, 32, channels=True),
    ]
    both = [
        case("both, 4 tokens", 4, 4, 32, 6, 16, tokens=True, channels=True),
        far("2,048 columns far from zero", 5, 2048, 256),
    ]
    rest = [
        case("a rest of columns", 6, 3, 41, 5, 16, tokens=True, channels=True),
        case("less than a step", 7, 17, 9, 19, 32, tokens=True, channels=True),
    ]
    edge = [ends("exact halves", 8, 0, 1.0), ends("a zero point of 100", 9, 100, 0.25)]
    return question(
        "ps09.q3",
        "Eight bits in, eight bits out",
        "int8_layer(qx, sx, zx, qw, sw, zw, bias, so, zo, block): a linear layer from int8 codes to int8 codes.",
        remembered(int8_layer),
        kernels=[int8_kernel],
        properties=[
            agrees(NAMES[0], none, "Products in int32, two scales, a bias, rounding.", points=0.5),
            agrees(NAMES[1], side, "Zero point times the other side's sum."),
            agrees(NAMES[2], both, "Four terms, exact in int32."),
            agrees(NAMES[3], rest, "Masked lanes stay out of all four.", points=0.5),
            agrees(NAMES[4], edge, "To even, shifted, then clipped."),
        ],
        wrong=WRONG,
    )
