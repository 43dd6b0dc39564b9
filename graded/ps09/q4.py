"""ps09.q4: attention of one new token over a cache of four-bit pages"""

import torch
import triton
import triton.language as tl

from course_lib.checks import Case
from course_lib.checks.compare import Tolerance
from course_lib.grading import agrees, question
from course_lib.kernels import interpreter  # noqa: F401  mends the interpreter
from graded.ps09.attention import NAMES, WRONG
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


def exercise(seed):
    def case(name, offset, heads, kv_heads, d, size, pages, length, high=0.0, rise=1):
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
            far = (high + rise * place)[:, None, None] * d**0.5
            zeros[0].sub_(far * q.sign() / (key_scale * q.abs()).sum(-1, keepdim=True))
        return Case(name, q, keys, key_scale, zeros[0], values, scales, zeros[1], table.to(torch.int32), length)

    one = [case("one page of 4 tokens", 0, 1, 1, 4, 4, 2, 4), case("one page of 16", 1, 2, 1, 8, 16, 2, 16)]
    order = [
        case("three pages, the last begun", 2, 1, 1, 8, 8, 4, 19),
        case("five pages, two tokens in the last", 3, 1, 1, 4, 4, 6, 18),
    ]
    shared = [case("four heads, two of keys", 4, 4, 2, 8, 16, 2, 16)]
    large = [
        case("scores around 200", 6, 1, 1, 16, 8, 5, 27, high=200.0),
        case("scores around −200", 7, 1, 1, 16, 8, 4, 21, high=-200.0),
        case("scores that fall from page to page", 8, 1, 1, 8, 4, 5, 11, high=150.0, rise=-120),
    ]
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
