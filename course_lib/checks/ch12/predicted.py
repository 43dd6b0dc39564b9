"""ch12.predicted: how long a GEMV must take, from its bytes and its instructions."""

from course_lib.checks import Case, Exercise, Wrong, equals_reference, law


def predicted(n, k, bits, per_weight, bandwidth, issue):
    moved = n * k * bits / 8 + 2 * (n + k)
    return 1e6 * max(moved / bandwidth, n * k * per_weight / issue)


def _times(n, k, bits, per_weight, bandwidth, issue):
    return 1e6 * (n * k * bits / 8 + 2 * (n + k)) / bandwidth, 1e6 * n * k * per_weight / issue


def _variant(value):
    def wrong(n, k, bits, per_weight, bandwidth, issue):
        return float(value(*_times(n, k, bits, per_weight, bandwidth, issue)))

    return wrong


def _bits_as_bytes(n, k, bits, per_weight, bandwidth, issue):
    return 1e6 * max((n * k * bits + 2 * (n + k)) / bandwidth, n * k * per_weight / issue)


def _weights_only(n, k, bits, per_weight, bandwidth, issue):
    return 1e6 * max(n * k * bits / 8 / bandwidth, n * k * per_weight / issue)


def _without_y(n, k, bits, per_weight, bandwidth, issue):
    return 1e6 * max((n * k * bits / 8 + 2 * k) / bandwidth, n * k * per_weight / issue)


def _bits_of_x(n, k, bits, per_weight, bandwidth, issue):
    return 1e6 * max((n * k * bits / 8 + 16 * (n + k)) / bandwidth, n * k * per_weight / issue)


def _all_in_bits(n, k, bits, per_weight, bandwidth, issue):
    return 1e6 * max((n * k * bits + 16 * (n + k)) / bandwidth, n * k * per_weight / issue)


def _bytes_of_bits(n, k, bits, per_weight, bandwidth, issue):
    return 1e6 * max((n * k + n + k) * bits / 8 / bandwidth, n * k * per_weight / issue)


def _x_for_every_row(n, k, bits, per_weight, bandwidth, issue):
    return 1e6 * max((n * k * bits / 8 + 2 * n * k + 2 * n) / bandwidth, n * k * per_weight / issue)


def _per_word(n, k, bits, per_weight, bandwidth, issue):
    return 1e6 * max((n * k * bits / 8 + 2 * (n + k)) / bandwidth, n * k / 8 * per_weight / issue)


def _not_under(got, n, k, bits, per_weight, bandwidth, issue):
    memory, work = _times(n, k, bits, per_weight, bandwidth, issue)
    for name, least in (("Moving the bytes", memory), ("Issuing the instructions", work)):
        if got < least * (1 - 1e-6):
            return f"{name} alone takes {least:.4g} µs."
    return True


H200 = (4.3e12, 29.6e12)
EXERCISE = Exercise(
    id="ch12.predicted",
    title="A time before it is measured",
    spec="predicted(n, k, bits, per_weight, bandwidth, issue): µs of y = W x at the roofline.",
    kind="measure",
    stub='''
def predicted(n, k, bits, per_weight, bandwidth, issue):
    """Microseconds of y (n,) = W (n, k) · x (k,): moving bytes and issuing instructions overlap, the slower one counts.

    bits: stored bits a weight, scales included; x and y have 16 bits a number and move once. per_weight: instructions
    a weight. bandwidth: bytes a second. issue: instructions a second, of all lanes.
    """
    ...
''',
    reference=predicted,
    cases=[
        Case("bytes decide", 10, 10, 8, 1, 1e6, 1e9),
        Case("instructions decide", 10, 10, 8, 100, 1e9, 1e6),
        Case("4 bits, bytes decide", 4, 4, 4, 1, 1e6, 1e8),
        Case("one row, a long x", 1, 1000, 4.25, 1, 1e9, 1e12),
        Case("H200, 8192 × 28672, 6.94 instructions", 8192, 28672, 4.25, 6.94, *H200),
        Case("H200, 8192 × 28672, 3 instructions", 8192, 28672, 4.25, 3.0, *H200),
        Case("H200, 16 bits", 8192, 28672, 16, 2.0, *H200),
    ],
    properties=[
        law("not faster than either alone", _not_under, "Neither can be skipped."),
        equals_reference(rtol=1e-6, why="A few products and quotients."),
    ],
    wrong=[
        Wrong(
            "both times added",
            _variant(lambda memory, work: memory + work),
            "While one warp waits for memory others compute: the two overlap. The slower one counts, not the sum.",
        ),
        Wrong("the faster one", _variant(min), "The slower of the two decides: max, not min."),
        Wrong(
            "bytes only",
            _variant(lambda memory, work: memory),
            "That is the memory's time. With many instructions a weight, the processors are slower.",
        ),
        Wrong(
            "instructions only",
            _variant(lambda memory, work: work),
            "That is the processors' time. With few instructions a weight, memory is slower.",
        ),
        Wrong("bits for bytes", _bits_as_bytes, "bandwidth counts bytes: a weight of 4.25 bits moves 4.25 / 8."),
        Wrong(
            "all in bits",
            _all_in_bits,
            "You added up bits, of weights, x and y alike. bandwidth counts bytes: divide their sum by 8.",
        ),
        Wrong(
            "x and y forgotten",
            _weights_only,
            "x and y move, too: 2 bytes for each of k and n numbers. For one row it is most of it.",
        ),
        Wrong("y forgotten", _without_y, "y is written, too: 2 bytes for each of n numbers."),
        Wrong(
            "multiply and add counted twice",
            _variant(lambda memory, work: max(memory, 2 * work)),
            "per_weight is all that a weight costs, multiplying and adding included: no factor of 2.",
        ),
        Wrong("bits for bytes in x and y", _bits_of_x, "bandwidth counts bytes: a number of 16 bits moves 2, not 16."),
        Wrong("x and y in the weight's bits", _bytes_of_bits, "Only the weights are quantized. x and y have 16 bits."),
        Wrong(
            "x for every row",
            _x_for_every_row,
            "x is moved once from memory; programs that need it again find it in a cache.",
        ),
        Wrong("an instruction a word", _per_word, "per_weight is for a weight; a word holds eight: n·k weights."),
        Wrong(
            "rounded",
            _variant(lambda memory, work: round(max(memory, work))),
            "That is rounded to whole microseconds. Return the number as it is.",
        ),
        Wrong("milliseconds", _variant(lambda memory, work: max(memory, work) / 1e3), "Microseconds: seconds · 10^6."),
        Wrong("seconds", _variant(lambda memory, work: max(memory, work) / 1e6), "Seconds · 10^6 are microseconds."),
    ],
    hints=[
        "Two times: bytes over bandwidth, instructions over issue. Which of the two do you wait for?",
        "10 × 10 weights of 8 bits: 100 bytes, and 2·(10 + 10) for x and y. At 10^6 bytes/s that is 140 µs.",
        "    moved = n * k * ____ / 8 + 2 * (____)\n    return 1e6 * ____(moved / ____, n * k * ____ / issue)",
    ],
    passed="Predict first. A kernel that is slower than this has a reason, and the reason can be found.",
)  # fmt: skip
