"""ps03.q4: the awkward few"""

import torch

from course_lib.checks import Case, law
from course_lib.grading import Mistake, agrees, on, question, rows


def with_outliers(w, k, bits):
    """Keep the k largest magnitudes of each row of w (rows, cols) in float16, quantize the rest per row."""
    qmax = 2 ** (bits - 1) - 1
    where = w.abs().topk(k, dim=-1).indices
    outlier = torch.zeros_like(w, dtype=torch.bool).scatter(-1, where, True)
    rest = w.masked_fill(outlier, 0.0)
    s = (rest.abs().amax(-1, keepdim=True) / qmax).half().float()
    s = torch.where(s > 0, s, 1.0)
    quantized = s * torch.clip(torch.round(rest / s), -qmax, qmax)
    stored_bits = w.numel() * bits + w.shape[0] * (16 + k * 32)
    return {"w": torch.where(outlier, w.half().float(), quantized), "bits_per_weight": stored_bits / w.numel()}


def _outliers(w, k, bits, by=torch.abs, whole=False, scale_from_all=False, half=True, keep=True, extra=32, codes=True,
              one_scale=False, whole_scale=False, late=False, guarded=True):  # fmt: skip
    qmax = 2 ** (bits - 1) - 1
    flat = by(w).reshape(1, -1) if whole else by(w)
    where = flat.topk(k * w.shape[0] if whole else k, dim=-1).indices
    outlier = torch.zeros_like(flat, dtype=torch.bool).scatter(-1, where, True).reshape(w.shape)
    rest = w.masked_fill(outlier, 0.0)
    s = (w if scale_from_all else rest).abs().amax(-1, keepdim=True) / qmax
    s = s.amax(0, keepdim=True) if one_scale else s
    stored, s = (s if whole_scale else s.half().float()), (s if late or whole_scale else s.half().float())
    s, stored = (torch.where(t > 0, t, 1.0) if guarded else t for t in (s, stored))
    quantized = stored * torch.clip(torch.round(rest / s), -qmax, qmax)
    kept = (w.half().float() if half else w) if keep else torch.zeros_like(w)
    count = w.numel() if codes else w.numel() - k * w.shape[0]
    stored_bits = count * bits + w.shape[0] * (16 + k * extra)
    return {"w": torch.where(outlier, kept, quantized), "bits_per_weight": stored_bits / w.numel()}


def _top(w, k):
    return torch.zeros_like(w, dtype=torch.bool).scatter(-1, w.abs().topk(k, dim=-1).indices, True)


def _kept_in_half(got, w, k, bits):
    mask = _top(w, k)
    return bool(torch.equal(got["w"][mask], w.half().float()[mask]))


NAMES = ("the largest of each row come back as float16", "the rest has a step of its own",
         "bits per weight, with indices", "none, or all of them")  # fmt: skip


def _k_in_all(w, k, bits):
    mask = torch.zeros(w.numel(), dtype=torch.bool)
    mask[w.abs().flatten().topk(k).indices] = True
    rest, qmax = w.masked_fill(mask.view_as(w), 0.0), 2 ** (bits - 1) - 1
    s = (rest.abs().amax(-1, keepdim=True) / qmax).half().float()
    quantized = s * torch.clip(torch.round(rest / torch.where(s > 0, s, 1.0)), -qmax, qmax)
    stored_bits = w.numel() * bits + 16 * w.shape[0] + 32 * k
    return {"w": torch.where(mask.view_as(w), w.half().float(), quantized), "bits_per_weight": stored_bits / w.numel()}


def _threshold(w, k, bits):
    if k == 0:
        return with_outliers(w, k, bits)
    least = w.abs().topk(k, dim=-1).values[:, -1:]
    more = int((w.abs() >= least).sum(-1).max())
    return {**with_outliers(w, more, bits), "bits_per_weight": with_outliers(w, k, bits)["bits_per_weight"]}


def _one_scale_counted(w, k, bits):
    return {**with_outliers(w, k, bits), "bits_per_weight": bits + (16 + 32 * k * w.shape[0]) / w.numel()}


WRONG = [
    Mistake(
        "the scale from all weights",
        lambda *a: _outliers(*a, scale_from_all=True),
        "The outliers still set the step. Take the maximum of what is left.",
        loses=NAMES[1:2],
    ),
    Mistake(
        "the largest, not the largest magnitudes",
        lambda *a: _outliers(*a, by=lambda w: w),
        "An outlier may be negative: look for the largest |w|.",
        loses=NAMES[:2],
    ),
    Mistake(
        "the largest of the whole matrix",
        lambda *a: _outliers(*a, whole=True),
        "Each row keeps k weights of its own.",
        loses=NAMES[:2],
    ),
    Mistake(
        "outliers not rounded to float16",
        lambda *a: _outliers(*a, half=False),
        "16 bits cannot hold all of a float32: return what float16 leaves.",
        loses=(NAMES[0], NAMES[1], NAMES[3]),
    ),
    Mistake(
        "outliers set to zero",
        lambda *a: _outliers(*a, keep=False),
        "The outliers went missing: add them to the quantized rest.",
        loses=(NAMES[0], NAMES[1], NAMES[3]),
    ),
    Mistake(
        "indices forgotten",
        lambda *a: _outliers(*a, extra=16),
        "A reader must know which columns they belong to: 16 bits more for each.",
        loses=NAMES[2:],
    ),
    Mistake(
        "no codes for outliers",
        lambda *a: _outliers(*a, codes=False),
        "Their places in the packed codes remain, filled with zeros: that keeps the layout simple.",
        loses=NAMES[2:],
    ),
    Mistake(
        "k in all, not in each row",
        _k_in_all,
        "Each row keeps its own k weights; you kept k of the matrix.",
        loses=NAMES,
    ),
    Mistake(
        "all weights as large as the k-th",
        _threshold,
        "A threshold keeps more than k where two weights are of equal size: keep k of them.",
        loses=NAMES[1:2],
    ),
    Mistake(
        "one scale for all rows",
        lambda *a: _outliers(*a, one_scale=True),
        "Each row has a scale of its own, from what is left in it.",
        loses=(NAMES[1], NAMES[3]),
    ),
    Mistake(
        "one scale counted",
        _one_scale_counted,
        "Each row stores a scale of 16 bits; you counted one for the matrix.",
        loses=NAMES[2:],
    ),
    Mistake(
        "the scale not rounded",
        lambda *a: _outliers(*a, whole_scale=True),
        "The scale is stored as float16: round it, and use what is stored.",
        loses=(NAMES[1], NAMES[3]),
    ),
    Mistake(
        "the scale rounded too late",
        lambda *a: _outliers(*a, late=True),
        "You computed codes with the unrounded scale and decoded with the rounded one: round it before.",
        loses=NAMES[1:2],
    ),
    Mistake(
        "no scale where nothing is left",
        lambda w, k, bits: with_outliers(w, k, bits) if k < w.shape[1] else torch.zeros(0).max(),
        "With k = cols nothing is left to take a maximum of: then s = 1.",
        loses=NAMES[3:],
    ),
    Mistake(
        "all of them instead of none",
        lambda w, k, bits: (
            with_outliers(w, k or w.shape[1], bits) | {"bits_per_weight": with_outliers(w, k, bits)["bits_per_weight"]}
        ),
        "[-k:] with k = 0 is [0:], which is all of them.",
        loses=NAMES[3:],
    ),
    Mistake(
        "zeros divided by a scale of zero",
        lambda *a: _outliers(*a, guarded=False),
        "Where the rest of a row is all zeros its maximum is 0, and 0 / 0 is NaN: then s = 1.",
        loses=NAMES[3:],
    ),
]


def exercise(seed):
    def make(generator, n):
        row = 0.02 * torch.randn(n, generator=generator)
        at = torch.randperm(n, generator=generator)[:3]
        row[at] = torch.tensor([1.37, -2.21, -0.93]) * (1 + torch.rand(1, generator=generator))
        return row

    def clear(row):
        for k, bits in ((1, 4), (2, 3), (3, 4), (0, 4)):
            rest = row.masked_fill(_top(row[None], k)[0], 0.0)
            s = (rest.abs().max() / (2 ** (bits - 1) - 1)).half().float()
            steps = rest / s
            if ((steps % 1 - 0.5).abs() < 1e-3).any() or row.abs().sort().values.diff().min() == 0:
                return False
        return True

    def matrix(offset, n_rows, n):
        return torch.stack(rows(seed + offset, n_rows, n, make, clear))

    split = [
        Case("one outlier a row, 4 bits", matrix(0, 2, 24), 1, 4),
        Case("two outliers a row, 3 bits", matrix(1, 3, 32), 2, 3),
        Case("three outliers a row, 4 bits", matrix(2, 2, 40), 3, 4),
    ]
    uneven = torch.tensor([[9.03, -8.01, 7.0, 0.5], [0.06, -0.05, 0.02, 0.01]])
    split.append(Case("a loud row and a quiet one", uneven, 2, 4))
    split.append(Case("two of equal size, one of them kept", torch.tensor([[7.0, -7.0, 3.0, 1.4]]), 1, 4))
    ends = [
        Case("none", matrix(3, 2, 24), 0, 4),
        Case("all of them", matrix(4, 2, 6)[:, :6], 6, 4),
        Case("zeros beside the outlier", torch.tensor([[0.0, 3.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]]), 1, 4),
    ]
    near = dict(ulps=4, atol=1e-9)
    return question(
        "ps03.q4",
        "The awkward few",
        "with_outliers(w, k, bits) keeps k weights a row in float16 and quantizes the rest with a scale a row.",
        with_outliers,
        properties=[
            on(split, law(NAMES[0], _kept_in_half, "They are stored as float16, so that is what comes back.")),
            agrees(NAMES[1], split, "Without its outliers a row has a far finer step.", part="w", **near),
            agrees(
                NAMES[2],
                split,
                "Codes for all, 16 + 16 bits an outlier, 16 a scale.",
                part="bits_per_weight",
                rtol=1e-6,
            ),
            agrees(NAMES[3], ends, "The formula knows no exceptions.", rtol=1e-6, atol=1e-9),
        ],  # fmt: skip
        wrong=WRONG,
    )
