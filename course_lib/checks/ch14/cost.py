"""ch14.cost: dollars for a million tokens."""

from course_lib.checks import Case, Exercise, Wrong, equals_reference


def cost(dollars_per_hour, tokens_per_s, busy):
    tokens_per_hour = tokens_per_s * 3600 * busy
    return dollars_per_hour / tokens_per_hour * 1e6


def _variant(value):
    def wrong(dollars_per_hour, tokens_per_s, busy):
        return value(dollars_per_hour, tokens_per_s, busy)

    return wrong


EXERCISE = Exercise(
    id="ch14.cost",
    title="What a million tokens cost",
    spec="cost(dollars_per_hour, tokens_per_s, busy): dollars for a million tokens, paid by the hour.",
    kind="measure",
    stub='''
def cost(dollars_per_hour, tokens_per_s, busy):
    """Dollars for 1,000,000 tokens. The machine is paid all day and writes tokens_per_s while it is busy, which it is
    a share `busy` of the time.
    """
    ...
''',
    reference=cost,
    piece="cost",
    cases=[
        Case("a token a second", 3.6, 1.0, 1.0),
        Case("half of the day", 3.6, 1.0, 0.5),
        Case("a server", 2.5, 1500.0, 0.4),
        Case("the same, twice as fast", 2.5, 3000.0, 0.4),
        Case("a laptop", 0.05, 20.0, 0.1),
    ],
    properties=[equals_reference(rtol=1e-6, why="Two products and a quotient.")],
    wrong=[
        Wrong(
            "busy all day",
            _variant(lambda d, t, b: d / (t * 3600) * 1e6),
            "The machine is paid while it waits, too. At half the load a token costs twice as much.",
        ),
        Wrong(
            "idle hours are free",
            _variant(lambda d, t, b: d * b / (t * 3600) * 1e6),
            "You paid for the busy hours only. The bill is for all of them.",
        ),
        Wrong(
            "a day's bill",
            _variant(lambda d, t, b: 24 * d / (t * 3600 * b) * 1e6),
            "Dollars of a day over tokens of an hour. One hour of both is enough.",
        ),
        Wrong(
            "per second",
            _variant(lambda d, t, b: d / (t * b) * 1e6),
            "Dollars an hour over tokens a second: an hour has 3600 of them.",
        ),
        Wrong(
            "per minute",
            _variant(lambda d, t, b: d / (t * 60 * b) * 1e6),
            "An hour has 3600 seconds. You took the 60 of a minute.",
        ),
        Wrong(
            "for one token",
            _variant(lambda d, t, b: d / (t * 3600 * b)),
            "That is what one token costs. Asked are a million.",
        ),
        Wrong(
            "for a thousand",
            _variant(lambda d, t, b: d / (t * 3600 * b) * 1e3),
            "That is what a thousand tokens cost. Asked are a million.",
        ),
        Wrong(
            "in percent",
            _variant(lambda d, t, b: d / (t * 3600 * b / 100) * 1e6),
            "busy is a share already, from 0 to 1.",
        ),
        Wrong(
            "whole dollars",
            _variant(lambda d, t, b: d * 1e6 // (t * 3600 * b)),
            "// drops everything behind the point. Divide with /.",
        ),
        Wrong(
            "rounded to cents",
            _variant(lambda d, t, b: round(d / (t * 3600 * b) * 1e6, 2)),
            "Rounded, so that two artifacts that differ by less than a cent look alike. Round where you print it.",
        ),
        Wrong(
            "the wrong way round",
            _variant(lambda d, t, b: t * 3600 * b / d / 1e6),
            "That is millions of tokens for a dollar.",
        ),
    ],
    hints=[
        "How many tokens does it write in an hour that is paid?",
        "1 token a second, all day: 3600 an hour. At 3.60 dollars an hour a token costs a tenth of a cent, a million "
        "1000 dollars.",
        "    tokens_per_hour = tokens_per_s * ____ * ____\n    return dollars_per_hour / ____ * ____",
    ],
    passed="Speed and load stand side by side: a quicker artifact on an idle machine saves nothing.",
)
