"""ps09.q4: attention of one new token over a cache of four-bit pages"""

import torch
import triton
import triton.language as tl

from course_lib.checks import Case
from course_lib.checks.compare import Tolerance
from course_lib.grading import Mistake, agrees, question
from course_lib.kernels import interpreter  # noqa: F401  mends the interpreter
from graded.ps09.remember import remembered


@triton.jit
def cache_kernel(q, keys, ks, kz, values, vs, vz, table, out, lse, length, kv_heads, shared, root,
                 SIZE: tl.constexpr, HALF: tl.constexpr):  # fmt: skip
    """One program a query head."""
    head = tl.program_id(0)
    own = head // shared
    t, c = tl.arange(0, SIZE)[:, None], tl.arange(0, HALF)[None, :]
    even = tl.load(q + head * 2 * HALF + 2 * c) * root
    odd = tl.load(q + head * 2 * HALF + 2 * c + 1) * root
    top, total = -float("inf"), 0.0
    mixed_even, mixed_odd = tl.zeros((HALF,), tl.float32), tl.zeros((HALF,), tl.float32)
    for i in range(0, tl.cdiv(length, SIZE)):
        page = tl.load(table + i)
        known = i * SIZE + t < length
        line = (page * SIZE + t) * kv_heads + own
        channel = (page * kv_heads + own) * 2 * HALF + 2 * c
        byte = tl.load(keys + line * HALF + c, mask=known, other=0)
        low = ((byte & 15).to(tl.float32) - tl.load(kz + channel)) * tl.load(ks + channel)
        high = ((byte >> 4).to(tl.float32) - tl.load(kz + channel + 1)) * tl.load(ks + channel + 1)
        score = tl.sum(low * even + high * odd, axis=1, keep_dims=True)
        score = tl.where(known, score, -float("inf"))
        new = tl.maximum(top, tl.max(score))
        p, old = tl.exp(score - new), tl.exp(top - new)
        byte = tl.load(values + line * HALF + c, mask=known, other=0)
        zero, s = tl.load(vz + line, mask=known, other=0.0), tl.load(vs + line, mask=known, other=0.0)
        mixed_even = mixed_even * old + tl.sum(p * s * ((byte & 15).to(tl.float32) - zero), axis=0)
        mixed_odd = mixed_odd * old + tl.sum(p * s * ((byte >> 4).to(tl.float32) - zero), axis=0)
        total = total * old + tl.sum(p)
        top = new
    at = out + head * 2 * HALF + 2 * tl.arange(0, HALF)
    tl.store(at, mixed_even / total)
    tl.store(at + 1, mixed_odd / total)
    tl.store(lse + head, top + tl.log(total))


def attend_pages(q, keys, key_scale, key_zero, values, value_scale, value_zero, table, length):
    """One step of attention over a cache in pages of four-bit codes: "out" (heads, d) and "lse" (heads,)."""
    (heads, d), (_, size, kv_heads, _) = q.shape, keys.shape
    out, lse = torch.empty(heads, d), torch.empty(heads)
    cache_kernel[(heads,)](
        q, keys, key_scale, key_zero, values, value_scale, value_zero, table, out, lse, length, kv_heads,
        heads // kv_heads, d**-0.5, SIZE=size, HALF=d // 2,
    )  # fmt: skip
    return {"out": out, "lse": lse}


def _neighbours(codes):
    return torch.stack((codes & 15, codes >> 4), dim=-1).flatten(-2)


def _swapped(codes):
    return torch.stack((codes >> 4, codes & 15), dim=-1).flatten(-2)


def _halves(codes):
    return torch.cat((codes & 15, codes >> 4), dim=-1)


def _group(head, heads, kv_heads):
    return head // (heads // kv_heads)


def _exact(score, table, size):
    top = score.max()
    p = (score - top).exp()
    return p / p.sum(), top + p.sum().log()


def _attend(q, keys, key_scale, key_zero, values, value_scale, value_zero, table, length, unpack=_neighbours,
            pages=lambda table: table, own=_group, root=lambda d: d**0.5, key_page=lambda pages: pages,
            zeros=True, softmax=_exact, open_=False, seen=lambda length, size: length, log=1.0):  # fmt: skip
    """The reference with one part changed, on the unpacked cache."""
    (heads, d), (_, size, kv_heads, _) = q.shape, keys.shape
    count = -(-length // size)
    left = seen(length, size)
    at = pages(table[:count]).long()
    k = unpack(keys[at]).float()  # (pages, size, kv_heads, d)
    from_page = key_page(at)
    k = (k - zeros * key_zero[from_page][:, None]) * key_scale[from_page][:, None]
    s, z = value_scale[at], value_zero[at]
    v = (unpack(values[at]).float() - zeros * z[..., None]) * s[..., None]
    k, v = k.flatten(0, 1), v.flatten(0, 1)
    out, lse = torch.empty(heads, d), torch.empty(heads)
    for head in range(heads):
        h = own(head, heads, kv_heads)
        score = (k[:, h] @ q[head]) / root(d)
        if open_:  # codes of 0 beyond the end count in the sum
            blank = (-zeros * key_zero[from_page] * key_scale[from_page])[:, h] @ q[head] / root(d)
            score = torch.where(torch.arange(len(score)) < left, score, blank.repeat_interleave(size))
            p, lse[head] = softmax(score, at, size)
        else:
            p, lse[head] = softmax(score[:left], at, size)
        out[head] = p[:left] @ v[:left, h]
    return {"out": out, "lse": lse * log}


def _not_rescaled(score, table, size):
    """Each page's exponentials relative to the maximum so far, added up as they are."""
    top, weights = torch.tensor(-torch.inf), []
    for part in score.split(size):
        top = torch.maximum(top, part.max())
        weights.append((part - top).exp())
    p = torch.cat(weights)
    return p / p.sum(), top + p.sum().log()


def _no_maximum(score, table, size):
    p = score.exp()
    return p / p.sum(), p.sum().log()


def _not_divided(score, table, size):
    top = score.max()
    return (score - top).exp(), _exact(score, table, size)[1]


def _without_top(score, table, size):
    p, lse = _exact(score, table, size)
    return p, lse - score.max()


def _scales_open(*args):
    """The scales of values are read behind the end, where nobody has written."""
    found = _attend(*args)
    if args[-1] % args[1].shape[1]:
        found["out"] = torch.full_like(found["out"], torch.nan)
    return found


NAMES = ("one page", "pages in any order, the last begun", "heads that share", "the sum's logarithm", "large scores")
OUTS = (NAMES[0], NAMES[1], NAMES[2], NAMES[4])

WRONG = [
    Mistake(
        "nibbles swapped",
        lambda *a: _attend(*a, unpack=_swapped),
        "The low four bits of byte c are channel 2c, the high four are channel 2c + 1.",
        loses=NAMES,
    ),
    Mistake(
        "halves, not neighbours",
        lambda *a: _attend(*a, unpack=_halves),
        "A byte holds two neighbouring channels, 2c and 2c + 1, not c and c + d/2.",
        loses=NAMES,
    ),
    Mistake(
        "pages in their order in memory",
        lambda *a: _attend(*a, pages=lambda table: torch.arange(len(table))),
        "The table says which page comes first, which second. Read it in every step.",
        loses=NAMES,
    ),
    Mistake(
        "the first page's key scales",
        lambda *a: _attend(*a, key_page=lambda pages: pages[:1].expand(len(pages))),
        "Keys have scales and zeros for each channel of each page: load them in every step.",
        loses=(NAMES[1], NAMES[3], NAMES[4]),
    ),
    Mistake(
        "zeros forgotten",
        lambda *a: _attend(*a, zeros=False),
        "A code q stands for s · (q − z), in keys and values.",
        loses=NAMES,
    ),
    Mistake(
        "the end not masked",
        lambda *a: _attend(*a, seen=lambda length, size: -(-length // size) * size),
        "The last page may be only begun, and what lies behind `length` may be anything: mask it.",
        loses=(NAMES[1], NAMES[3], NAMES[4]),
    ),
    Mistake(
        "scales behind the end",
        _scales_open,
        "0 times NaN is NaN: a token that must not count needs a mask on its scale and zero, too.",
        loses=(NAMES[1], NAMES[4]),
    ),
    Mistake(
        "masked tokens in the sum",
        lambda *a: _attend(*a, open_=True),
        "A masked token has a score, too, that of code 0. Set it to −inf before exp.",
        loses=(NAMES[1], NAMES[3], NAMES[4]),
    ),
    Mistake(
        "only whole pages",
        lambda *a: _attend(*a, seen=lambda length, size: length // size * size),
        "A page that is only begun is read, too: cdiv(length, size) steps.",
        loses=(NAMES[1], NAMES[3], NAMES[4]),
    ),
    Mistake(
        "heads shared in turn",
        lambda *a: _attend(*a, own=lambda head, heads, kv_heads: head % kv_heads),
        "Neighbouring heads share: with 4 heads and 2 of keys, heads 0 and 1 read the first.",
        loses=NAMES[2:3],
    ),
    Mistake(
        "the first keys for all heads",
        lambda *a: _attend(*a, own=lambda *_: 0),
        "Each group of heads has keys and values of its own.",
        loses=NAMES[2:3],
    ),
    Mistake(
        "scores not scaled",
        lambda *a: _attend(*a, root=lambda d: 1.0),
        "Divide the scores by the root of d.",
        loses=NAMES,
    ),
    Mistake(
        "old sums not rescaled",
        lambda *a: _attend(*a, softmax=_not_rescaled),
        "When a page raises the maximum, multiply all that has been summed by exp(old − new): sum and outputs.",
        loses=(NAMES[1], NAMES[3], NAMES[4]),
    ),
    Mistake(
        "no maximum taken off",
        lambda *a: _attend(*a, softmax=_no_maximum),
        "e¹⁰⁰ is more than float32 can hold: take the largest score off before exp.",
        loses=NAMES[4:],
    ),
    Mistake(
        "not divided by the sum",
        lambda *a: _attend(*a, softmax=_not_divided),
        "The weights have to sum to 1: divide by the sum at the end.",
        loses=OUTS,
    ),
    Mistake(
        "the maximum left out of lse",
        lambda *a: _attend(*a, softmax=_without_top),
        "The sum was taken relative to the maximum: its logarithm is top + log(sum).",
        loses=NAMES[3:4],
    ),
    Mistake(
        "lse in bits",
        lambda *a: _attend(*a, log=1 / torch.tensor(2.0).log()),
        "The natural logarithm is asked.",
        loses=NAMES[3:4],
    ),
]


def exercise(seed):
    def case(name, offset, heads, kv_heads, d, size, pages, length, high=0.0):
        generator = torch.Generator().manual_seed(seed + offset)

        def codes():
            return torch.randint(0, 256, (pages, size, kv_heads, d // 2), generator=generator).to(torch.uint8)

        def between(low, high, *shape):
            return torch.rand(shape, generator=generator) * (high - low) + low

        count = -(-length // size)
        table = torch.cat((1 + torch.randperm(pages - 1, generator=generator), torch.tensor([0])))  # page 0 is unused
        place = table.argsort()
        q, keys, values = torch.randn(heads, d, generator=generator), codes(), codes()
        key_scale = (0.15 if high else 0.35) * between(0.5, 1.5, pages, kv_heads, d)
        key_scale *= (1 + 0.5 * place)[:, None, None]  # later pages are louder
        scales = between(0.1, 0.3, pages, size, kv_heads)
        slots = torch.arange(count * size).reshape(count, size) >= length
        unused = torch.ones(pages, size, dtype=torch.bool)
        unused[table[:count].long()] = slots
        scales[unused] = torch.nan  # nobody has written there
        zeros = between(5, 10, pages, kv_heads, d), between(5, 10, pages, size, kv_heads)
        q *= -(q @ (key_scale * zeros[0])[table[count - 1], 0]).sign()[:, None]  # a code of 0 scores above 0
        if high:  # nearly the same for all tokens: exp sees it, softmax hardly
            far = (high + place)[:, None, None] * d**0.5
            zeros[0].sub_(far * q.sign() / (key_scale * q.abs()).sum(-1, keepdim=True))
        return Case(name, q, keys, key_scale, zeros[0], values, scales, zeros[1], table.to(torch.int32), length)

    one = [case("one page of 4 tokens", 0, 1, 1, 4, 4, 2, 4), case("one page of 16", 1, 2, 1, 8, 16, 2, 16)]
    order = [
        case("three pages, the last begun", 2, 1, 1, 8, 8, 4, 19),
        case("five pages, two tokens in the last", 3, 1, 1, 4, 4, 6, 18),
    ]
    shared = [case("four heads, two of keys", 4, 4, 2, 8, 16, 2, 16)]
    large = [case("scores around 200", 6, 1, 1, 16, 8, 5, 27, high=200.0)]
    near = dict(rtol=1e-3, atol=1e-3)
    return question(
        "ps09.q4",
        "Attention over pages of four bits",
        "attend_pages(q, keys, key_scale, key_zero, values, value_scale, value_zero, table, length): one step.",
        remembered(attend_pages),
        kernels=[cache_kernel],
        properties=[
            agrees(NAMES[0], one, "Nibbles, scales, zeros, softmax.", part="out", **near),
            agrees(NAMES[1], order, "The table's order; nothing behind the end.", part="out", **near),
            agrees(NAMES[2], shared, "Neighbouring heads read the same keys.", points=0.5, part="out", **near),
            agrees(NAMES[3], one + order, "Maximum plus logarithm of the sum.", points=0.5, part="lse", **near),
            agrees(NAMES[4], large, "A running maximum.", part="out", **near),
        ],
        wrong=WRONG,
        alike=Tolerance(atol=1e-3, rtol=1e-3),
    )
