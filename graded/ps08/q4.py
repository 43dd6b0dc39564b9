"""ps08.q4: what a cache may forget"""

import torch

from course_lib.checks import Case
from course_lib.grading import Mistake, agrees, question


def keep_ends(q, k, v, sinks, recent):
    """Attention that keeps the first and the last tokens only: the mass kept, new outputs, their error, its origin."""
    group, n = len(q) // len(k), k.shape[1]
    k, v = k.repeat_interleave(group, dim=0), v.repeat_interleave(group, dim=0)
    p = torch.softmax((k @ q[:, :, None])[..., 0] / q.shape[1] ** 0.5, dim=-1)  # (heads, tokens)
    at = torch.arange(n)
    stays = ((at < sinks) | (at >= n - recent)).to(p.dtype)
    mass = (p * stays).sum(dim=-1)
    inside = ((p * stays)[..., None] * v).sum(dim=1) / mass[:, None]
    away = p * (1 - stays)
    outside = (away[..., None] * v).sum(dim=1) / away.sum(dim=-1, keepdim=True).clamp(min=1e-30)
    whole = (p[..., None] * v).sum(dim=1)
    return {
        "mass": mass,
        "out": inside,
        "error": (inside - whole).norm(dim=-1),
        "gap": (inside - outside).norm(dim=-1) * (stays == 0).any(),
    }


def _consecutive(t, heads):
    return torch.cat([t[i : i + 1].expand(heads // len(t), -1, -1) for i in range(len(t))])


def _masked(n, sinks, recent):
    return torch.tensor([i < sinks or i >= n - recent for i in range(n)])


def _ends(q, k, v, sinks, recent, spread=_consecutive, root=lambda d: d**0.5, keeps=_masked, share=lambda p, m: p / m,
          mass=None, error=lambda off, whole: off.norm(dim=-1), gap=None):  # fmt: skip
    """The reference with one part changed; keeps gives a mask, share the weights of what stays."""
    k, v = spread(k, len(q)), spread(v, len(q))
    p = torch.einsum("hd,hnd->hn", q, k).div(root(q.shape[1])).softmax(-1)
    stays = keeps(k.shape[1], sinks, recent)
    left = p[:, stays].sum(-1)
    inside = torch.einsum("hn,hnd->hd", share(p[:, stays], left[:, None]), v[:, stays])
    whole = torch.einsum("hn,hnd->hd", p, v)
    away = p[:, ~stays]
    outside = torch.einsum("hn,hnd->hd", away / away.sum(-1, keepdim=True), v[:, ~stays])
    distance = (inside - outside).norm(dim=-1) if (~stays).any() else torch.zeros(len(q))
    return {
        "mass": left if mass is None else mass(p, sinks, recent),
        "out": inside,
        "error": error(inside - whole, whole),
        "gap": distance if gap is None or not (~stays).any() else gap(inside, p, v, stays),
    }


def _counted_twice(p, sinks, recent):
    n = p.shape[1]
    return p[:, :sinks].sum(-1) + p[:, max(0, n - recent) :].sum(-1)


def _slice_of_zero(n, sinks, recent):
    """t[-0:] is all of t."""
    stays = torch.zeros(n, dtype=torch.bool)
    stays[:sinks] = True
    stays[-recent:] = True
    return stays


NAMES = ("mass", "outputs", "error", "gap", "shared heads", "everything kept, and nothing recent")

WRONG = [
    Mistake(
        "not divided by the mass",
        lambda *a: _ends(*a, share=lambda p, m: p),
        "Softmax over what is left sums to 1 again: divide the weights that stay by their sum.",
        loses=(*NAMES[1:5], NAMES[5]),
    ),
    Mistake(
        "all that is kept counts alike",
        lambda *a: _ends(*a, share=lambda p, m: torch.ones_like(p) / p.shape[1]),
        "The tokens that stay keep their weights in proportion to each other.",
        loses=NAMES[1:],
    ),
    Mistake(
        "scores not scaled",
        lambda *a: _ends(*a, root=lambda d: 1),
        "Divide the scores by the root of the head's size.",
        loses=NAMES,
    ),
    Mistake(
        "heads shared in turn",
        lambda *a: _ends(*a, spread=lambda t, heads: t.repeat(heads // len(t), 1, 1)),
        "Neighbours share: with 4 heads and 2 of keys, heads 0 and 1 read the first, 2 and 3 the second.",
        loses=NAMES[4:5],
    ),
    Mistake(
        "the first keys for all heads",
        lambda *a: _ends(*a, spread=lambda t, heads: t[:1].expand(heads, -1, -1)),
        "Each group of heads has keys and values of its own.",
        loses=NAMES,
    ),
    Mistake(
        "only the recent ones kept",
        lambda *a: _ends(*a, keeps=lambda n, sinks, recent: _masked(n, 0, recent or n)),
        "The first `sinks` tokens stay, too: much of the attention rests on them.",
        loses=NAMES,
    ),
    Mistake(
        "only the sinks kept",
        lambda *a: _ends(*a, keeps=lambda n, sinks, recent: _masked(n, sinks or n, 0)),
        "The last `recent` tokens stay, too.",
        loses=NAMES,
    ),
    Mistake(
        "one recent token too few",
        lambda *a: _ends(*a, keeps=lambda n, sinks, recent: _masked(n, sinks, recent - 1)),
        "The last `recent` tokens are those from n − recent on.",
        loses=NAMES[:5],
    ),
    Mistake(
        "counted twice where both ends meet",
        lambda *a: _ends(*a, mass=_counted_twice),
        "A token that is among the first and among the last stays once: no mass is above 1.",
        loses=NAMES[5:],
    ),
    Mistake(
        "[-0:] is everything",
        lambda *a: _ends(*a, keeps=_slice_of_zero),
        "With recent = 0 the slice [-0:] takes all tokens, not none.",
        loses=NAMES[5:],
    ),
    Mistake(
        "relative error",
        lambda *a: _ends(*a, error=lambda off, whole: off.norm(dim=-1) / whole.norm(dim=-1)),
        "The error is the norm of the difference, not divided by anything.",
        loses=(NAMES[2], NAMES[4], NAMES[5]),
    ),
    Mistake(
        "squared error",
        lambda *a: _ends(*a, error=lambda off, whole: off.square().sum(-1)),
        "Take the root: a norm, not its square.",
        loses=(NAMES[2], NAMES[4], NAMES[5]),
    ),
    Mistake(
        "plain mean of what is gone",
        lambda *a: _ends(*a, gap=lambda inside, p, v, stays: (inside - v[:, ~stays].mean(1)).norm(dim=-1)),
        "The mean of what is gone is weighted by the attention that it had.",
        loses=(NAMES[3], NAMES[4], NAMES[5]),
    ),
    Mistake(
        "a sum of what is gone",
        lambda *a: _ends(
            *a, gap=lambda inside, p, v, stays: (inside - (p[:, ~stays, None] * v[:, ~stays]).sum(1)).norm(dim=-1)
        ),
        "A mean: divide by the mass that is gone.",
        loses=(NAMES[3], NAMES[4], NAMES[5]),
    ),
    Mistake(
        "the mass that goes",
        lambda *a: keep_ends(*a) | {"mass": 1 - keep_ends(*a)["mass"]},
        "mass is the share of the tokens that stay.",
        loses=(NAMES[0], NAMES[4], NAMES[5]),
    ),
    Mistake(
        "one norm for all heads",
        lambda *a: keep_ends(*a) | {k: keep_ends(*a)[k].norm().expand(len(a[0])) for k in ("error", "gap")},
        "Each head has a norm of its own: norm(dim=-1).",
        loses=NAMES[2:],
    ),
    Mistake(
        "a sink too many",
        lambda q, k, v, sinks, recent: keep_ends(q, k, v, sinks + 1, recent),
        "The first `sinks` tokens are those with numbers below sinks: <, not ≤.",
        loses=NAMES,
    ),
]


def exercise(seed):
    def case(name, offset, heads, kv_heads, n, d, sinks, recent):
        generator = torch.Generator().manual_seed(seed + offset)
        q, k, v = (torch.randn(s, generator=generator) for s in ((heads, d), (kv_heads, n, d), (kv_heads, n, d)))
        return Case(name, 1.5 * q, k, v, sinks, recent)

    plain = [
        case("one head, five tokens", 0, 1, 1, 5, 3, 1, 2),
        case("two heads with keys of their own", 1, 2, 2, 12, 4, 2, 3),
        case("three heads, thirty tokens", 2, 3, 3, 30, 8, 4, 9),
    ]
    shared = [
        case("four heads, two of keys", 3, 4, 2, 9, 4, 1, 3),
        case("six heads, two of keys", 4, 6, 2, 14, 5, 3, 4),
    ]
    ends = [
        case("both ends meet", 5, 2, 2, 6, 4, 4, 4),
        case("nothing recent", 6, 2, 2, 8, 4, 3, 0),
        case("everything is recent", 7, 1, 1, 5, 3, 2, 9),
    ]
    near = dict(rtol=1e-4, atol=1e-5)
    return question(
        "ps08.q4",
        "What a cache may forget",
        "keep_ends(q, k, v, sinks, recent): attention on the first and last tokens: mass, outputs, error, gap.",
        keep_ends,
        properties=[
            agrees(NAMES[0], plain, "The weights of what stays, summed.", points=0.5, part="mass", **near),
            agrees(NAMES[1], plain, "Softmax over what stays.", part="out", **near),
            agrees(NAMES[2], plain, "The norm of the difference.", points=0.5, part="error", **near),
            agrees(NAMES[3], plain, "Two weighted means.", part="gap", **near),
            agrees(NAMES[4], shared, "Neighbouring heads share.", points=0.5, **near),
            agrees(NAMES[5], ends, "No error where nothing is gone.", points=0.5, **near),
        ],
        wrong=WRONG,
    )
