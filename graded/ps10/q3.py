"""ps10.q3: an error bar for text that comes in documents"""

import torch

from course_lib.checks import Case
from course_lib.grading import Mistake, agrees, question


def text_score(bits, sizes, document):
    """Bits per byte, its standard error over documents and over tokens, and how many tokens these are worth."""

    def error(n, d, ratio):
        count = len(n)
        return (count / (count - 1) * (n - ratio * d).square().sum()).sqrt() / d.sum()

    sizes = sizes.double()
    ratio = bits.sum() / sizes.sum()
    _, at = torch.unique(document, return_inverse=True)
    empty = torch.zeros(int(at.max()) + 1, dtype=torch.float64)
    whole = error(empty.index_add(0, at, bits), empty.index_add(0, at, sizes), ratio)
    naive = error(bits, sizes, ratio)
    return {
        "bpb": ratio.item(),
        "error": whole.item(),
        "naive": naive.item(),
        "worth": (len(bits) * (naive / whole) ** 2).item(),
    }


def _score(bits, sizes, document, ratio=lambda b, s: b.sum() / s.sum(), lost=1, groups=None, over=lambda s: s.sum(),
           apart=lambda n, d, r: (n - r * d).square().sum(), worth=lambda n, a, b: n * (a / b) ** 2):  # fmt: skip
    """The reference with one part changed, document by document."""
    sizes = sizes.double()
    ids = sorted(set(document.tolist())) if groups is None else groups(document)
    n = torch.stack([bits[document == i].sum() for i in ids])
    d = torch.stack([sizes[document == i].sum() for i in ids])
    r = ratio(bits, sizes)
    true = bits.sum() / sizes.sum()

    def error(n, d):
        return (len(n) / (len(n) - lost) * apart(n, d, true)).sqrt() / over(d)

    whole, naive = error(n, d), error(bits, sizes)
    return {
        "bpb": float(r),
        "error": float(whole),
        "naive": float(naive),
        "worth": float(worth(len(bits), naive, whole)),
    }


def _of_documents(bits, sizes, document):
    """The mean of the documents' own ratios, and its error."""
    found = _score(bits, sizes, document)
    own = torch.stack([bits[document == i].sum() / sizes[document == i].sum() for i in document.unique()])
    error = own.std() / len(own) ** 0.5
    worth = len(bits) * (found["naive"] / error) ** 2
    return found | {"bpb": own.mean().item(), "error": error.item(), "worth": worth.item()}


def _gaps(document):
    """Documents 0 to the last, those that are not there, too."""
    return list(range(int(document.max()) + 1))


NAMES = ("bits per byte", "its error over documents", "its error over tokens", "worth")

WRONG = [
    Mistake(
        "mean of the tokens' ratios",
        lambda *a: _score(*a, ratio=lambda b, s: (b / s).mean()),
        "All bits divided by all bytes: a token of one byte weighs less than one of ten.",
        loses=NAMES[:1],
    ),
    Mistake(
        "bits a token",
        lambda *a: _score(*a, ratio=lambda b, s: b.mean()),
        "Bits per byte, so that models with other tokens can be compared: divide by the bytes.",
        loses=NAMES[:1],
    ),
    Mistake(
        "mean of the documents' ratios",
        _of_documents,
        "All bits divided by all bytes; the error is that of this ratio, not of a mean of ratios.",
        loses=(NAMES[0], NAMES[1], NAMES[3]),
    ),
    Mistake(
        "divided by the count",
        lambda *a: _score(*a, lost=0),
        "The ratio was taken from the same numbers: C / (C − 1).",
        loses=NAMES[1:],
    ),
    Mistake(
        "documents that are not there",
        lambda *a: _score(*a, groups=_gaps),
        "Numbers of documents may have gaps: count those that occur.",
        loses=(NAMES[1], NAMES[3]),
    ),
    Mistake(
        "differences from the mean",
        lambda *a: _score(*a, apart=lambda n, d, r: (n - n.mean()).square().sum()),
        "Long documents have more bits because they are long: compare each with r times its own bytes.",
        loses=NAMES[1:],
    ),
    Mistake(
        "not divided by the bytes",
        lambda *a: _score(*a, over=lambda d: d.mean()),
        "The sum of the deviations is divided by all bytes.",
        loses=NAMES[1:],
    ),
    Mistake(
        "the root of the worth",
        lambda *a: _score(*a, worth=lambda n, naive, whole: n * naive / whole),
        "An error falls with the root of the number: the square of the quotient counts.",
        loses=NAMES[3:],
    ),
    Mistake(
        "the worth upside down",
        lambda *a: _score(*a, worth=lambda n, naive, whole: n * (whole / naive) ** 2),
        "The larger the error over documents, the fewer tokens they are worth.",
        loses=NAMES[3:],
    ),
]


def exercise(seed):
    def case(name, offset, lengths, ids, spread):
        generator = torch.Generator().manual_seed(seed + offset)
        document = torch.cat([torch.full((n,), i) for n, i in zip(lengths, ids, strict=True)])
        level = torch.rand(max(ids) + 1, generator=generator, dtype=torch.float64) * spread + 1
        sizes = torch.randint(1, 9, (len(document),), generator=generator)
        noise = torch.rand(len(document), generator=generator, dtype=torch.float64) + 0.5
        order = torch.randperm(len(document), generator=generator)
        bits = level[document] * sizes * noise
        return Case(name, bits[order], sizes[order], document[order])

    cases = [
        case("three documents", 0, (4, 6, 9), (0, 1, 3), 2.0),
        case("eight documents, numbers with gaps", 1, (5, 30, 12, 7, 20, 3, 9, 14), (2, 3, 5, 8, 9, 11, 14, 15), 1.0),
        case("documents alike", 2, (20, 20, 20, 20, 20), (1, 2, 4, 5, 6), 0.1),
    ]
    near = dict(rtol=1e-7)
    return question(
        "ps10.q3",
        "An error bar for text that comes in documents",
        "text_score(bits, sizes, document): bits per byte, two standard errors, and what the tokens are worth.",
        text_score,
        properties=[
            agrees(NAMES[0], cases, "All bits over all bytes.", part="bpb", **near),
            agrees(NAMES[1], cases, "Documents are the independent pieces.", part="error", **near),
            agrees(NAMES[2], cases, "As if each token were a document.", part="naive", **near),
            agrees(NAMES[3], cases, "Tokens times the squared quotient.", part="worth", **near),
        ],
        wrong=WRONG,
    )
