"""ps05.q5: how many columns to spare?"""

import torch

from course_lib import Scheme, quantize
from course_lib.checks import Case
from course_lib.grading import Mistake, agrees, question


def spare(w, x, x_new, bits, undo, budget_bytes):
    """The fewest loud columns in float16 that undo this share of the error on x; None where they do not fit."""
    order = x.abs().mean(dim=0).argsort(descending=True)
    for k in range(w.shape[1]):
        rest = order[k:].sort().values
        stored = quantize(w[:, rest], Scheme.int(bits, scale_dtype=torch.float16))
        off = w.half().float() - w
        off[:, rest] = stored.dequantize() - w[:, rest]
        errors = [(t @ off.T).square().sum().item() for t in (x, x_new)]
        if k == 0:
            plain = errors
        undone = [1 - e / p for e, p in zip(errors, plain, strict=True)]
        nbytes = stored.nbytes + k * (2 * len(w) + 4)
        if undone[0] >= undo:
            found = {"k": k, "bytes": nbytes, "bits": 8 * nbytes / w.numel(), "undone": undone[1]}
            return found if nbytes <= budget_bytes else None
    return None


def _loud(w, x):
    return x.abs().mean(dim=0).argsort(descending=True)


def _all_ranged(w, rest, scheme):
    """The spared columns still widen every row's range."""
    return quantize(w, scheme).dequantize()[:, rest]


def _own_range(w, rest, scheme):
    return quantize(w[:, rest], scheme).dequantize()


def _spare(w, x, x_new, bits, undo, budget, order=_loud, kept=_own_range, seen="x", told="x_new", column=4, number=2,
           dtype=torch.float16, root=False, left=False, fits=lambda n, b: n <= b, per=None,
           spared=lambda w: w.half().float()):  # fmt: skip
    """The reference with one part changed."""
    scheme, ranks, texts = Scheme.int(bits, scale_dtype=dtype), order(w, x), {"x": x, "x_new": x_new}
    plain = {}
    for k in range(w.shape[1]):
        rest = ranks[k:].sort().values
        off = spared(w) - w
        off[:, rest] = kept(w, rest, scheme) - w[:, rest]
        nbytes = quantize(w[:, rest], scheme).nbytes + k * (number * len(w) + column)
        error = {name: (t @ off.T).square().sum().item() ** (0.5 if root else 1) for name, t in texts.items()}
        plain = plain or error
        undone = {name: 1 - error[name] / plain[name] for name in texts}
        if undone[seen] >= (1 - undo if left else undo):
            count = w.numel() if per is None else per(w, k)
            found = {"k": k, "bytes": nbytes, "bits": 8 * nbytes / count, "undone": undone[told]}
            return found if fits(nbytes, budget) else None
    return None


NAMES = ("the fewest columns", "bytes", "bits per weight", "undone on new text", "None, and a budget met exactly")

WRONG = [
    Mistake(
        "the largest weights spared",
        lambda *a: _spare(*a, order=lambda w, x: w.abs().mean(dim=0).argsort(descending=True)),
        "Salient is what meets loud inputs: rank the columns by mean |x|, not by their weights.",
        loses=NAMES,
    ),
    Mistake(
        "the first columns spared",
        lambda *a: _spare(*a, order=lambda w, x: torch.arange(w.shape[1])),
        "Rank the columns by mean |x|, the loudest first.",
        loses=NAMES,
    ),
    Mistake(
        "the largest single input",
        lambda *a: _spare(*a, order=lambda w, x: x.abs().amax(dim=0).argsort(descending=True)),
        "AWQ ranks by the *mean* |x|. One loud token does not make a channel salient.",
        loses=NAMES,
    ),
    Mistake(
        "k chosen on the new text",
        lambda *a: _spare(*a, seen="x_new"),
        "k is chosen on x. On x_new you only look how much of the promise holds.",
        loses=NAMES,
    ),
    Mistake(
        "undone on the text that chose",
        lambda *a: _spare(*a, told="x"),
        "On x the share is reached by construction. Tell what is undone on x_new.",
        loses=NAMES[3:],
    ),
    Mistake(
        "spared columns still set the range",
        lambda *a: _spare(*a, kept=_all_ranged),
        "A column that is stored elsewhere needs no code: quantize the others by themselves, with their own range.",
        loses=NAMES,
    ),
    Mistake(
        "roots of the errors",
        lambda *a: _spare(*a, root=True),
        "The error is a sum of squares, without a root.",
        loses=NAMES,
    ),
    Mistake(
        "the share that may stay",
        lambda *a: _spare(*a, left=True),
        "undo = 0.6 leaves 0.4 of the error, not 0.6.",
        loses=NAMES,
    ),
    Mistake(
        "nobody knows which columns",
        lambda *a: _spare(*a, column=0),
        "A reader must know which columns were spared: 4 bytes for each number.",
        loses=(*NAMES[1:3], NAMES[4]),
    ),
    Mistake(
        "spared columns in float32",
        lambda *a: _spare(*a, number=4),
        "float16 takes 2 bytes a number.",
        loses=(*NAMES[1:3], NAMES[4]),
    ),
    Mistake(
        "scales in float32",
        lambda *a: _spare(*a, dtype=torch.float32),
        "The scales are stored in float16: pass scale_dtype=torch.float16.",
        loses=(*NAMES[1:3], NAMES[4]),
    ),
    Mistake(
        "bits of the coded weights only",
        lambda *a: _spare(*a, per=lambda w, k: len(w) * (w.shape[1] - k)),
        "Bits per weight: all stored bits over *all* weights of the layer.",
        loses=(NAMES[2], NAMES[4]),
    ),
    Mistake(
        "too large for a budget met exactly",
        lambda *a: _spare(*a, fits=lambda n, b: n < b),
        "At most the budget: exactly as many bytes fit.",
        loses=NAMES[4:],
    ),
    Mistake(
        "the budget ignored",
        lambda *a: _spare(*a, fits=lambda n, b: True),
        "What does not fit is no answer: return None.",
        loses=NAMES[4:],
    ),
    Mistake(
        "the quietest first",
        lambda *a: _spare(*a, order=lambda w, x: _loud(w, x).flip(0)),
        "Rank by mean |x|, the loudest first: descending=True.",
        loses=NAMES,
    ),
    Mistake(
        "loudness with its sign",
        lambda *a: _spare(*a, order=lambda w, x: x.mean(dim=0).abs().argsort(descending=True)),
        "Inputs of both signs cancel in mean x: rank by the mean of |x|.",
        loses=NAMES,
    ),
    Mistake(
        "bytes per weight",
        lambda *a: _spare(*a, per=lambda w, k: 8 * w.numel()),
        "A byte has eight bits.",
        loses=(NAMES[2], NAMES[4]),
    ),
    Mistake(
        "spared columns not rounded",
        lambda *a: _spare(*a, spared=lambda w: w),
        "float16 rounds, too: a spared weight comes back as w.half().float(), off by up to 2^−11 of itself.",
        loses=NAMES[4:],
    ),
]
CLOSE = (0, 1, 2, 3, 5, 6, 7)  # of WRONG: those whose k has to be another one


def _layer(seed, rows, cols, tokens):
    generator = torch.Generator().manual_seed(seed)
    loud = 2.0 ** (1.3 * torch.randn(cols, generator=generator))
    x, x_new = (torch.randn(n, cols, generator=generator) * loud for n in (tokens, tokens))
    one = torch.randint(0, cols, (cols // 4,), generator=generator)
    x[0, one] *= 6  # one loud token
    w = torch.randn(rows, cols, generator=generator)
    w[:, loud.topk(cols // 6).indices[1:]] *= 1.6  # they set ranges, as long as they are among the coded ones
    return w, x, x_new


def _steady(w, x, x_new, bits, undo, budget):
    """Whether the same k comes out for shares a little to either side."""
    found = [spare(w, x, x_new, bits, undo + d, budget) for d in (-0.004, 0.004)]
    return None not in found and found[0]["k"] == found[1]["k"] > 1


def _case(seed, name, rows, cols, tokens, bits, undo):
    """The first of the layers drawn from this seed on that is steady."""
    drawn = ((*_layer(seed + 1000 * i, rows, cols, tokens), bits, undo, 10**6) for i in range(200))
    return Case(name, *next(args for args in drawn if _steady(*args)))


def _cases(seed):
    return [
        _case(seed, "more than half", 8, 24, 20, 3, 0.55),
        _case(seed + 1, "seven tenths", 5, 20, 20, 4, 0.7),
        _case(seed + 2, "a third", 12, 24, 20, 2, 0.35),
    ]


def _apart(cases):
    right = [spare(*case.args)["k"] for case in cases]
    for k in CLOSE:
        found = [WRONG[k].answer(*case.args) for case in cases]
        if all(f is not None and f["k"] == r for f, r in zip(found, right, strict=True)):
            return False
    return True


def exercise(seed):
    best = next(cases for cases in (_cases(seed + 10 * i) for i in range(100)) if _apart(cases))
    w, x, x_new, bits, undo, _ = best[0].args
    size = spare(*best[0].args)["bytes"]
    ends = [
        Case("met exactly", w, x, x_new, bits, undo, size),
        Case("a byte too few", w, x, x_new, bits, undo, size - 1),
        Case("nothing to undo", *best[1].args[:4], 0.0, 10**6),
        Case("seven tenths, met exactly", *best[1].args[:5], spare(*best[1].args)["bytes"]),
        Case("a third, met exactly", *best[2].args[:5], spare(*best[2].args)["bytes"]),
    ]
    row, loud = torch.tensor([[1.27, 1.0043, 0.31, -0.62]]), torch.tensor([[1.0, 1000.0, 1.0, 1.0]])
    halves = torch.cat([row, row / 2, -2 * row]), loud, loud, 8  # 1.0043 as a float16 is 1.0039
    ends += [Case("what float16 loses", *halves, 0.9, 10**6), Case("more than it undoes", *halves, 0.999, 10**6)]
    near = dict(rtol=1e-3, atol=1e-5)  # `undone` has 0.01: whether scales are float16 is asked under bytes
    return question(
        "ps05.q5",
        "How many columns to spare?",
        "spare(w, x, x_new, bits, undo, budget_bytes): k, bytes, bits per weight, and what is undone on x_new; or "
        "None.",
        spare,
        properties=[
            agrees(NAMES[0], best, "Loudest first, as few as undo the share on x.", points=1, part="k"),
            agrees(NAMES[1], best, "Codes, scales, float16 columns, and their numbers.", points=0.5, part="bytes"),
            agrees(NAMES[2], best, "All stored bits over all weights.", points=0.5, part="bits", **near),
            agrees(NAMES[3], best, "1 less the error over the plain one, on x_new.", part="undone", atol=0.01),
            agrees(NAMES[4], ends, "At most the budget.", **near),
        ],
        wrong=WRONG,
    )
