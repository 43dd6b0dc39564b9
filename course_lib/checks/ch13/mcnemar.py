"""ch13.mcnemar: are the flips a coin's? The exact two-sided test."""

import math

from course_lib.checks import Case, Exercise, Wrong, equals_reference, law, relation


def mcnemar(base, other):
    lost = sum(a and not b for a, b in zip(base, other, strict=True))
    won = sum(b and not a for a, b in zip(base, other, strict=True))
    n = lost + won
    tail = sum(math.comb(n, k) for k in range(min(lost, won) + 1)) / 2**n
    return min(1.0, 2 * tail)


def _flips(base, other):
    lost = sum(a and not b for a, b in zip(base, other, strict=True))
    return lost, sum(b and not a for a, b in zip(base, other, strict=True))


def _wrong(value):
    def answer(base, other):
        lost, won = _flips(base, other)
        return float(value(lost, won, base, other))

    return answer


def _tail(n, k):
    return sum(math.comb(n, i) for i in range(k + 1)) / 2**n


def _normal(x):
    return math.erfc(x / math.sqrt(2))


def _chi(lost, won, *_):
    return 1.0 if lost + won == 0 else _normal(abs(lost - won) / math.sqrt(lost + won))


def _corrected(lost, won, *_):
    return 1.0 if lost + won == 0 else _normal(max(0, abs(lost - won) - 1) / math.sqrt(lost + won))


def _corrected_square(lost, won, *_):
    return 1.0 if lost + won == 0 else _normal(abs(abs(lost - won) - 1) / math.sqrt(lost + won))


def _mid(lost, won, *_):
    n, k = lost + won, min(lost, won)
    return min(1.0, 2 * _tail(n, k) - math.comb(n, k) / 2**n) if n else 1.0


def _unpaired(lost, won, base, other):
    n, a, b = len(base), sum(base), sum(other)
    pooled = (a + b) / (2 * n)
    spread = math.sqrt(2 * pooled * (1 - pooled) / n)
    return 1.0 if spread == 0 else _normal(abs(a - b) / n / spread)


def _verdicts(both, lost, won, neither):
    base = [True] * (both + lost) + [False] * (won + neither)
    return base, [True] * both + [False] * lost + [True] * won + [False] * neither


def _probable(got, base, other):
    if not any(_flips(base, other)):
        return got == 1 or f"No item flipped, so nothing speaks for a change: p is 1.0. Yours is {got:.4g}."
    return 0 < got <= 1 or f"p = {got:.4g}: the chance of what happened lies above 0, and at most at 1."


def _swap(run, base, other):
    a, b = run(base, other), run(other, base)
    return abs(a - b) < 1e-9 or f"Base and other swapped, p is {b:.4g} instead of {a:.4g}: the test has two sides."


def _unchanged(run, base, other):
    a, b = run(base, other), run([*base, True, False, True], [*other, True, False, True])
    return abs(a - b) < 1e-9 or "Three more items on which both agree change your p. They say nothing about flips."


EXERCISE = Exercise(
    id="ch13.mcnemar",
    title="Are the flips a coin's?",
    spec="mcnemar(base, other): the chance that fair coins split the flips at least as unevenly.",
    kind="build",
    stub='''
def mcnemar(base, other):
    """Exact two-sided p of McNemar's test, a float; base and other are lists of bool, right or wrong, item by item.

    Of the items whose verdict changed, how likely do fair coins fall at least as unevenly as lost against won, in
    either direction? No flips: 1.0. math.comb(n, k) counts the ways to have k heads in n throws.
    """
    ...
''',
    reference=mcnemar,
    piece="mcnemar",
    cases=[
        Case("one lost", *_verdicts(0, 1, 0, 0)),
        Case("four lost, none won", *_verdicts(5, 4, 0, 1)),
        Case("none lost, six won", *_verdicts(2, 0, 6, 2)),
        Case("two and two", *_verdicts(3, 2, 2, 1)),
        Case("no flips", *_verdicts(4, 0, 0, 2)),
        Case("five and one", *_verdicts(90, 5, 1, 4)),
        Case("46 and 33", *_verdicts(0, 46, 33, 0)),
    ],
    properties=[
        law("a probability", _probable, "What happened had some chance, and no chance is above 1."),
        relation("two sides", _swap, "Losing and winning count alike."),
        relation("only flips count", _unchanged, "Items on which both agree are no evidence about a change."),
        equals_reference(atol=1e-6, why="Whole numbers, one division."),
    ],
    wrong=[
        Wrong("one side", _wrong(lambda b, c, *_: _tail(b + c, min(b, c))),
              "Only one direction counted. As uneven in the other direction is as surprising: twice the tail."),
        Wrong("losses only", _wrong(lambda b, c, *_: 1 - _tail(b + c, b - 1) if b else 1.0),
              "You ask how likely so many are lost. The test has two sides: so many won would be as surprising."),
        Wrong("twice, without a limit", _wrong(lambda b, c, *_: 2 * _tail(b + c, min(b, c))),
              "Twice the tail passes 1 where lost and won are equal: the middle is in both tails. Cap it at 1."),
        Wrong("the other tail", _wrong(lambda b, c, *_: min(1.0, 2 * _tail(b + c, max(b, c)))),
              "You summed from none up to the larger count: that is nearly everything. Take the smaller one."),
        Wrong("exactly as uneven", _wrong(lambda b, c, *_: min(1.0, 2 * math.comb(b + c, min(b, c)) / 2 ** (b + c))),
              "That is the chance of exactly this split. More uneven ones belong to it."),
        Wrong("the observed split left out",
              _wrong(lambda b, c, *_: min(1.0, 2 * _tail(b + c, min(b, c) - 1)) if b + c else 1.0),
              "The split that happened counts as well: range(k + 1)."),
        Wrong("all items are coins", _wrong(lambda b, c, base, _: min(1.0, 2 * _tail(len(base), min(b, c)))),
              "n is the number of flips, not of items. Where both agree, no coin was thrown."),
        Wrong("the difference", _wrong(lambda b, c, *_: min(1.0, 2 * _tail(b + c, abs(b - c)))),
              "You add up to the difference of lost and won. The coins showed the smaller count: add up to that."),
        Wrong("chi-square", _wrong(_chi),
              "That is the normal approximation, uncorrected. With few flips it promises too much."),
        Wrong("chi-square, corrected", _wrong(_corrected),
              "That is the normal approximation, corrected by one: close, not exact. Count with comb(n, k)."),
        Wrong("half of the observed split", _wrong(_mid),
              "That is the mid-p: the split that happened counts half. In the exact test it counts whole."),
        Wrong("unpaired", _wrong(_unpaired),
              "That compares two accuracies as if the items were different ones. They are the same: only flips count."),
        Wrong(
            "chi-square, corrected beyond 0",
            _wrong(_corrected_square),
            "That is the chi-square with a correction, which turns −1 into +1 where lost and won are equal. Few flips"
            " need the exact sum.",
        ),
        Wrong(
            "exactly this split, twice",
            _wrong(lambda lost, won, *_: 2 * math.comb(lost + won, lost) / 2 ** (lost + won)),
            "That is the chance of this very split. Asked is that of one at least as uneven: add the more uneven "
            "ones.",
        ),
    ],
    hints=[
        "Count lost and won. Under “no difference” each flip is a coin: the chance of k heads in n throws is "
        "comb(n, k) / 2ⁿ. Add up from 0 to the smaller count, then think of the other side.",
        "Four lost, none won: 1/16 that all four coins fall one way, 1/16 for the other. p = 0.125.",
        "    n = lost + won\n    tail = sum(math.comb(n, k) for k in range(____)) / ____\n    return min(1.0, ____)",
    ],
    passed="46 lost and 33 won: p = .177. Coins do that, too. It does not say that nothing was lost.",
)  # fmt: skip
