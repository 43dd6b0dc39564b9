"""ps04.q1: a Hessian from batches with padding"""

import torch

from course_lib.checks import Case
from course_lib.grading import Mistake, agrees, question


def streamed_hessian(batches):
    """H = 2/n · Σ xᵀx, float32 (in, in), over the n real tokens of all pairs (x, real) in the list `batches`."""
    total, n = 0.0, 0
    for x, real in batches:
        tokens = x[real].float()
        total = total + tokens.T @ tokens
        n += len(tokens)
    return 2 / n * total


def _streamed(batches, real=lambda r: r, count=lambda x, r: int(r.sum()), factor=2.0, whole=True, dtype=torch.float32):
    """The reference with one part changed."""
    total, n = 0.0, 0
    for x, mask in batches:
        tokens = x[real(mask)].to(dtype)
        total = total + tokens.T @ tokens
        n += count(x, mask)
    return (factor / (n if whole else 1) * total).float()


def _mean_of_batches(batches, empty=True):
    """Each batch weighs the same; `empty` keeps batches without a token out."""
    kept = [(x, r) for x, r in batches if r.any() or not empty]
    return sum(streamed_hessian([pair]) for pair in kept) / len(kept)


def _weighted_means(batches):
    """Right, but 0/0 where a batch holds no token."""
    n = sum(int(r.sum()) for _, r in batches)
    parts = [(int(r.sum()), x[r].float()) for x, r in batches]
    return sum(m / n * (2 * t.T @ t / torch.tensor(m)) for m, t in parts)


def _times_mask(batches):
    """Padding multiplied by 0, which leaves NaN what it is."""
    kept = [((x.float() * r[..., None]).flatten(0, 1), r.flatten()) for x, r in batches]
    return 2 / sum(int(r.sum()) for _, r in kept) * sum(t.T @ t for t, _ in kept)


def _last_batch(batches):
    return streamed_hessian([pair for pair in batches if pair[1].any()][-1:])


NAMES = ("one batch", "padding does not count", "batches of several sizes", "float16 inputs, and a batch of nothing")


def _half_products(batches):
    """Products in float16, sums of batches in float32."""
    n = sum(int(r.sum()) for _, r in batches)
    return 2 / n * sum((x[r].T @ x[r]).float() for x, r in batches)


def _rows_alike(batches):
    rows = [[(x[i : i + 1], r[i : i + 1])] for x, r in batches for i in range(len(x)) if r[i].any()]
    return sum(streamed_hessian(row) for row in rows) / len(rows)


def _nan_to_zero(batches):
    kept = [(x.nan_to_num(), torch.ones_like(r)) for x, r in batches]
    return streamed_hessian(kept) * sum(r.numel() for _, r in batches) / sum(int(r.sum()) for _, r in batches)


def _last_count(batches):
    n = [int(r.sum()) for _, r in batches]
    return streamed_hessian(batches) * torch.tensor(sum(n)) / torch.tensor(n[-1])


WRONG = [
    Mistake(
        "padding read as text",
        lambda b: _streamed(b, real=torch.ones_like, count=lambda x, r: r.numel()),
        "Padding holds whatever was left in memory: x[real] takes the real tokens only.",
        loses=NAMES[1:],
    ),
    Mistake(
        "padding counted in n",
        lambda b: _streamed(b, count=lambda x, r: r.numel()),
        "n is the number of real tokens, not of all places in the batch.",
        loses=NAMES[1:],
    ),
    Mistake(
        "padding times 0",
        _times_mask,
        "0 · NaN is NaN: take the real tokens out with x[real] instead of multiplying the others away.",
        loses=NAMES[1:2],
    ),
    Mistake(
        "the mean of the batches' means",
        _mean_of_batches,
        "A short batch then counts as much as a long one. Add up xᵀx and n, and divide once.",
        loses=NAMES[2:],
    ),
    Mistake(
        "0 / 0 where a batch is all padding",
        _weighted_means,
        "A batch without a real token has no mean. Add up sums instead of averaging means.",
        loses=NAMES[3:],
    ),
    Mistake(
        "only the last batch",
        _last_batch,
        "The sum begins anew with every batch.",
        loses=NAMES[2:],
    ),
    Mistake(
        "added up in float16",
        lambda b: _streamed(b, dtype=b[0][0].dtype),
        "float16 ends at 65504, and squares of loud inputs add up to more. Convert first.",
        loses=NAMES[3:],
    ),
    Mistake(
        "not averaged",
        lambda b: _streamed(b, whole=False),
        "Divide by the number of real tokens.",
        loses=NAMES,
    ),
    Mistake(
        "the factor 2 forgotten",
        lambda b: _streamed(b, factor=1.0),
        "H is the second derivative of a square: 2/n.",
        loses=NAMES,
    ),
    Mistake(
        "products in float16",
        _half_products,
        "A product of float16 is float16, which ends at 65504 and rounds: call .float() before it.",
        loses=NAMES[3:],
    ),
    Mistake(
        "every row alike",
        _rows_alike,
        "A row of one token then counts as much as a long one. Add up xᵀx over tokens, and divide by n once.",
        loses=NAMES[1:],
    ),
    Mistake(
        "rows counted, not tokens",
        lambda b: _streamed(b, count=lambda x, r: len(x)),
        "n is the number of real tokens; x.shape[0] is the number of rows of a batch.",
        loses=NAMES,
    ),
    Mistake(
        "padding made 0 only where it is NaN",
        _nan_to_zero,
        "Padding holds anything, not only NaN: ask `real`, not the values.",
        loses=NAMES[1:],
    ),
    Mistake(
        "the first batch only",
        lambda b: streamed_hessian(b[:1]),
        "The list may hold several pairs: add up all of them.",
        loses=NAMES[2:],
    ),
    Mistake(
        "the count of the last batch",
        _last_count,
        "n counts the tokens of all batches: += in the loop, not =.",
        loses=NAMES[2:],
    ),
    Mistake(
        "the mask upside down",
        lambda b: _streamed(b, real=torch.logical_not, count=lambda x, r: int((~r).sum())),
        "real is True where there is a token: x[real] are the tokens, x[~real] is the padding.",
        loses=NAMES,
    ),
]


def exercise(seed):
    generator = torch.Generator().manual_seed(seed)

    def batch(rows, length, cols, lengths, loud=1.0, dtype=torch.float32, left=9.0):
        x = loud * torch.randn(rows, length, cols, generator=generator)
        real = torch.arange(length)[None] < torch.tensor(lengths)[:, None]
        x[~real] = left * loud  # what was left in memory
        return x.to(dtype), real

    one = [
        Case("a batch of two by three", [batch(2, 3, 2, [3, 3])]),
        Case("a batch of three rows", [batch(3, 5, 4, [5, 5, 5])]),
    ]
    padded = [
        Case("rows of 4, 1 and 2", [batch(3, 4, 3, [4, 1, 2])]),
        Case("hardly anything", [batch(2, 6, 3, [1, 0])]),
        Case("padding that is NaN", [batch(2, 3, 2, [3, 2], left=torch.nan)]),
    ]
    several = [
        Case("a long batch and a short one", [batch(4, 6, 3, [6, 6, 5, 2]), batch(1, 3, 3, [2], 3.0)]),
        Case("three batches", [batch(1, 2, 4, [1]), batch(3, 7, 4, [7, 4, 6], 0.5), batch(2, 5, 4, [5, 1], 2.0)]),
    ]
    half = torch.float16
    ends = [
        Case("float16", [batch(4, 8, 3, [8, 8, 8, 8], 90.0, half), batch(2, 8, 3, [5, 8], 50.0, half)]),
        Case("a batch of nothing", [batch(2, 4, 3, [4, 2]), batch(2, 4, 3, [0, 0]), batch(1, 4, 3, [3], 2.0)]),
    ]
    near = dict(rtol=1e-4, atol=1e-5)
    return question(
        "ps04.q1",
        "A Hessian from batches with padding",
        "streamed_hessian(batches) is H = 2/n · Σ xᵀx over the n real tokens of all pairs (x, real).",
        streamed_hessian,
        properties=[
            agrees(NAMES[0], one, "2/n · xᵀx.", **near),
            agrees(NAMES[1], padded, "x[real] are the tokens, and n is their number.", **near),
            agrees(NAMES[2], several, "Every token counts the same, whatever batch it came in.", **near),
            agrees(NAMES[3], ends, "Sums are kept in float32.", **near),
        ],
        wrong=WRONG,
    )
