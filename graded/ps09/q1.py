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


def _running(a_too=False, b_too=False, cross_too=False, fresh=False):
    """Tile after tile; what is not rescaled when the maximum grows is added up as it is."""

    def kl(a, b, k, block):
        top_a, top_b = (torch.full((len(a),), -torch.inf) for _ in range(2))
        sum_a, sum_b, cross = torch.zeros(3, len(a))
        for at in range(0, k, block):
            p, q = (x[:, at : min(k, at + block)] for x in (a, b))
            new_a, new_b = (x.amax(1) if fresh else torch.maximum(x.amax(1), t) for x, t in ((p, top_a), (q, top_b)))
            old_a, old_b, weight = (top_a - new_a).exp(), (top_b - new_b).exp(), (p - new_a[:, None]).exp()
            cross = cross * (old_a if cross_too else 1) + (weight * (p - q)).sum(1)
            sum_a = sum_a * (old_a if a_too else 1) + weight.sum(1)
            sum_b = sum_b * (old_b if b_too else 1) + (q - new_b[:, None]).exp().sum(1)
            top_a, top_b = new_a, new_b
        return cross / sum_a - top_a - sum_a.log() + top_b + sum_b.log()

    return kl


def _shifted(top_a, top_b, joined=lambda cross, a, b, top_a, top_b: cross / a - top_a - a.log() + top_b + b.log()):
    """Whole rows, maxima by top_a and top_b of both, and what is made of the three sums."""

    def kl(a, b, k, block):
        a, b = a[:, :k], b[:, :k]
        high_a, high_b = top_a(a, b), top_b(a, b)
        p, q = (a - high_a[:, None]).exp(), (b - high_b[:, None]).exp()
        return joined((p * (a - b)).sum(1), p.sum(1), q.sum(1), high_a, high_b)

    return kl


def _of_a(a, b):
    return a.amax(1)


def _of_b(a, b):
    return b.amax(1)


def _first_row(a, b, k, block):
    return torch.cat((_kl(a[:1], b[:1], k, block), torch.full((len(a) - 1,), torch.nan)))


def _whole_tiles(a, b, k, block):
    whole = k // block * block
    return _kl(a, b, whole, block) if whole else torch.full((len(a),), torch.nan)


def _joined(how):
    return _shifted(_of_a, _of_b, how)


NAMES = ("one whole tile", "one tile with room left", "several tiles", "a rest, beside padding", "large logits")
PARTLY, LATER = (NAMES[1], NAMES[3]), NAMES[2:]
KNOWN = (  # name, an answer that makes it, what to say, which properties it loses
    ("a mask is missing", lambda *a: _kl(*a, columns=_tiled),
     "The last tile reaches beyond the row: load with mask=i < k.", PARTLY),
    ("masked lanes left open", lambda *a: _kl(*a, columns=lambda x, k, block: _tiled(x, k, block, torch.nan)),
     "A masked lane without `other` is undefined; the interpreter makes it NaN. Say what it should count as.", PARTLY),
    ("masked lanes counted", _counted,
     "A logit of 0 is e⁰ = 1 in the sum: a lane that must not count has the logit −inf.", PARTLY),
    ("only the first tile", lambda a, b, k, block: _plain(a[:, : min(k, block)], b[:, : min(k, block)]),
     "A row may be longer than a tile: step through it.", LATER),
    ("only whole tiles", _whole_tiles,
     "What is left after the whole tiles belongs to the row, too: count tiles with cdiv, not //.", PARTLY),
    ("only the first row", _first_row, "One program a row: the grid has as many programs as there are rows.", NAMES),
    ("nothing is stored", lambda a, b, k, block: torch.full((len(a),), torch.nan),
     "Your outputs still hold the NaN of an empty tensor: does the kernel store, and where you think?", NAMES),
    ("the width forgotten", _packed, "Row r begins r · width numbers from the start, not r · k.", NAMES[1:4]),
    ("no maximum taken off", lambda *a: _kl(*a, rest=lambda a, b: _plain(a, b, shift=False)),
     "e¹⁰⁰ is more than float32 can hold: take the largest logit off before exp, and add it back after log.",
     NAMES[4:]),
    ("one maximum for both", _shifted(_of_a, _of_a),
     "The rows may lie far apart: each sum of exponentials needs the maximum of its own row.", NAMES[4:]),
    ("maxima of at least 0", _shifted(*(lambda a, b, f=f: f(a, b).clamp(min=0) for f in (_of_a, _of_b))),
     "All logits may lie far below 0, and e⁻³⁰⁰ is 0 in float32: begin with −inf, not with 0.", NAMES[4:]),
    ("old sums not rescaled", _running(),
     "When the maximum grows, everything summed so far was relative to the old one: multiply it by exp(old − new).",
     LATER),
    ("the weighted difference not rescaled", _running(a_too=True, b_too=True),
     "The sum of weighted differences is relative to the maximum of a, too: multiply it by exp(old − new) as well.",
     LATER),
    ("the sum of b not rescaled", _running(a_too=True, cross_too=True),
     "The sum of b is relative to the maximum of b: when that grows, multiply it by exp(old − new).", LATER),
    ("each tile's own maximum", _running(fresh=True),
     "Sums of tiles with different maxima cannot be added: keep the largest so far, and rescale what was summed.",
     LATER),
    ("the maximum may fall", _running(a_too=True, b_too=True, cross_too=True, fresh=True),
     "Where a tile lies far below the ones before, exp(old − new) overflows: new is the larger of both maxima.",
     NAMES[4:]),
    ("the other way round", lambda *a: _kl(*a, rest=lambda a, b: _plain(b, a)),
     "KL(a || b) weights by the probabilities of a.", NAMES),
    ("bits, not nats", lambda *a: _kl(*a, rest=lambda a, b: _plain(a, b) / torch.tensor(2.0).log()),
     "Nats are asked: the natural logarithm.", NAMES),
    ("log2 beside exp", lambda *a: _kl(*a, rest=lambda a, b: _plain(a, b, log=torch.log2)),
     "exp and log2 have two bases: take tl.log.", NAMES),
    ("the sums forgotten", lambda *a: _kl(*a, rest=lambda a, b: (a.softmax(1) * (a - b)).sum(1)),
     "The logarithm of a probability is the logit less the logarithm of the row's sum: both sums belong in it.", NAMES),
    ("the maxima not added back", _joined(lambda cross, a, b, top_a, top_b: cross / a - a.log() + b.log()),
     "The sums are relative to the maxima: the logarithm of a whole sum is top + log(sum).", NAMES),
    ("the sums with the wrong sign", _joined(lambda c, a, b, top_a, top_b: c / a + top_a + a.log() - top_b - b.log()),
     "log p is a less *its* log-sum: that of a is taken off, that of b comes back.", NAMES),
    ("not divided by the sum", _joined(lambda cross, a, b, top_a, top_b: cross - top_a - a.log() + top_b + b.log()),
     "The weights have to be probabilities: divide their sum of differences by the sum of a.", NAMES),
)  # fmt: skip
WRONG = [Mistake(name, answer, said, loses=lost) for name, answer, said, lost in KNOWN]


def exercise(seed):
    def case(name, offset, rows, k, width, block, high=(0.0, 0.0), fall=0.0):
        generator = torch.Generator().manual_seed(seed + offset)
        a = 2 * torch.randn(rows, width, generator=generator)
        b = a + torch.randn(rows, width, generator=generator)
        if k > block:  # the maximum grows on the way
            a, b = (x + torch.linspace(0, 3, width) for x in (a, b))
        high = [h - fall * (torch.arange(width) // block) for h in high]
        a, b = (torch.where(torch.arange(width) < k, x + h, torch.nan) for x, h in zip((a, b), high, strict=True))
        return Case(name, a, b, k, block)

    whole = [case("a row as long as a tile", 0, 2, 16, 16, 16)]
    room = [case("a tile that is not full", 1, 3, 11, 13, 16), case("one column", 2, 2, 3, 4, 32)]
    several = [case("four tiles", 3, 3, 64, 64, 16), case("two tiles, padded rows", 4, 2, 64, 96, 32)]
    rest = [case("a rest", 5, 2, 75, 90, 32), case("a rest of one", 6, 3, 65, 67, 16)]
    large = [
        case("logits around 200 and 50", 7, 2, 64, 64, 32, (200.0, 50.0)),
        case("around −300", 8, 2, 64, 64, 32, (-300.0, -300.0)),
        case("150 less in each tile", 9, 2, 48, 48, 16, (100.0, 0.0), fall=150.0),
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
