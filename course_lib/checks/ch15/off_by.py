"""ch15.off_by: by what factor are guesses off, and on which side?"""

import math
import statistics

from course_lib.checks import Case, Exercise, Wrong, equals_reference, relation


def off_by(pairs):
    logs = [math.log2(guess / outcome) for guess, outcome in pairs]
    return 2 ** (sum(abs(x) for x in logs) / len(logs)), sum(logs) / len(logs)


def _variant(log=math.log2, base=2.0, ratio=lambda g, o: g / o, size=abs, bias=lambda logs: sum(logs) / len(logs),
             typical=lambda sizes: sum(sizes) / len(sizes)):  # fmt: skip
    def wrong(pairs):
        logs = [log(ratio(g, o)) for g, o in pairs]
        return base ** typical([size(x) for x in logs]), bias(logs)

    return wrong


def _medians(pairs):
    logs = [math.log2(g / o) for g, o in pairs]
    return 2 ** statistics.median(abs(x) for x in logs), statistics.median(logs)


def _plain_ratio(pairs):
    logs = [math.log2(g / o) for g, o in pairs]
    return sum(g / o for g, o in pairs) / len(pairs), sum(logs) / len(logs)


def _relative(pairs):
    return sum(abs(g - o) / o for g, o in pairs) / len(pairs), sum(g - o for g, o in pairs) / len(pairs)


def _no_power(pairs):
    factor, bias = off_by(pairs)
    return math.log2(factor), bias


def _cancelled(pairs):
    bias = off_by(pairs)[1]
    return 2 ** abs(bias), bias


def _both_powers(pairs):
    factor, bias = off_by(pairs)
    return factor, 2**bias


def _mean_factor(pairs):
    return sum(max(g / o, o / g) for g, o in pairs) / len(pairs), off_by(pairs)[1]


def _order(pairs):
    return off_by(pairs)[::-1]


def _unit_free(run, pairs):
    scaled = run([(1000 * g, 1000 * o) for g, o in pairs])
    same = all(abs(a - b) < 1e-6 for a, b in zip(scaled, run(pairs), strict=True))
    return same or "In bytes and in kilobytes the same guesses must be equally good."


EXERCISE = Exercise(
    id="ch15.off_by",
    title="How good are guesses?",
    spec="off_by(pairs): (the factor that guesses are typically off by, their mean log2 ratio).",
    kind="measure",
    stub='''
def off_by(pairs):
    """(factor, bias) of (guess, outcome) pairs of positive numbers; log means log2(guess / outcome).

    factor = 2^(mean of |log|): 1 is perfect, 2 is "off by a factor of two". bias = mean of log: below 0 is too low.
    """
    ...
''',
    reference=off_by,
    piece="off_by",
    cases=[
        Case("exactly right", [(3.0, 3.0)]),
        Case("twice too much", [(8.0, 4.0)]),
        Case("four times too little", [(1.0, 4.0)]),
        Case("one each way", [(8.0, 4.0), (4.0, 8.0)]),
        Case("three units in one list", [(35.0, 70.0), (0.002, 0.001), (3.0, 24.0)]),
        Case("mixed", [(1.5, 1.0), (10.0, 12.0), (0.5, 7.0), (90.0, 80.0), (2.0, 2.0)]),
    ],
    properties=[
        relation("units do not matter", _unit_free, "A ratio has no unit."),
        equals_reference(rtol=1e-6, atol=1e-6, why="A few logarithms; float32 will do."),
    ],
    wrong=[
        Wrong(
            "natural logarithm",
            _variant(log=math.log),
            "Your bias is in natural logarithms and the power in twos. log2 for both: then 1 means a factor of two.",
        ),
        Wrong(
            "the bias in natural logarithms",
            _variant(log=math.log, base=math.e),
            "Your factor is right: e to a mean of ln is 2 to a mean of log2. The bias is not: it is asked in log2.",
        ),
        Wrong(
            "decimal logarithm",
            _variant(log=math.log10, base=10.0),
            "A bias of 1 would mean ten times. Asked is log2, where it means twice.",
        ),
        Wrong("medians", _medians, "Those are medians: half of the guesses could be wild. Asked are means."),
        Wrong(
            "outcome over guess",
            _variant(ratio=lambda g, o: o / g),
            "Your ratio is upside down: a guess that is too low must come out below 0.",
        ),
        Wrong(
            "without the absolute value",
            _variant(size=lambda x: x),
            "Twice too much and twice too little cancel to “perfect”. For the factor take |log| first, then the mean.",
        ),
        Wrong(
            "the absolute value too late",
            _cancelled,
            "You take | | of the mean. By then too much and too little have cancelled: | | comes first.",
        ),
        Wrong(
            "the bias as a factor",
            _both_powers,
            "The bias stays a mean of logarithms: 0 is neither side. Only the factor is a power of 2.",
        ),
        Wrong(
            "mean of the factors",
            _mean_factor,
            "You average the factors: one guess that is off by 1000 drowns the rest. Average |log|, then take 2 to it.",
        ),
        Wrong(
            "e instead of 2",
            _variant(base=math.e),
            "Your logarithms are in twos, and the power is of e. A mean |log2| of 1 is a factor of 2.",
        ),
        Wrong(
            "a bias without a sign",
            _variant(bias=lambda logs: sum(abs(x) for x in logs) / len(logs)),
            "The bias is to tell the side: keep the sign.",
        ),
        Wrong(
            "mean of the ratios",
            _plain_ratio,
            "A ratio of 4 and one of ¼ are equally wrong, but their mean is 2.1. Average logarithms, then go back.",
        ),
        Wrong(
            "relative errors",
            _relative,
            "By relative error one is too low by 100 % at most, but too high by any amount. Use log2(guess / outcome).",
        ),
        Wrong(
            "the exponent",
            _no_power,
            "You return the mean |log|. Asked is the factor: 2 to that power.",
        ),
        Wrong(
            "the sum",
            _variant(typical=sum),
            "You added them up. A mean does not grow with the number of guesses.",
        ),
        Wrong(
            "the worst one",
            _variant(typical=max),
            "That is the worst guess. Asked is the typical one: the mean of |log|.",
        ),
        Wrong(
            "the other order",
            _order,
            "Right numbers, wrong order: first the factor, then the bias.",
        ),
        Wrong(
            "logarithms to base 10",
            _variant(log=math.log10),
            "log10 counts in tens, and 2 to that is no factor of ten. Asked is log2.",
        ),
        Wrong(
            "root mean square",
            _variant(typical=lambda sizes: math.sqrt(sum(x * x for x in sizes) / len(sizes))),
            "You averaged the squares of the logarithms and took the root: large misses count more. Asked is the mean"
            " of |log|.",
        ),
    ],
    hints=[
        "Take log2(guess / outcome) of each pair. One mean with absolute values, one without.",
        "(8, 4) and (4, 8): logs 1 and −1. Mean of |log| is 1, so the factor is 2; the bias is 0.",
        "    logs = [math.log2(____) for guess, outcome in pairs]\n"
        "    return 2 ** (sum(____ for x in logs) / len(logs)), sum(logs) / ____",
    ],
    passed="Weather forecasters and estimators of work are scored with such rules: only practice with outcomes helps.",
)
