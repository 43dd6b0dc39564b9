"""ch03.tokens_per_s: how fast a token can come when every weight is read for it, and other work takes its time."""

from course_lib.checks import Case, Exercise, Wrong, compare, equals_reference, law, relation


def tokens_per_s(params, bits, gb_per_s, other_ms=0):
    weight_bytes = params * bits / 8
    step_s = weight_bytes / (gb_per_s * 1e9) + other_ms / 1000
    return 1 / step_s


def _read_s(params, bits, gb_per_s, unit=1e9):
    return params * bits / 8 / (gb_per_s * unit)


def _not_faster_than_the_rest(got, params, bits, gb_per_s, other_ms=0):
    if other_ms == 0 or got <= 1000 / other_ms:
        return True
    return f"{other_ms} ms of other work a token allow {1000 / other_ms:.4g} tokens a second, you say {got:.4g}."


def _twice_the_bandwidth(run, params, bits, gb_per_s, other_ms=0):
    one, two = run(params, bits, gb_per_s, 0), run(params, bits, 2 * gb_per_s, 0)
    told = f"Without other work, {gb_per_s} GB/s give you {one:.4g} and {2 * gb_per_s} GB/s {two:.4g} tokens a second."
    return abs(two - 2 * one) <= 1e-6 * two or told


EXERCISE = Exercise(
    id="ch03.tokens_per_s",
    title="The speed limit",
    spec="tokens_per_s(params, bits, gb_per_s, other_ms): every weight is read once for a token, then other_ms go by.",
    kind="build",
    stub='''
def tokens_per_s(params, bits, gb_per_s, other_ms=0):
    """Tokens a second, if each token reads all weights at gb_per_s and takes other_ms besides."""
    ...
''',
    reference=tokens_per_s,
    cases=[
        Case("one byte a weight, by hand", 10**9, 8, 100),
        Case("7B at 16 bits, 1000 GB/s", 7_000_000_000, 16, 1000),
        Case("7B at 4 bits, 1000 GB/s", 7_000_000_000, 4, 1000),
        Case("7B at 16 bits and 3 ms", 7_000_000_000, 16, 1000, 3.0),
        Case("7B at 4 bits and 3 ms", 7_000_000_000, 4, 1000, 3.0),
        Case("a laptop", 8_030_261_248, 4.125, 89.6, 2.0),
        Case("a small model: the rest takes longer", 2_623_744, 16, 50, 2.5),
    ],
    properties=[
        law(
            "no faster than the other work", _not_faster_than_the_rest, "It takes its time even with no bytes to read."
        ),
        relation("twice the bandwidth, twice the tokens", _twice_the_bandwidth, "The same bytes in half the time."),
        equals_reference(rtol=1e-6, why="Two divisions, a sum and a reciprocal."),
    ],
    alike=compare.Tolerance(rtol=1e-5),  # a tiny rate is no other tiny rate
    wrong=[
        Wrong(
            "bits taken for bytes",
            lambda params, bits, gb_per_s, other_ms=0: 1 / (8 * _read_s(params, bits, gb_per_s) + other_ms / 1000),
            "Bandwidth is in bytes a second. Divide the bits by 8.",
        ),
        Wrong(
            "the other work forgotten",
            lambda params, bits, gb_per_s, other_ms=0: 1 / _read_s(params, bits, gb_per_s),
            "Each token also takes other_ms: attention, sampling, launching kernels. Add it to the reading time.",
        ),
        Wrong(
            "seconds, not tokens a second",
            lambda params, bits, gb_per_s, other_ms=0: _read_s(params, bits, gb_per_s) + other_ms / 1000,
            "That is the time of one token. How many of those fit into a second?",
        ),
        Wrong(
            "milliseconds added to seconds",
            lambda params, bits, gb_per_s, other_ms=0: 1 / (_read_s(params, bits, gb_per_s) + other_ms),
            "other_ms is in milliseconds. Divide it by 1000 before you add it to seconds.",
        ),
        Wrong(
            "tokens a millisecond",
            lambda params, bits, gb_per_s, other_ms=0: 1 / (1000 * _read_s(params, bits, gb_per_s) + other_ms),
            "Your times are in milliseconds, so this is tokens a millisecond. A second has 1000 of them.",
        ),
        Wrong(
            "seconds called milliseconds",
            lambda params, bits, gb_per_s, other_ms=0: 1000 / (_read_s(params, bits, gb_per_s) + other_ms),
            "Bytes over bytes a second are seconds. Make them milliseconds, times 1000, before you add other_ms.",
        ),
        Wrong(
            "GiB/s instead of GB/s",
            lambda params, bits, gb_per_s, other_ms=0: 1 / (_read_s(params, bits, gb_per_s, 2**30) + other_ms / 1000),
            "Data sheets give bandwidth in GB/s of 10⁹ bytes, not 2³⁰.",
        ),
        Wrong(
            "the longer of the two, not both",
            lambda params, bits, gb_per_s, other_ms=0: 1 / max(_read_s(params, bits, gb_per_s), other_ms / 1000),
            "The other work comes on top: it waits for the weights, or the weights wait for it. Add the two times.",
        ),
        Wrong(
            "rates added instead of times",
            lambda params, bits, gb_per_s, other_ms=0: (
                1 / _read_s(params, bits, gb_per_s) + (1000 / other_ms if other_ms else 0)
            ),
            "Two things that happen one after the other add their times. Their rates do not add.",
        ),
        Wrong(
            "rounded to a whole number",
            lambda params, bits, gb_per_s, other_ms=0: round(1 / (_read_s(params, bits, gb_per_s) + other_ms / 1000)),
            "A rate need not be a whole number. Return it as it comes.",
        ),
        Wrong(
            "cut to a whole number",
            lambda params, bits, gb_per_s, other_ms=0: int(1 / (_read_s(params, bits, gb_per_s) + other_ms / 1000)),
            "`int()` and `//` drop what follows the point. A rate need not be a whole number.",
        ),
        Wrong(
            "giga forgotten",
            lambda params, bits, gb_per_s, other_ms=0: 1 / (_read_s(params, bits, gb_per_s) * 1e9 + other_ms / 1000),
            "gb_per_s counts 10⁹ bytes a second, and your weights are counted in single bytes.",
        ),
        Wrong(
            "giga the wrong way",
            lambda params, bits, gb_per_s, other_ms=0: 1 / (_read_s(params, bits, gb_per_s, 1e-9) + other_ms / 1000),
            "You divided by 10⁹: 1000 GB/s are 10¹² bytes a second, not a millionth of one.",
        ),
        Wrong(
            "bytes times bandwidth",
            lambda params, bits, gb_per_s, other_ms=0: 1 / (params * bits / 8 * gb_per_s * 1e9 + other_ms / 1000),
            "You multiplied the bytes by the bandwidth. The time is the bytes *over* the bytes a second.",
        ),
        Wrong(
            "two bytes a weight, whatever the bits",
            lambda params, bits, gb_per_s, other_ms=0: 1 / (_read_s(params, 16, gb_per_s) + other_ms / 1000),
            "Fewer bits are fewer bytes to read: use bits / 8 bytes a weight.",
        ),
    ],
    hints=[
        "How many bytes are read for one token? How long does that take? Add the rest. One divided by it is the rate.",
        "1 billion weights at 8 bits are 1 GB. At 100 GB/s that takes 0.01 s: 100 tokens a second. "
        "With 10 ms of other work 0.02 s: 50 tokens a second.",
        "def tokens_per_s(params, bits, gb_per_s, other_ms=0):\n    weight_bytes = ____\n"
        "    step_s = weight_bytes / ____ + other_ms / ____\n    return ____",
    ],
    passed="A ceiling, not a forecast: a reply whose tokens come one by one cannot be faster, and most are slower.",
)
