"""ch09.fit: a few scales are tried, each refined by least squares, and the one that serves best is kept."""

import torch

from course_lib.checks import Case, Exercise, Wrong, equals_reference, law


def fit(w, importance, tries):
    top = w[w.abs().argmax()]
    best, least = 0.0, float("inf")
    for t in tries:
        q = torch.clip(torch.round(w * -(8 + t) / top), -8, 7)
        d = (importance * w * q).sum() / (importance * q * q).sum()
        error = (importance * (w - d * q).square()).sum()
        if error < least:
            best, least = d.item(), error
    return best


def _candidates(w, i, tries, top=lambda w: w[w.abs().argmax()], low=-8, high=7, refine=None, weigh=lambda i: i,
                again=lambda w, d, q: q):  # fmt: skip
    """(d, error) of every try; `refine` replaces least squares, `weigh` and `again` what errors are made of."""
    found = []
    for t in tries:
        q = torch.clip(torch.round(w * -(8 + t) / top(w)), low, high)
        d = (i * w * q).sum() / (i * q * q).sum() if refine is None else refine(w, i, q, t)
        found.append((float(d), float((weigh(i) * (w - d * again(w, d, q)).square()).sum())))
    return found


def _with(pick=lambda found: min(found, key=lambda pair: pair[1]), what=0, weights=lambda i: i, **changed):
    def variant(w, importance, tries):
        return pick(_candidates(w, weights(importance), tries, **changed))[what]

    return variant


def _not_refined(w, i, q, t):
    return -w[w.abs().argmax()] / (8 + t)


def _half_weighed(w, i, q, t):
    return (i * w * q).sum() / (q * q).sum()


def _mean_ratio(w, i, q, t):
    kept = q != 0
    return (i[kept] * w[kept] / q[kept]).sum() / i[kept].sum()


def _numerator_only(w, i, q, t):
    return (w * q).sum() / (i * q * q).sum()


def _tried(got, w, importance, tries):
    found = [d for d, _ in _candidates(w, importance, tries)]
    nearest = min(found, key=lambda d: abs(d - got))
    return (
        abs(got - nearest) <= 1e-4 * abs(nearest)
        or f"{got:.5g} is none of the refined scales. The nearest is {nearest:.5g}."
    )


def _none_is_better(got, w, importance, tries):
    found = _candidates(w, importance, tries)
    _, mine = min(found, key=lambda pair: abs(pair[0] - got))
    _, least = min(found, key=lambda pair: pair[1])
    return mine <= least * 1.0001 + 1e-12 or f"Yours leaves {mine:.4g}, another try only {least:.4g}."


def _other_way(w, importance, tries):
    return fit(w, importance, [-t for t in tries])


def _case(name, seed, n, tries, loud=None):
    g = torch.Generator().manual_seed(seed)
    w = torch.randn(n, generator=g)
    i = torch.rand(n, generator=g) ** 2 + 0.01 if loud is None else torch.tensor(loud)
    return Case(name, w, i, tries)


_NINE = [-0.8, -0.6, -0.4, -0.2, 0.0, 0.2, 0.4, 0.6, 0.8]

EXERCISE = Exercise(
    id="ch09.fit",
    title="Try, refine, keep the best",
    spec="fit(w, importance, tries): of the least-squares scales of all tries the d with the least Σ i (w − d q)².",
    kind="measure",
    stub='''
def fit(w, importance, tries):
    """The best d for w (n,) and codes q in −8 … 7, errors weighed by importance (n,). See the three steps above."""
    ...
''',
    reference=fit,
    piece="fit",
    cases=[
        Case("one try, two weights", torch.tensor([1.0, -0.4]), torch.tensor([1.0, 1.0]), [0.0]),
        Case("the small one counts", torch.tensor([1.0, -0.31]), torch.tensor([0.1, 10.0]), [0.0]),
        Case("as large with the other sign", torch.tensor([1.0, -1.0]), torch.tensor([1.0, 1.0]), [0.0]),
        _case("four weights, alike", 1, 4, [-0.5, 0.0, 0.5], [1.0, 1.0, 1.0, 1.0]),
        _case("four weights, one loud", 2, 4, [-0.5, 0.0, 0.5], [1.0, 1.0, 25.0, 1.0]),
        _case("five weights", 3, 5, _NINE[::2]),
        _case("six weights", 14, 6, _NINE[::2]),
        _case("four weights, rounded once", 25, 4, [-0.5, 0.0, 0.5]),
        _case("all tries above 0", 25, 4, [0.3, 0.6]),
        _case("a block", 5, 32, _NINE),
        _case("a block with a few loud columns", 6, 32, _NINE, [20.0] * 3 + [0.2] * 29),
        _case("eight weights", 9, 8, _NINE),
        _case("another block", 8, 32, _NINE),
    ],
    properties=[
        law("one of the tries", _tried, "Least squares gives one d for each set of codes."),
        law("no other is better", _none_is_better, "Measured with the importance of each weight."),
        equals_reference(rtol=1e-5, why="Of all tries one errs least; its sums are rounded in float32."),
    ],
    wrong=[
        Wrong(
            "importance left out",
            _with(weights=torch.ones_like),
            "All errors count alike in yours. Multiply each square by its importance, in the refining as well.",
        ),
        Wrong(
            "not refined",
            _with(refine=_not_refined),
            "You keep the d of the try, −top / (8 + t). With its codes in hand, least squares finds a better one.",
        ),
        Wrong(
            "refined without importance",
            _with(refine=lambda w, i, q, t: (w * q).sum() / (q * q).sum()),
            "You choose by weighed error, but refine d as if all weights counted alike. Σ i w q / Σ i q².",
        ),
        Wrong(
            "chosen without importance",
            _with(weigh=torch.ones_like),
            "d is refined with importance, but the best try is chosen as if all weights counted alike.",
        ),
        Wrong(
            "importance in the numerator only",
            _with(refine=_half_weighed),
            "Σ i w q / Σ q² grows with the importance. It belongs into both sums.",
        ),
        Wrong(
            "importance below the line only",
            _with(refine=_numerator_only),
            "Σ w q / Σ i q² shrinks where the importance grows. It belongs into both sums.",
        ),
        Wrong(
            "a mean of ratios",
            _with(refine=_mean_ratio),
            "You average w / q. Least squares gives large codes more say: Σ i w q / Σ i q².",
        ),
        Wrong(
            "the worst",
            _with(pick=lambda found: max(found, key=lambda pair: pair[1])),
            "You kept the largest error.",
        ),
        Wrong(
            "the last try",
            _with(pick=lambda found: found[-1]),
            "You return the last try. Compare its error with the best so far.",
        ),
        Wrong(
            "the first try",
            _with(pick=lambda found: found[0]),
            "You return from the first try. The return belongs behind the loop.",
        ),
        Wrong(
            "the error, not d",
            _with(what=1),
            "You return the least error. Asked is the d that leaves it.",
        ),
        Wrong(
            "squared importance",
            _with(weights=torch.square),
            "The importance is squared in yours. It is a mean of squares already.",
        ),
        Wrong(
            "seven steps down",
            _with(low=-7),
            "The codes run from −8 to 7: the largest weight is −8 steps long.",
        ),
        Wrong(
            "not clipped",
            _with(low=-99, high=99),
            "Some of your codes leave −8 … 7: −9 for the largest where t is above 0.5, and 8 on the other side. Clip.",
        ),
        Wrong(
            "codes up to 8",
            _with(high=8),
            "You clip at 8, which four bits do not hold. A weight as large as top with the other sign stops at 7.",
        ),
        Wrong(
            "t taken off",
            _other_way,
            "Yours uses 8 − t. A try t makes the largest weight 8 + t steps long.",
        ),
        Wrong(
            "the minus forgotten",
            _with(top=lambda w: -w[w.abs().argmax()]),
            "The largest weight gets +8, and is clipped to 7. It is −8 steps long: −(8 + t) · w / top.",
        ),
        Wrong(
            "rounded again before it is measured",
            _with(again=lambda w, d, q: torch.clip(torch.round(w / d), -8, 7)),
            "You round once more, with the refined d, and measure that. Measure with the codes that d was refined for.",
        ),
        Wrong(
            "the sign of the largest lost",
            _with(top=lambda w: w.abs().max()),
            "top keeps its sign: it is the weight of largest size, not that size.",
        ),
    ],
    hints=[
        "Start with best = 0 and an endless error. For each t: codes, then d from the codes, then the error with that "
        "d. Keep d when the error is less than all before.",
        "w = (1, −0.4), t = 0: top = 1, so w · −8 / 1 = (−8, 3.2), q = (−8, 3). With i = (1, 1): d = (−8 − 1.2) / "
        "(64 + 9) = −0.126.",
        "    for t in tries:\n        q = torch.clip(torch.round(w * -(8 + t) / top), ____, ____)\n"
        "        d = (importance * ____).sum() / (importance * ____).sum()\n"
        "        error = (importance * (____).square()).sum()\n        if error < least:\n"
        "            best, least = d.item(), error",
    ],
    passed="This is how ggml scales each 16 weights of Q6_K, with 19 tries, and Q4_0 once it has an importance matrix.",
)
