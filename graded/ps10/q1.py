"""ps10.q1: what changed between two models"""

import math

import torch

from course_lib.checks import Case
from course_lib.grading import Mistake, agrees, question


def compare_answers(gold, base, other):
    """Drop in accuracy, shares of changed verdicts and of changed answers, and the exact p-value of McNemar's test."""
    n = len(gold)
    right = [(b == g, o == g) for g, b, o in zip(gold, base, other, strict=True)]
    lost, won = right.count((True, False)), right.count((False, True))
    flips = lost + won
    tail = sum(math.comb(flips, i) for i in range(min(lost, won) + 1))
    return {
        "drop": (lost - won) / n,
        "verdicts": flips / n,
        "answers": sum(b != o for b, o in zip(base, other, strict=True)) / n,
        "p": min(1.0, 2 * tail / 2**flips),
    }


def _counts(gold, base, other):
    pairs = list(zip(gold, base, other, strict=True))
    return (
        len(gold),
        sum(b == g != o for g, b, o in pairs),
        sum(o == g != b for g, b, o in pairs),
        sum(b != o for _, b, o in pairs),
    )


def _two_sided(n, lost, won):
    tail = sum(math.comb(lost + won, i) for i in range(min(lost, won) + 1))
    return min(1.0, 2 * tail / 2 ** (lost + won))


def _from_counts(gold, base, other, drop=lambda n, lost, won: (lost - won) / n, p=_two_sided,
                 verdicts=lambda n, lost, won, changed: (lost + won) / n,
                 answers=lambda n, lost, won, changed: changed / n):  # fmt: skip
    """The reference with one part changed."""
    n, lost, won, changed = _counts(gold, base, other)
    return {
        "drop": drop(n, lost, won),
        "verdicts": verdicts(n, lost, won, changed),
        "answers": answers(n, lost, won, changed),
        "p": float(p(n, lost, won)),
    }


def _one_sided(n, lost, won):
    return sum(math.comb(lost + won, i) for i in range(min(lost, won) + 1)) / 2 ** (lost + won)


def _chi(n, lost, won):
    return math.erfc(abs(lost - won) / math.sqrt(2 * (lost + won))) if lost + won else 1.0


def _of_all(n, lost, won):
    return min(1.0, 2 * sum(math.comb(n, i) for i in range(min(lost, won) + 1)) / 2**n)


def _without_tail(n, lost, won):
    return min(1.0, 2 * math.comb(lost + won, lost) / 2 ** (lost + won))


NAMES = ("drop", "changed verdicts", "changed answers", "p-value", "p-value without a lead")


def _less_uneven_left_out(n, lost, won):
    return min(1.0, 2 * sum(math.comb(lost + won, i) for i in range(min(lost, won))) / 2 ** (lost + won))


def _of_the_right_ones(gold, base, other):
    got, right = compare_answers(gold, base, other), sum(a == g for a, g in zip(base, gold, strict=True))
    return got | {"drop": got["drop"] * len(gold) / max(1, right)}


WRONG = [
    Mistake(
        "a gain is called a drop",
        lambda *a: _from_counts(*a, drop=lambda n, lost, won: (won - lost) / n),
        "A positive drop is a loss: what was right and is wrong now counts as plus.",
        loses=NAMES[:1],
    ),
    Mistake(
        "points, not shares",
        lambda *a: _from_counts(*a, drop=lambda n, lost, won: 100 * (lost - won) / n),
        "A share is asked: 0.01 for a point.",
        loses=NAMES[:1],
    ),
    Mistake(
        "only what was lost",
        lambda *a: _from_counts(*a, verdicts=lambda n, lost, won, changed: lost / n),
        "A verdict that has changed to right has changed, too.",
        loses=NAMES[1:2],
    ),
    Mistake(
        "answers taken for verdicts",
        lambda *a: _from_counts(*a, verdicts=lambda n, lost, won, changed: changed / n),
        "From one wrong answer to another the verdict stays what it was.",
        loses=NAMES[1:2],
    ),
    Mistake(
        "verdicts taken for answers",
        lambda *a: _from_counts(*a, answers=lambda n, lost, won, changed: (lost + won) / n),
        "From one wrong answer to another the answer has changed, and somebody reads it.",
        loses=NAMES[2:3],
    ),
    Mistake(
        "one side only",
        lambda *a: _from_counts(*a, p=_one_sided),
        "A coin can come up uneven in two directions: twice the tail.",
        loses=NAMES[3:],
    ),
    Mistake(
        "the normal approximation",
        lambda *a: _from_counts(*a, p=_chi),
        "With few flips the bell curve is not exact: add up binomial coefficients.",
        loses=NAMES[3:4],
    ),
    Mistake(
        "coins for all items",
        lambda *a: _from_counts(*a, p=_of_all),
        "Only items that have changed sides are coins: lost + won of them.",
        loses=NAMES[3:],
    ),
    Mistake(
        "one outcome, not the tail",
        lambda *a: _from_counts(*a, p=_without_tail),
        "At least as uneven: add the outcomes that are more uneven still.",
        loses=NAMES[3:],
    ),
    Mistake(
        "p above 1",
        lambda *a: _from_counts(*a, p=lambda *counts: 2 * _one_sided(*counts)),
        "Twice the tail counts the middle twice where neither leads: a p-value is never above 1.",
        loses=NAMES[4:],
    ),
    Mistake(
        "what has happened left out of the tail",
        lambda *a: _from_counts(*a, p=_less_uneven_left_out),
        "At least as unevenly: the coins as they have fallen belong to the tail, range(k + 1).",
        loses=NAMES[3:],
    ),
    Mistake(
        "the drop as a share of what was right",
        _of_the_right_ones,
        "The fall in accuracy is a difference of two shares of all items.",
        loses=NAMES[:1],
    ),
    Mistake(
        "counts instead of shares",
        lambda *a: _from_counts(
            *a, verdicts=lambda n, lost, won, _: lost + won, answers=lambda n, lost, won, changed: changed
        ),
        "Shares of the items: divide by their number.",
        loses=NAMES[1:3],
    ),
]


def exercise(seed):
    def case(name, offset, kept, lost, won, wrong, other_wrong):
        """Items of five kinds, mixed: right twice, lost, won, wrong twice alike, wrong in two ways."""
        generator = torch.Generator().manual_seed(seed + offset)
        kinds = ["aa"] * kept + ["ab"] * lost + ["ba"] * won + ["bb"] * wrong + ["bc"] * other_wrong
        names = "refund", "exchange", "reject"
        gold, base, other = [], [], []
        for i in torch.randperm(len(kinds), generator=generator).tolist():
            turn = int(torch.randint(0, 3, (), generator=generator))
            gold.append(names[turn])
            for answers, letter in zip((base, other), kinds[i], strict=True):
                answers.append(names[(turn + "abc".index(letter)) % 3])
        return Case(name, gold, base, other)

    draw = torch.randint(0, 4, (6,), generator=torch.Generator().manual_seed(seed)).tolist()
    lead = [
        case("more lost than won", 0, 20 + draw[0], 6 + draw[1], 2, 3, 4),
        case("more won than lost", 1, 30 + draw[2], 1, 7 + draw[3], 2, 5),
        case("nothing won", 2, 11, 5, 0, 4, 1),
    ]
    none = [
        case("as many won as lost", 3, 15 + draw[4], 4, 4, 3, 2),
        case("nothing has flipped", 4, 9, 0, 0, 2, 3 + draw[5]),
    ]
    lead.append(Case("the first, the last", ["reject", *4 * ["refund"]], [*4 * ["refund"], "reject"], 5 * ["refund"]))
    near = dict(rtol=1e-6)  # a float32 is as good
    return question(
        "ps10.q1",
        "What changed between two models",
        "compare_answers(gold, base, other): drop, changed verdicts, changed answers, McNemar's exact p-value.",
        compare_answers,
        properties=[
            agrees(NAMES[0], lead, "(lost − won) / n.", points=0.5, part="drop", **near),
            agrees(NAMES[1], lead, "Lost and won, of all items.", part="verdicts", **near),
            agrees(NAMES[2], lead + none, "Whoever reads the answer sees it.", part="answers", **near),
            agrees(NAMES[3], lead, "Twice the tail of a fair coin.", part="p", **near),
            agrees(NAMES[4], none, "Never above 1.", points=0.5, part="p", **near),
        ],
        wrong=WRONG,
    )
