"""ps09.q3: int8 in, int8 out, with zero points on both sides"""

import functools

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


def _plus(x, w, zx, zw, k):
    return k * zx * zw + zx * w.sum(1) + zw * x.sum(1, keepdim=True)


def _mixed_up(x, w, zx, zw, k):
    return k * zx * zw - zx * x.sum(1, keepdim=True) - zw * w.sum(1)


def _fourth(terms):
    return lambda x, w, zx, zw, k: _corrected(x, w, zx, zw, terms(k))


def _layer(qx, sx, zx, qw, sw, zw, bias, so, zo, block, lanes=None, product=None, correct=_corrected,
           finish=lambda y, bias, so, s: (y + bias) / so, rounded=torch.round, ends=(-128, 127), late=False,
           shift=lambda y, zo: torch.round(y) + zo, scale=lambda sx, sw: sx[:, None] * sw, shifted=False,
           reads=lambda m, n, spare: True, kept=lambda k, block: k, covered=lambda m, n: (m, n)):  # fmt: skip
    """The reference with one part changed, in whole matrices. lanes: what fills the last step up."""
    (m, k), n = qx.shape, len(qw)
    spare = -k % block
    if not reads(m, n, spare):
        raise IndexError
    x, w = (q.double()[:, : kept(k, block)] for q in (qx, qw))
    if spare and lanes is not None:
        x, w = (torch.cat([t, torch.full((len(t), spare), float(lanes))], dim=1) for t in (x, w))
    z, v = zx.double()[:, None], zw.double()
    total = (x @ w.T if product is None else product(x, w, block)) + correct(x, w, z, v, k) + shifted * spare * z * v
    y = finish(total.float() * scale(sx, sw), bias, so, scale(sx, sw))
    if rounded is not torch.round:
        return (rounded(y) + zo).clamp(*ends).long().to(torch.int8)
    y = torch.round(y).clamp(*ends) + zo if late else shift(y, zo).clamp(*ends)
    rows, columns = covered(m, n)
    y[rows:], y[:, columns:] = 127, 127  # what torch.empty holds
    return y.long().to(torch.int8)


def _tiles(m, n):
    """The grid with its axes exchanged."""
    return -(-n // 16) * 16, -(-m // 16) * 16


def _in_float(x, w, block):
    total = torch.zeros(len(x), len(w))
    for a, b in zip(x.split(block, dim=1), w.split(block, dim=1), strict=True):
        total = total + (a @ b.T).float()
    return total.double()


def _last_step(x, w, block):
    at = (x.shape[1] - 1) // block * block
    return x[:, at:] @ w[:, at:].T


NAMES = ("no zero points", "zero points of one side", "zero points of both", "a rest of columns", "ties and ends")
KNOWN = (  # name, what is changed, what to say, which properties it loses
    ("a mask is missing", dict(reads=lambda m, n, spare: not spare),
     "The last step reaches beyond the rows of both matrices: mask by k, too.", NAMES[3:4]),
    ("no mask at all", dict(reads=lambda m, n, spare: not (spare or m % 16 or n % 16)),
     "Tiles reach beyond m, n and k: every load needs a mask, and the store, too.", NAMES),
    ("only whole steps", dict(kept=lambda k, block: k // block * block),
     "What is left after the whole steps belongs to the sums, too: range(0, k, block).", NAMES[3:4]),
    ("the grid the wrong way round", dict(covered=_tiles),
     "program_id(0) counts tiles of tokens here, so the grid is (cdiv(m, 16), cdiv(n, 16)).", NAMES[3:4]),
    ("outputs left unwritten", dict(covered=lambda m, n: (max(1, m // 16) * 16, max(1, n // 16) * 16)),
     "The grid must cover all outputs: cdiv(m, 16) by cdiv(n, 16) programs, not m // 16 by n // 16.",
     (NAMES[0], NAMES[3])),
    ("masked lanes left open", dict(lanes=90),
     "A masked lane without `other` is undefined; the interpreter puts 90 there. Say other=0.", NAMES[3:4]),
    ("masked lanes shifted", dict(shifted=True),
     "Zero points taken off in the tile turn a masked lane's 0 into zx · zw. Correct once, at the end, with k.",
     NAMES[3:4]),
    ("the tokens' zero points ignored", dict(correct=lambda x, w, zx, zw, k: -zw * x.sum(1, keepdim=True)),
     "Each token has a zero point, which meets the sum of a channel's codes.", NAMES[1:4]),
    ("the channels' zero points ignored", dict(correct=lambda x, w, zx, zw, k: -zx * w.sum(1)),
     "Each channel has a zero point, which meets the sum of a token's codes.", NAMES[1:4]),
    ("all zero points ignored", dict(correct=lambda x, w, zx, zw, k: 0 * zx),
     "A code q stands for s · (q − z), on both sides: multiply out and correct at the end.", NAMES[1:4]),
    ("the last term forgotten", dict(correct=_fourth(lambda k: 0)),
     "Multiply out (qx − zx)(qw − zw): the fourth term is + k · zx · zw.", NAMES[2:4]),
    ("the last term subtracted", dict(correct=_fourth(lambda k: -k)),
     "Minus times minus: the fourth term is added.", NAMES[2:4]),
    ("the last term once", dict(correct=_fourth(lambda k: 1)),
     "zx · zw stands in each of the k products, so it is added k times.", NAMES[2:4]),
    ("the sums mixed up", dict(correct=_mixed_up),
     "A token's zero point multiplies the sum of the weight's codes, and the other way round.", NAMES[1:4]),
    ("zero points added", dict(correct=_plus),
     "It is q − z: the two terms with one zero point are taken off.", NAMES[1:4]),
    ("summed in float32", dict(product=_in_float),
     "From 2²⁴ on a float32 holds even numbers only. A sum of int8 products belongs in int32.", NAMES[2:3]),
    ("only the last step's products", dict(product=_last_step),
     "Every step adds to the products of those before: +=, not =.", NAMES[:4]),
    ("the channels' scales forgotten", dict(scale=lambda sx, sw: sx[:, None].expand(-1, len(sw))),
     "Each channel has a scale, too: the sum times sx times sw.", NAMES),
    ("the bias forgotten", dict(finish=lambda y, bias, so, s: y / so),
     "The bias is added before the result is quantized again.", NAMES),
    ("the bias added afterwards", dict(finish=lambda y, bias, so, s: y / so + bias),
     "The bias is a number of y, not a code: add it before you divide by so.", NAMES),
    ("the bias scaled", dict(finish=lambda y, bias, so, s: (y + bias * s) / so),
     "The bias is a number of y already: scale the sum, then add the bias.", NAMES),
    ("times so", dict(finish=lambda y, bias, so, s: (y + bias) * so),
     "A code is y over the step of the output: divide by so.", NAMES),
    ("not divided by so", dict(finish=lambda y, bias, so, s: y + bias),
     "y is a number, not yet a code: divide by so, the step of the output.", NAMES),
    ("rounded down", dict(rounded=torch.floor), "Round to the nearest code.", NAMES),
    ("cut off", dict(rounded=torch.trunc),
     ".to(tl.int8) cuts off what stands behind the point: round first.", NAMES),
    ("a magic number too small", dict(rounded=lambda y: torch.where(y < 0, (2 * y).round() / 2, y.round())),
     "y below 0 brings 2²³ + y below 2²³, where a float32 has halves: it is 1.5 · 2²³ that you add.", NAMES),
    ("ties go up", dict(rounded=lambda y: torch.floor(y + 0.5)),
     "floor(y + ½) sends every tie up. Ties go to the even code: add 1.5 · 2²³ and take it off again.", NAMES[4:]),
    ("ties go away from zero", dict(rounded=lambda y: y.sign() * torch.floor(y.abs() + 0.5)),
     "Ties go to the even code.", NAMES[4:]),
    ("not clipped", dict(ends=(-(10**9), 10**9)),
     "An int8 that runs over comes out at the other end: clip to −128 … 127 first.", NAMES[4:]),
    ("clipped before the zero point", dict(late=True),
     "The zero point of the output shifts the code, and the ends are those of the shifted one: add, then clip.",
     NAMES[4:]),
    ("clipped to bytes without a sign", dict(ends=(0, 255)), "An int8 goes from −128 to 127.", NAMES),
    ("clipped to −127", dict(ends=(-127, 127)), "The codes of the output begin at −128.", NAMES[4:]),
    ("the output's zero point forgotten", dict(shift=lambda y, zo: torch.round(y)),
     "The code of y = 0 is zo: add it after rounding.", NAMES),
    ("the output's zero point taken off", dict(shift=lambda y, zo: torch.round(y) - zo),
     "To quantize is to divide, round and *add* the zero point; who decodes takes it off.", NAMES),
    ("the zero point before the rounding", dict(shift=lambda y, zo: torch.round(y + zo)),
     "Round first, then add zo: an odd zo sends a tie to the other side.", NAMES[4:]),
)  # fmt: skip
WRONG = [Mistake(n, functools.partial(_layer, **changed), said, loses=lost) for n, changed, said, lost in KNOWN]


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
        case("two tokens, forty channels", 11, 2, 24, 40, 16, tokens=True, channels=True),
    ]
    edge = [ends("exact halves", 8, 0, 1.0), ends("a zero point of 101", 9, 101, 0.25), ends("of −101", 10, -101, 0.25)]
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
