"""ps09.q1: the divergence of two rows of logits, in one kernel"""

import torch
import triton
import triton.language as tl

from course_lib.checks import Case
from course_lib.checks.compare import Tolerance
from course_lib.grading import Mistake, agrees, question
from course_lib.kernels import interpreter  # noqa: F401  mends the interpreter
from graded.ps09.remember import remembered


@triton.jit
def kl_kernel(a, b, out, k, width, B: tl.constexpr):
    """One program a row."""
    first = tl.program_id(0) * width
    top_a, top_b = -1e30, -1e30
    sum_a, sum_b, apart = 0.0, 0.0, 0.0
    for at in range(0, k, B):
        i = at + tl.arange(0, B)
        p = tl.load(a + first + i, mask=i < k, other=-1e30)
        q = tl.load(b + first + i, mask=i < k, other=-1e30)
        new_a, new_b = tl.maximum(top_a, tl.max(p, axis=0)), tl.maximum(top_b, tl.max(q, axis=0))
        weight = tl.exp(p - new_a)
        old = tl.exp(top_a - new_a)
        apart = apart * old + tl.sum(weight * (p - q), axis=0)
        sum_a = sum_a * old + tl.sum(weight, axis=0)
        sum_b = sum_b * tl.exp(top_b - new_b) + tl.sum(tl.exp(q - new_b), axis=0)
        top_a, top_b = new_a, new_b
    tl.store(out + tl.program_id(0), apart / sum_a - top_a - tl.log(sum_a) + top_b + tl.log(sum_b))


def kl_rows(a, b, k, block):
    """KL(softmax(a) || softmax(b)) in nats of the first k columns of each row, `block` columns a step."""
    out = torch.empty(len(a))
    kl_kernel[(len(a),)](a, b, out, k, a.shape[1], B=block)
    return out


def _tiled(x, k, block, beyond=None):
    """The columns that the tiles of a row cover: (rows, tiles·block); `beyond` stands where a mask would have been."""
    ends = -(-k // block) * block
    at = torch.arange(len(x))[:, None] * x.shape[1] + torch.arange(ends)
    inside = (torch.arange(ends) < k).expand_as(at)
    if beyond is None and at.max() >= x.numel():
        raise IndexError
    values = x.reshape(-1)[at.clamp(max=x.numel() - 1)]
    return values if beyond is None else torch.where(inside, values, beyond)


def _plain(a, b, log=torch.log, shift=True):
    a, b = (x - x.amax(1, keepdim=True) if shift else x for x in (a, b))
    p, q = a.exp(), b.exp()
    return (p / p.sum(1, keepdim=True) * (a - b)).sum(1) - log(p.sum(1)) + log(q.sum(1))


def _kl(a, b, k, block, columns=lambda x, k, block: x[:, :k], rest=_plain):
    return rest(columns(a, k, block), columns(b, k, block))


def _counted(a, b, k, block):
    """Masked lanes are logits of 0 in the sums."""
    return _plain(_tiled(a, k, block, 0.0), _tiled(b, k, block, 0.0))


def _packed(a, b, k, block):
    """Rows read as if they lay k apart."""
    return _plain(*(x.reshape(-1)[: len(x) * k].reshape(len(x), k) for x in (a, b)))


def _not_rescaled(a, b, k, block):
    """Sums of the tiles, each relative to the maximum so far, added up as they are."""

    def sums(x, other=None):
        top, total = torch.full((len(x),), -torch.inf), torch.zeros(len(x))
        for at in range(0, k, block):
            tile = x[:, at : min(k, at + block)]
            top = torch.maximum(top, tile.amax(1))
            part = (tile - top[:, None]).exp()
            total = total + (part if other is None else part * (tile - other[:, at : min(k, at + block)])).sum(1)
        return total, top

    (sum_a, top_a), (sum_b, top_b), (apart, _) = sums(a), sums(b), sums(a, b)
    return apart / sum_a - top_a - sum_a.log() + top_b + sum_b.log()


def _swapped(a, b):
    return _plain(b, a)


def _one_maximum(a, b):
    """The largest logit of a taken off both rows."""
    a, b = (x - a.amax(1, keepdim=True) for x in (a, b))
    return _plain(a, b, shift=False)


NAMES = ("one whole tile", "one tile with room left", "several tiles", "a rest, beside padding", "large logits")

WRONG = [
    Mistake(
        "a mask is missing",
        lambda *a: _kl(*a, columns=_tiled),
        "The last tile reaches beyond the row: load with mask=i < k.",
        loses=(NAMES[1], NAMES[3]),
    ),
    Mistake(
        "masked lanes left open",
        lambda *a: _kl(*a, columns=lambda x, k, block: _tiled(x, k, block, torch.nan)),
        "A masked lane without `other` is undefined; the interpreter makes it NaN. Say what it should count as.",
        loses=(NAMES[1], NAMES[3]),
    ),
    Mistake(
        "masked lanes counted",
        _counted,
        "A logit of 0 is e⁰ = 1 in the sum: a lane that must not count has the logit −inf.",
        loses=(NAMES[1], NAMES[3]),
    ),
    Mistake(
        "only the first tile",
        lambda a, b, k, block: _plain(a[:, : min(k, block)], b[:, : min(k, block)]),
        "A row may be longer than a tile: step through it.",
        loses=(NAMES[2], NAMES[3], NAMES[4]),
    ),
    Mistake(
        "only whole tiles",
        lambda a, b, k, block: _plain(a[:, : max(1, k // block * block)], b[:, : max(1, k // block * block)]),
        "What is left after the whole tiles belongs to the row, too: count tiles with cdiv, not //.",
        loses=(NAMES[1], NAMES[3]),
    ),
    Mistake(
        "the width forgotten",
        _packed,
        "Row r begins r · width numbers from the start, not r · k.",
        loses=NAMES[1:4],
    ),
    Mistake(
        "no maximum taken off",
        lambda *a: _kl(*a, rest=lambda a, b: _plain(a, b, shift=False)),
        "e¹⁰⁰ is more than float32 can hold: take the largest logit off before exp, and add it back after log.",
        loses=(NAMES[4],),
    ),
    Mistake(
        "one maximum for both",
        lambda *a: _kl(*a, rest=_one_maximum),
        "The rows may lie far apart: each sum of exponentials needs the maximum of its own row.",
        loses=(NAMES[4],),
    ),
    Mistake(
        "old sums not rescaled",
        _not_rescaled,
        "When the maximum grows, everything summed so far was relative to the old one: multiply it by exp(old − new).",
        loses=(NAMES[2], NAMES[3], NAMES[4]),
    ),
    Mistake(
        "the other way round",
        lambda *a: _kl(*a, rest=_swapped),
        "KL(a || b) weights by the probabilities of a.",
        loses=NAMES,
    ),
    Mistake(
        "bits, not nats",
        lambda *a: _kl(*a, rest=lambda a, b: _plain(a, b) / torch.tensor(2.0).log()),
        "Nats are asked: the natural logarithm.",
        loses=NAMES,
    ),
    Mistake(
        "the sums forgotten",
        lambda *a: _kl(*a, rest=lambda a, b: (a.softmax(1) * (a - b)).sum(1)),
        "The logarithm of a probability is the logit less the logarithm of the row's sum: both sums belong in it.",
        loses=NAMES,
    ),
]


def exercise(seed):
    def case(name, offset, rows, k, width, block, high=(0.0, 0.0)):
        generator = torch.Generator().manual_seed(seed + offset)
        a = 2 * torch.randn(rows, width, generator=generator)
        b = a + torch.randn(rows, width, generator=generator)
        if k > block:  # the maximum grows on the way
            a, b = (x + torch.linspace(0, 3, width) for x in (a, b))
        a, b = (torch.where(torch.arange(width) < k, x + h, torch.nan) for x, h in zip((a, b), high, strict=True))
        return Case(name, a, b, k, block)

    whole = [case("a row as long as a tile", 0, 2, 16, 16, 16)]
    room = [case("a tile that is not full", 1, 3, 11, 13, 16), case("one column", 2, 2, 3, 4, 32)]
    several = [case("four tiles", 3, 3, 64, 64, 16), case("two tiles, padded rows", 4, 2, 64, 96, 32)]
    rest = [case("a rest", 5, 2, 75, 90, 32), case("a rest of one", 6, 3, 65, 67, 16)]
    large = [
        case("logits around 200 and 50", 7, 2, 64, 64, 32, (200.0, 50.0)),
        case("around −300", 8, 2, 64, 64, 32, (-300.0, -300.0)),
    ]
    near = dict(rtol=1e-4, atol=2e-4)
    return question(
        "ps09.q1",
        "How far apart two rows of logits are",
        "kl_rows(a, b, k, block): the KL divergence of the first k logits of each row, by a kernel in tiles.",
        remembered(kl_rows),
        kernels=[kl_kernel],
        properties=[
            agrees(NAMES[0], whole, "Two sums of exponentials and a weighted difference.", points=0.5, **near),
            agrees(NAMES[1], room, "A mask, and what masked lanes count as.", **near),
            agrees(NAMES[2], several, "A loop over tiles.", **near),
            agrees(NAMES[3], rest, "Rows begin `width` apart; the last tile is not full.", points=0.5, **near),
            agrees(NAMES[4], large, "The maximum goes off before exp.", **near),
        ],
        wrong=WRONG,
        alike=Tolerance(atol=3e-4, rtol=3e-4),
    )
