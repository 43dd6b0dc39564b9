"""ch13.items: how many items show that at most a margin was lost."""

import math
from statistics import NormalDist

from course_lib.checks import Case, Exercise, Wrong, equals_reference, relation


def items(margin, flips, alpha, power):
    from statistics import NormalDist

    z = NormalDist().inv_cdf(1 - alpha) + NormalDist().inv_cdf(power)
    return math.ceil(z**2 * flips / margin**2)


def _z(share):
    return NormalDist().inv_cdf(share)


def _wrong(value):
    def answer(margin, flips, alpha, power):
        return math.ceil(value(margin, flips, alpha, power))

    return answer


def _down(margin, flips, alpha, power):
    return math.floor((_z(1 - alpha) + _z(power)) ** 2 * flips / margin**2)


def _nearest(margin, flips, alpha, power):
    return round((_z(1 - alpha) + _z(power)) ** 2 * flips / margin**2)


def _half_margin(run, margin, flips, alpha, power):
    a, b = run(margin, flips, alpha, power), run(margin / 2, flips, alpha, power)
    return abs(b - 4 * a) <= 4 or f"Half the margin takes four times the items. You say {a} and {b}."


EXERCISE = Exercise(
    id="ch13.items",
    title="How many items does the margin cost?",
    spec="items(margin, flips, alpha, power): items that show a loss below the margin where there is none.",
    kind="measure",
    stub='''
def items(margin, flips, alpha, power):
    """Fewest items, an int: (z(1 − alpha) + z(power))² · flips / margin², rounded up.

    margin: the largest loss that may be; flips: share of items whose verdict changes; alpha: how often a model that
    does lose the margin may pass; power: how often one that loses nothing shall pass. All are shares.
    z(p) is NormalDist().inv_cdf(p), with NormalDist from Python's statistics.
    """
    ...
''',
    reference=items,
    piece="items",
    cases=[
        Case("a point, five percent of flips", 0.01, 0.05, 0.05, 0.8),
        Case("three points", 0.03, 0.05, 0.05, 0.8),
        Case("few flips", 0.02, 0.01, 0.05, 0.8),
        Case("surer", 0.01, 0.05, 0.01, 0.8),
        Case("more power", 0.01, 0.05, 0.05, 0.95),
    ],
    properties=[
        relation("half the margin, four times the items", _half_margin, "The margin stands squared."),
        equals_reference(why="A whole number of items."),
    ],
    wrong=[
        Wrong("two sides", _wrong(lambda m, f, a, p: (_z(1 - a / 2) + _z(p)) ** 2 * f / m**2),
              "1 − alpha/2 belongs to two sides. Nobody minds a better model: one side, 1 − alpha."),
        Wrong("no power", _wrong(lambda m, f, a, p: _z(1 - a) ** 2 * f / m**2),
              "Without z(power) a model that lost nothing passes only every other time."),
        Wrong("the margin not squared", _wrong(lambda m, f, a, p: (_z(1 - a) + _z(p)) ** 2 * f / m),
              "Errors shrink with the root of n. So n grows with the square of 1/margin."),
        Wrong("z not squared", _wrong(lambda m, f, a, p: (_z(1 - a) + _z(p)) * f / m**2),
              "The sum of both z stands squared."),
        Wrong("squared one by one", _wrong(lambda m, f, a, p: (_z(1 - a) ** 2 + _z(p) ** 2) * f / m**2),
              "First add both z, then square: (a + b)² is more than a² + b²."),
        Wrong("the flips in percent", _wrong(lambda m, f, a, p: 100 * (_z(1 - a) + _z(p)) ** 2 * f / m**2),
              "margin and flips are shares already: 0.01 is one point. Divide neither by 100."),
        Wrong("rounded down", _down, "Rounded down, one item is missing."),
        Wrong("rounded to the nearest", _nearest, "To the nearest, an item may be missing: always up, math.ceil."),
        Wrong("z(1 − power)", _wrong(lambda m, f, a, p: (_z(1 - a) + _z(1 - p)) ** 2 * f / m**2),
              "z(1 − power) is negative and takes away from the other z. Asked is z(power)."),
        Wrong("flips squared, too", _wrong(lambda m, f, a, p: ((_z(1 - a) + _z(p)) * f / m) ** 2),
              "Only the z and the margin stand squared, the flips do not."),
        Wrong("flips · (1 − flips)", _wrong(lambda m, f, a, p: (_z(1 - a) + _z(p)) ** 2 * f * (1 - f) / m**2),
              "share · (1 − share) belongs to one accuracy. A flip is +1 or −1, squared 1: flips alone."),
        Wrong("cdf", _wrong(lambda m, f, a, p: (NormalDist().cdf(1 - a) + NormalDist().cdf(p)) ** 2 * f / m**2),
              "cdf goes from z to a share. You have the share and want z: inv_cdf."),
        Wrong("z of one alpha and power", _wrong(lambda m, f, a, p: (1.645 + 0.842) ** 2 * f / m**2),
              "1.645 and 0.842 are z for alpha 0.05 and power 0.8 only, in three digits: take z from the arguments."),
        Wrong("the margin in points", _wrong(lambda m, f, a, p: (_z(1 - a) + _z(p)) ** 2 * f / (100 * m) ** 2),
              "The margin comes as a share: 0.01 is a point already."),
        Wrong("unpaired", _wrong(lambda m, f, a, p: (_z(1 - a) + _z(p)) ** 2 * 2 * f / m**2),
              "A factor of 2 belongs to two different groups of items. Here both models answer the same ones."),
        Wrong("alpha instead of 1 − alpha", _wrong(lambda m, f, a, p: (_z(a) + _z(p)) ** 2 * f / m**2),
              "z(0.05) is −1.64 and takes away from the other z. Asked is z(1 − alpha)."),
    ],
    hints=[
        "The formula stands in the text of the function. NormalDist() is the bell curve of mean 0 and width 1.",
        "z(0.95) = 1.645, z(0.8) = 0.842, together 2.486, squared 6.18. With 5 % flips and a margin of 3 points: "
        "6.18 · 0.05 / 0.0009 = 344 items, rounded up.",
        "    from statistics import NormalDist\n\n"
        "    z = NormalDist().inv_cdf(____) + NormalDist().inv_cdf(____)\n    return math.ceil(____ * flips / ____)",
    ],
    passed="3,092 items for one point at 5 % flips. GSM8K's test has 1,319.",
)  # fmt: skip
