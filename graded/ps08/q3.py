"""ps08.q3: attention straight on a compressed cache"""

import torch

from course_lib.checks import Case
from course_lib.grading import Mistake, agrees, question


def latent_attention(q, c, r, wk, wv):
    """One step of MLA on its compressed cache: outputs of all heads, multiplications in two orders, cache saved."""
    heads, dn, rank = wk.shape
    n, dr, dv = len(r), r.shape[1], wv.shape[1]
    inner = torch.einsum("hd,hdr->hr", q[:, :dn], wk)  # the query, carried into the compressed space
    scores = (inner @ c.T + q[:, dn:] @ r.T) / (dn + dr) ** 0.5
    mixed = torch.softmax(scores, dim=-1) @ c
    return {
        "out": torch.einsum("hr,hdr->hd", mixed, wv),
        "absorbed": heads * (dn * rank + n * (rank + dr) + n * rank + rank * dv),
        "expanded": heads * n * (dn * rank + dv * rank + dn + dr + dv),
        "saved": 1 - (rank + dr) / (heads * (dn + dr + dv)),
    }


def _latent(q, c, r, wk, wv, scale=lambda dn, dr, rank: dn + dr, rotary=1.0, split="nope first", over=-1,
            values=lambda p, c, wv: torch.stack([p[h] @ (c @ wv[h].T) for h in range(len(wv))]), own=lambda h, hs: h,
            absorbed=None, expanded=None, saved=None):  # fmt: skip
    """The reference with one part changed, in the order that expands keys and values first."""
    heads, dn, rank = wk.shape
    (n, dr), dv = r.shape, wv.shape[1]
    plain, turned = (q[:, :dn], q[:, dn:]) if split == "nope first" else (q[:, dr:], q[:, :dr])
    scores = torch.stack([(c @ wk[own(h, heads)].T) @ plain[h] + rotary * (r @ turned[h]) for h in range(heads)])
    p = torch.softmax(scores / scale(dn, dr, rank) ** 0.5, dim=over)
    sizes = (heads, n, dn, dr, dv, rank)
    a = heads * (dn * rank + n * (rank + dr) + n * rank + rank * dv)
    e = heads * n * (dn * rank + dv * rank + dn + dr + dv)
    s = 1 - (rank + dr) / (heads * (dn + dr + dv))
    return {
        "out": values(p, c, wv),
        "absorbed": absorbed(*sizes) if absorbed else a,
        "expanded": expanded(*sizes) if expanded else e,
        "saved": saved(*sizes) if saved else s,
    }


NAMES = ("one head", "several heads", "multiplications, compressed", "multiplications, expanded", "cache saved")

WRONG = [
    Mistake(
        "scaled by the part that is not turned",
        lambda *a: _latent(*a, scale=lambda dn, dr, rank: dn),
        "The score is a product of two vectors of dn + dr numbers: divide by the root of dn + dr.",
        loses=NAMES[:2],
    ),
    Mistake(
        "scaled by the compressed size",
        lambda *a: _latent(*a, scale=lambda dn, dr, rank: rank + dr),
        "Where the product is computed changes nothing in its value: it is still that of dn + dr numbers.",
        loses=NAMES[:2],
    ),
    Mistake(
        "not scaled",
        lambda *a: _latent(*a, scale=lambda dn, dr, rank: 1),
        "Divide the scores by the root of dn + dr before softmax.",
        loses=NAMES[:2],
    ),
    Mistake(
        "the turned part forgotten",
        lambda *a: _latent(*a, rotary=0.0),
        "The last dr numbers of q meet r: position is in there.",
        loses=NAMES[:2],
    ),
    Mistake(
        "the turned part taken first",
        lambda *a: _latent(*a, split="rope first"),
        "q holds dn numbers that meet the compressed cache, then dr that meet r.",
        loses=NAMES[:2],
    ),
    Mistake(
        "the first head's keys for all",
        lambda *a: _latent(*a, own=lambda h, heads: 0),
        "The compressed cache is shared, the matrices are not: each head has its own wk[h].",
        loses=NAMES[1:2],
    ),
    Mistake(
        "the first head's values for all",
        lambda *a: _latent(*a, values=lambda p, c, wv: p @ c @ wv[0].T),
        "Each head has its own wv[h].",
        loses=NAMES[1:2],
    ),
    Mistake(
        "softmax over the heads",
        lambda *a: _latent(*a, over=0),
        "Softmax runs over the tokens, for each head by itself.",
        loses=NAMES[:2],
    ),
    Mistake(
        "the value matrix for every token",
        lambda *a: _latent(
            *a, absorbed=lambda h, n, dn, dr, dv, rank: h * (dn * rank + n * (rank + dr) + n * rank * dv + n * dv)
        ),
        "In the compressed order tokens are mixed first: wv[h] meets one vector a head, not one a token.",
        loses=NAMES[2:3],
    ),
    Mistake(
        "the query's way forgotten",
        lambda *a: _latent(*a, absorbed=lambda h, n, dn, dr, dv, rank: h * n * (2 * rank + dr)),
        "The query has to be carried into the compressed space, and the mixture out of it.",
        loses=NAMES[2:3],
    ),
    Mistake(
        "values not expanded",
        lambda *a: _latent(*a, expanded=lambda h, n, dn, dr, dv, rank: h * n * (dn * rank + dn + dr + dv)),
        "The other order builds keys and values of every token, rank multiplications for each number.",
        loses=NAMES[3:4],
    ),
    Mistake(
        "one head expanded",
        lambda *a: _latent(*a, expanded=lambda h, n, dn, dr, dv, rank: n * (dn + dv) * rank + h * n * (dn + dr + dv)),
        "Each head has keys and values of its own, so each is expanded.",
        loses=NAMES[3:4],
    ),
    Mistake(
        "only keys compared",
        lambda *a: _latent(*a, saved=lambda h, n, dn, dr, dv, rank: 1 - (rank + dr) / (h * (dn + dr))),
        "Without compression a token leaves keys and values of all heads.",
        loses=NAMES[4:],
    ),
    Mistake(
        "a turned key for every head",
        lambda *a: _latent(*a, saved=lambda h, n, dn, dr, dv, rank: 1 - (rank + h * dr) / (h * (dn + dr + dv))),
        "The turned key r is shared: it is stored once for all heads.",
        loses=NAMES[4:],
    ),
    Mistake(
        "what is left, not what is saved",
        lambda *a: _latent(*a, saved=lambda h, n, dn, dr, dv, rank: (rank + dr) / (h * (dn + dr + dv))),
        "That is the share that is left. Asked is the share saved: 1 less it.",
        loses=NAMES[4:],
    ),
    Mistake(
        "compressed for one head",
        lambda *a: latent_attention(*a) | {"absorbed": latent_attention(*a)["absorbed"] // len(a[0])},
        "Every head carries its own query in and its own mixture out: count all heads.",
        loses=NAMES[2:3],
    ),
    Mistake(
        "additions counted, too",
        lambda *a: latent_attention(*a) | {k: 2 * latent_attention(*a)[k] for k in ("absorbed", "expanded")},
        "Multiplications alone are asked: one for each pair of numbers.",
        loses=NAMES[2:4],
    ),
    Mistake(
        "turned keys not scored",
        lambda q, c, r, wk, wv: (
            latent_attention(q, c, r, wk, wv)
            | {"expanded": latent_attention(q, c, r, wk, wv)["expanded"] - len(q) * r.numel()}
        ),
        "A score multiplies all dn + dr numbers of a key, the turned ones, too.",
        loses=NAMES[3:4],
    ),
]


def exercise(seed):
    def case(name, offset, heads, n, dn, dr, dv, rank):
        generator = torch.Generator().manual_seed(seed + offset)
        shapes = ((heads, dn + dr), (n, rank), (n, dr), (heads, dn, rank), (heads, dv, rank))
        q, c, r, wk, wv = (torch.randn(shape, generator=generator) for shape in shapes)
        return Case(name, 1.5 * q, c, 1.5 * r, wk, wv)

    one = [case("one head, two tokens", 0, 1, 2, 2, 1, 2, 3), case("one head, seven tokens", 1, 1, 7, 4, 3, 5, 6)]
    several = [
        case("two heads", 2, 2, 4, 3, 2, 3, 4),
        case("five heads, twelve tokens", 3, 5, 12, 4, 3, 2, 9),
        case("four heads, more queries than rank", 4, 4, 9, 6, 4, 5, 5),
    ]
    every = one + several
    near = dict(rtol=1e-4, atol=1e-4)
    return question(
        "ps08.q3",
        "Attention straight on a compressed cache",
        "latent_attention(q, c, r, wk, wv): MLA's outputs, multiplications in two orders, and the cache it saves.",
        latent_attention,
        properties=[
            agrees(NAMES[0], one, "Two parts of a score, one scale, one softmax.", points=0.5, part="out", **near),
            agrees(NAMES[1], several, "Shared cache, matrices of each head.", part="out", **near),
            agrees(NAMES[2], every, "Query in, scores, mixture, value out.", part="absorbed"),
            agrees(NAMES[3], every, "Keys and values of each token and head first.", part="expanded"),
            agrees(NAMES[4], every, "rank + dr against all heads.", points=0.5, part="saved", rtol=1e-6),
        ],
        wrong=WRONG,
    )
