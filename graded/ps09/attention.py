"""ps09.q4: what wrong kernels do, on the unpacked cache"""

import functools

import torch

from course_lib.grading import Mistake


def _neighbours(codes):
    return torch.stack((codes & 15, codes >> 4), dim=-1).flatten(-2)


def _whole(top, total):
    return top + total.log()


def _from(top=torch.max, divided=True, told=_whole):
    """Softmax relative to top(score), perhaps not divided; told(top, sum) is given for lse."""

    def softmax(score, size):
        p = (score - top(score)).exp()
        return p / (p.sum() if divided else 1), told(torch.as_tensor(top(score)), p.sum())

    return softmax


EXACT = _from()


def _code(q, s, z):
    return (q - z) * s


def _attend(q, keys, key_scale, key_zero, values, value_scale, value_zero, table, length, unpack=_neighbours,
            pages=lambda table: table, own=lambda head, heads, kv_heads: head // (heads // kv_heads), code=_code,
            root=lambda d: d**0.5, key_page=lambda pages: pages, softmax=EXACT, open_=False, behind=True, log=1.0,
            seen=lambda length, size: length, value=lambda s: s, value_code=None):  # fmt: skip
    """The reference with one part changed, on the unpacked cache."""
    (heads, d), (_, size, kv_heads, _) = q.shape, keys.shape
    count = -(-length // size)
    left = seen(length, size)
    at = pages(table[:count]).long()
    from_page = key_page(at)
    k = code(unpack(keys[at]).float(), key_scale[from_page][:, None], key_zero[from_page][:, None])
    value_scale, value_zero = value(value_scale[at])[..., None], value_zero[at][..., None]
    v = (value_code or code)(unpack(values[at]).float(), value_scale, value_zero)
    k, v = k.flatten(0, 1), v.flatten(0, 1)  # (tokens, kv_heads, d)
    out, lse = torch.empty(heads, d), torch.empty(heads)
    for head in range(heads):
        h = own(head, heads, kv_heads)
        score = (k[:, h] @ q[head]) / root(d)
        if open_ is not False:  # codes of 0 beyond the end count in the sum
            blank = open_ * code(0.0, key_scale[from_page], key_zero[from_page])[:, h] @ q[head] / root(d)
            score = torch.where(torch.arange(len(score)) < left, score, blank.repeat_interleave(size))
            p, lse[head] = softmax(score, size)
        else:
            p, lse[head] = softmax(score[:left], size)
        out[head] = p[:left] @ v[:left, h]
    out = out if behind or length % size == 0 else torch.full_like(out, torch.nan)
    return {"out": out, "lse": lse * log}


def _running(sums=True, outputs=True, own=False):
    """A softmax page after page: what of it is rescaled, and whether each page goes by its own maximum."""

    def softmax(score, size):
        top, total, weights = torch.tensor(-torch.inf), torch.zeros(()), torch.zeros(0)
        for part in score.split(size):
            new = part.max() if own else torch.maximum(top, part.max())
            p, old = (part - new).exp(), (top - new).exp()
            total = total * (old if sums else 1) + p.sum()
            weights = torch.cat((weights * (old if outputs else 1), p))
            top = new
        return weights / total, _whole(top, total)

    return softmax


def _divided_each(score, size):
    """Each page's share divided by the page's own sum, and added up."""
    top, weights = torch.tensor(-torch.inf), torch.zeros(0)
    for part in score.split(size):
        new = torch.maximum(top, part.max())
        p = (part - new).exp()
        weights, top = torch.cat((weights * (top - new).exp(), p / p.sum())), new
    return weights, EXACT(score, size)[1]


NAMES = ("one page", "pages in any order, the last begun", "heads that share", "the sum's logarithm", "large scores")
OUTS = (NAMES[0], NAMES[1], NAMES[2], NAMES[4])
LATER = (NAMES[1], NAMES[3], NAMES[4])
KNOWN = (  # name, what is changed, what to say, which properties it loses
    ("nibbles swapped", dict(unpack=lambda codes: _neighbours(codes >> 4 | codes << 4)),
     "The low four bits of byte c are channel 2c, the high four are channel 2c + 1.", NAMES),
    ("halves, not neighbours", dict(unpack=lambda codes: torch.cat((codes & 15, codes >> 4), dim=-1)),
     "A byte holds two neighbouring channels, 2c and 2c + 1, not c and c + d/2.", NAMES),
    ("the low code not cut out", dict(unpack=lambda codes: torch.stack((codes, codes >> 4), dim=-1).flatten(-2)),
     "The byte still holds the high code above the low one: & 15.", NAMES),
    ("the low code twice", dict(unpack=lambda codes: (codes & 15).repeat_interleave(2, -1)),
     "The odd channel is in the high four bits: >> 4.", NAMES),
    ("pages in their order in memory", dict(pages=lambda table: torch.arange(len(table))),
     "The table says which page comes first, which second. Read it in every step.", NAMES),
    ("the first page's key scales", dict(key_page=lambda pages: pages[:1].expand(len(pages))),
     "Keys have scales and zeros for each channel of each page: load them in every step.", LATER),
    ("key scales by place in the text", dict(key_page=lambda pages: torch.arange(len(pages))),
     "Scales and zeros of keys lie where the page lies: the number from the table finds them, too.", NAMES),
    ("key zeros forgotten", dict(code=lambda q, s, z: s * q, value_code=_code),
     "A key's code q stands for s · (q − z), too. Within a page that moves all scores alike; pages differ.", LATER),
    ("value zeros forgotten", dict(value_code=lambda q, s, z: s * q),
     "A value's code q stands for s · (q − z), too.", OUTS),
    ("zeros forgotten", dict(code=lambda q, s, z: s * q),
     "A code q stands for s · (q − z), in keys and values.", NAMES),
    ("zeros taken off after the scale", dict(code=lambda q, s, z: s * q - z),
     "The zero point is a code: take it off before you multiply, s · (q − z).", NAMES),
    ("zeros added", dict(code=lambda q, s, z: s * (q + z)),
     "A code q stands for s · (q − z): the zero point is taken off.", NAMES),
    ("the end not masked", dict(seen=lambda length, size: -(-length // size) * size),
     "The last page may be only begun, and what lies behind `length` may be anything: mask it.", LATER),
    ("scales behind the end", dict(behind=False),
     "0 times NaN is NaN: a token that must not count needs a mask on its scale and zero, too.", NAMES[1::3]),
    ("masked tokens in the sum", dict(open_=1.0),
     "A masked token has a score, too, that of code 0. Set it to −inf before exp.", LATER),
    ("masked scores of 0", dict(open_=0.0), "e⁰ is 1, and counts: a score that must not count is −inf.", LATER),
    ("the last token left out", dict(seen=lambda length, size: length - 1),
     "Tokens are counted from 0, and the last one has the number length − 1: the mask is t < length.", NAMES),
    ("only whole pages", dict(seen=lambda length, size: length // size * size),
     "A page that is only begun is read, too: cdiv(length, size) steps.", LATER),
    ("only the first page", dict(seen=lambda length, size: min(length, size)),
     "A text has as many pages as it needs: cdiv(length, size) steps.", LATER),
    ("a value scale for each page", dict(value=lambda s: s[:, :1].expand_as(s)),
     "Values have a scale and a zero for each token, keys for each channel of a page.", OUTS),
    ("heads shared in turn", dict(own=lambda head, heads, kv_heads: head % kv_heads),
     "Neighbouring heads share: with 4 heads and 2 of keys, heads 0 and 1 read the first.", NAMES[2:3]),
    ("the first keys for all heads", dict(own=lambda *_: 0),
     "Each group of heads has keys and values of its own.", NAMES[2:3]),
    ("scores not scaled", dict(root=lambda d: 1.0), "Divide the scores by the root of d.", NAMES),
    ("scores times the root of d", dict(root=lambda d: d**-0.5), "*Divide* the scores by the root of d.", NAMES),
    ("scores divided by d", dict(root=lambda d: d), "Divide by the *root* of d.", NAMES),
    ("old sums not rescaled", dict(softmax=_running(sums=False, outputs=False)),
     "When a page raises the maximum, multiply all that has been summed by exp(old − new): sum and outputs.", LATER),
    ("outputs not rescaled", dict(softmax=_running(outputs=False)),
     "The outputs so far, like the sum, are relative to the old maximum: multiply by exp(old − new).", NAMES[1::3]),
    ("the sum not rescaled", dict(softmax=_running(sums=False)),
     "The sum so far was relative to the old maximum, as the outputs were: multiply it by exp(old − new).", LATER),
    ("no maximum taken off", dict(softmax=_from(lambda score: 0.0)),
     "e¹⁰⁰ is more than float32 can hold: take the largest score off before exp.", NAMES[4:]),
    ("a maximum of at least 0", dict(softmax=_from(lambda score: score.max().clamp(min=0))),
     "All scores may lie far below 0, and e⁻²⁰⁰ is 0 in float32: begin with −inf, not with 0.", NAMES[4:]),
    ("not divided by the sum", dict(softmax=_from(divided=False)),
     "The weights have to sum to 1: divide by the sum at the end.", OUTS),
    ("the maximum left out of lse", dict(softmax=_from(told=lambda top, total: total.log())),
     "The sum was taken relative to the maximum: its logarithm is top + log(sum).", NAMES[3:4]),
    ("the maximum for lse", dict(softmax=_from(told=lambda top, total: top)),
     "The maximum is only the largest term: add the logarithm of the sum that was taken relative to it.", NAMES[3:4]),
    ("the sum for lse", dict(softmax=_from(told=lambda top, total: total)),
     "lse is a logarithm, and of the whole sum: top + log(sum).", NAMES[3:4]),
    ("log2 in lse", dict(softmax=_from(told=lambda top, total: top + total.log2())),
     "exp and log2 have two bases: take tl.log.", NAMES[3:4]),
    ("each page's own maximum", dict(softmax=_running(own=True)),
     "Where scores fall, exp(old − new) overflows: keep the largest maximum so far, tl.maximum(top, …).", NAMES[4:]),
    ("divided in every step", dict(softmax=_divided_each),
     "A page's weights do not sum to 1 by themselves: add up first, and divide once, by the sum of all.", NAMES[1::3]),
    ("lse in bits", dict(log=1 / torch.tensor(2.0).log()), "The natural logarithm is asked.", NAMES[3:4]),
)  # fmt: skip
WRONG = [Mistake(n, functools.partial(_attend, **changed), said, loses=lost) for n, changed, said, lost in KNOWN]
