"""ch06.counterexamples: a table that could prove the claim "calibrate on the text that you serve" wrong."""

import math

import torch

from course_lib.checks import Case, Exercise, Wrong, equals_reference, law


def counterexamples(kl, err):
    found = []
    for m in range(len(kl)):
        for c in range(len(kl)):
            sure = 2 * (err[c, m] ** 2 + err[m, m] ** 2) ** 0.5
            if kl[m, m] - kl[c, m] > sure:
                found.append((c, m))
    return found


def _table(beats):
    """A search over all pairs (c, m), c ≠ m, column by column, that asks `beats(kl, err, c, m)`."""

    def answer(kl, err):
        n = len(kl)
        return [(c, m) for m in range(n) for c in range(n) if c != m and bool(beats(kl, err, c, m))]

    return answer


def _pairs(got, kl, err):
    n = len(kl)
    for pair in got:
        if len(pair) != 2 or not all(0 <= int(i) < n for i in pair):
            return f"An entry is a pair (c, m) of numbers from 0 to {n - 1}; yours is {pair}."
        if pair[0] == pair[1]:
            return f"({pair[0]}, {pair[1]}) is the matched pair itself. It cannot contradict itself."
    return True


def _really(got, kl, err):
    for c, m in got:
        here, own = kl[c, m].item(), kl[m, m].item()
        if not here < own:
            return (
                f"You list ({c}, {m}). On text {m} the model calibrated on {c} has KL {here:.3g}, the one "
                f"calibrated on {m} itself {own:.3g}: the claim holds there."
            )
    return True


def _sure(got, kl, err):
    for c, m in got:
        ahead, errors = (kl[m, m] - kl[c, m]).item(), (err[c, m].item(), err[m, m].item())
        if not ahead > 2 * math.hypot(*errors):
            root = f"2 · √({errors[0]:g}² + {errors[1]:g}²) = {2 * math.hypot(*errors):.3g}"
            return f"You list ({c}, {m}). It is ahead by {ahead:.3g}, which is no more than {root}."
    return True


def _none_missing(got, kl, err):
    listed = {(int(c), int(m)) for c, m in got}
    for c, m in counterexamples(kl, err):
        if (c, m) not in listed:
            ahead, sure = (kl[m, m] - kl[c, m]).item(), 2 * math.hypot(err[c, m].item(), err[m, m].item())
            return f"({c}, {m}) is missing: on text {m} it is ahead by {ahead:.3g}, and {sure:.3g} would do."
    return True


def _case(name, kl, err):
    return Case(name, torch.tensor(kl, dtype=torch.float64), torch.tensor(err, dtype=torch.float64))


_SMALL = [[0.01, 0.01], [0.01, 0.01]]
_THIRD = [[0.01] * 3] * 3

EXERCISE = Exercise(
    id="ch06.counterexamples",
    title="What would prove it wrong?",
    spec="counterexamples(kl, err): pairs (c, m), c ≠ m, where calibration c served text m better than m itself did.",
    kind="design",
    stub='''
def counterexamples(kl, err):
    """kl, err (k, k): row = calibrated on, column = measured on; KL and its standard error. A list of pairs (c, m),
    sorted by m, then c: on text m, calibration c beats calibration m by more than 2 standard errors of the difference.
    """
    ...
''',
    reference=counterexamples,
    piece="counterexamples",
    cases=[
        _case("the claim holds", [[0.1, 0.9], [0.8, 0.2]], _SMALL),
        _case("it fails once", [[0.5, 0.9], [0.2, 0.6]], _SMALL),
        _case("text 1 is harder for all", [[0.1, 0.7], [0.3, 0.6]], _SMALL),
        _case("text 0 is harder for all", [[0.6, 0.2], [0.7, 0.1]], _SMALL),
        _case("nearly the same", [[0.20, 0.9], [0.19, 0.5]], _SMALL),
        _case("one error bar is enough, two are not", [[0.200, 0.9], [0.183, 0.5]], _SMALL),
        _case("a wide error bar", [[0.50, 0.9], [0.40, 0.5]], [[0.05, 0.01], [0.01, 0.01]]),
        _case("only the other's bar is wide", [[0.50, 0.9], [0.40, 0.5]], [[0.01, 0.01], [0.05, 0.01]]),
        _case("both bars together", [[0.500, 0.9], [0.465, 0.5]], [[0.012, 0.01], [0.012, 0.01]]),
        _case("error bars wider than the difference", [[0.5, 0.9], [0.4, 0.5]], [[0.3, 0.1], [0.3, 0.1]]),
        _case("two that are better", [[0.5, 0.9, 0.9], [0.3, 0.2, 0.9], [0.2, 0.9, 0.1]], _THIRD),
        _case("three texts", [[0.3, 0.5, 0.9], [0.2, 0.4, 0.1], [0.7, 0.3, 0.2]], _THIRD),
        _case("a mixture wins everywhere", [[0.3, 0.5, 0.9], [0.4, 0.4, 0.8], [0.1, 0.1, 0.2]], _THIRD),
    ],
    properties=[
        law("pairs (c, m)", _pairs, "c is what was calibrated on, m what was measured on."),
        law("each of them contradicts the claim", _really, "Within one column: the same text, two calibrations."),
        law("each is beyond the noise", _sure, "A difference wobbles by √(e₁² + e₂²); ask for more than twice that."),
        law("none is missing", _none_missing, "One text may have several counterexamples."),
        equals_reference(why="Whole numbers; the cases lie well away from the limit."),
    ],
    wrong=[
        Wrong(
            "compared along a row",
            _table(lambda kl, err, c, m: kl[c, c] - kl[c, m] > 2 * math.hypot(err[c, m], err[c, c])),
            "Along a row you compare two *texts*, and one may simply be easier. The claim is about one text and two "
            "calibrations: stay within a column.",
        ),
        Wrong(
            "the table read the wrong way",
            _table(lambda kl, err, c, m: kl[m, m] - kl[m, c] > 2 * math.hypot(err[m, c], err[m, m])),
            "kl[c, m]: the row is what was calibrated on, the column what was measured on.",
        ),
        Wrong(
            "the pair the wrong way round",
            lambda kl, err: [(m, c) for c, m in counterexamples(kl, err)],
            "You found them, and wrote (m, c): the calibration comes first, then the text.",
        ),
        Wrong(
            "no error bars",
            _table(lambda kl, err, c, m: kl[c, m] < kl[m, m]),
            "A difference inside the noise proves nothing. Ask for more than two standard errors of the difference.",
        ),
        Wrong(
            "one standard error",
            _table(lambda kl, err, c, m: kl[m, m] - kl[c, m] > math.hypot(err[c, m], err[m, m])),
            "One standard error is exceeded by chance in every third comparison. Ask for two.",
        ),
        Wrong(
            "only one of the two errors",
            _table(lambda kl, err, c, m: kl[m, m] - kl[c, m] > 2 * err[m, m]),
            "Both numbers wobble. The error of a difference is √(e₁² + e₂²).",
        ),
        Wrong(
            "only the other's error",
            _table(lambda kl, err, c, m: kl[m, m] - kl[c, m] > 2 * err[c, m]),
            "Both numbers wobble, also that of the matched calibration. The error of a difference is √(e₁² + e₂²).",
        ),
        Wrong(
            "error bars that do not touch",
            _table(lambda kl, err, c, m: kl[m, m] - kl[c, m] > err[m, m] + err[c, m]),
            "Bars of one error each may stand apart by chance. Ask for two standard errors of the difference.",
        ),
        Wrong(
            "the root forgotten",
            _table(lambda kl, err, c, m: kl[m, m] - kl[c, m] > 2 * (err[m, m] ** 2 + err[c, m] ** 2)),
            "Squares of errors are no errors yet: take the root, √(e₁² + e₂²).",
        ),
        Wrong(
            "only the best of a text",
            lambda kl, err: [(c, m) for c, m in counterexamples(kl, err) if kl[c, m] == kl[:, m].min()],
            "You looked only at the best calibration of each text. Every one that beats the matched one counts.",
        ),
        Wrong(
            "the errors added up",
            _table(lambda kl, err, c, m: kl[m, m] - kl[c, m] > 2 * (err[c, m] + err[m, m])),
            "Errors of two measurements add as squares: √(e₁² + e₂²). Their plain sum asks for too much.",
        ),
        Wrong(
            "what supports the claim",
            _table(lambda kl, err, c, m: kl[c, m] - kl[m, m] > 2 * math.hypot(err[c, m], err[m, m])),
            "These are the pairs that agree with the claim. Smaller KL is better, so look for kl[c, m] *below* "
            "kl[m, m].",
        ),
        Wrong(
            "sorted by calibration first",
            lambda kl, err: sorted(counterexamples(kl, err)),
            "The right pairs, in another order: first by m, then by c.",
        ),
    ],
    hints=[
        "The claim says: in every column the diagonal entry is smallest. Go through a column and look for one that is "
        "surely smaller. How large is the error of a difference?",
        "kl = [[0.5, 0.9], [0.2, 0.6]], all errors 0.01: on text 0, calibration 1 has 0.2 and calibration 0 itself "
        "0.5. "
        "0.3 is more than 2 · √(0.01² + 0.01²) = 0.028. On text 1: 0.9 is not below 0.6. So [(1, 0)].",
        "def counterexamples(kl, err):\n    found = []\n    for m in range(len(kl)):\n        for c in "
        "range(len(kl)):\n"
        "            sure = 2 * (err[____] ** 2 + err[____] ** 2) ** 0.5\n"
        "            if kl[____] - kl[____] > sure:\n                found.append((c, m))\n    return found",
    ],
    passed="An empty list does not prove the claim. It means that this table tried to break it, and could not.",
)
